-- Devices whose key does not sign are kept, and given to nobody.

-- Why no TSS is made of this device; NULL: it is usable. Says nothing about a device that a TSS has.
ALTER TABLE device ADD COLUMN unusable_reason TEXT;
DROP INDEX device_free;
CREATE INDEX device_free ON device (environment, time_creation, serial_number)
    WHERE tss_id IS NULL AND unusable_reason IS NULL;
