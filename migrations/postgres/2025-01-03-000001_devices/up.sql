-- The same as for SQLite.

-- Why no TSS is made of this device; NULL: it is usable. Says nothing about a device that a TSS has.
ALTER TABLE device ADD COLUMN unusable_reason text COLLATE "C";
DROP INDEX device_free;
CREATE INDEX device_free ON device (environment, time_creation, serial_number)
    WHERE tss_id IS NULL AND unusable_reason IS NULL;
