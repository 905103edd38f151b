-- The same as for SQLite.

ALTER TABLE device_request ADD COLUMN unusable_reason text COLLATE "C";

CREATE TABLE lost_key (
    serial_number text COLLATE "C" NOT NULL PRIMARY KEY,
    tss_id text COLLATE "C" NOT NULL,
    token text COLLATE "C",
    signature_counter bigint NOT NULL CHECK (signature_counter >= 0),
    spent bigint NOT NULL CHECK (spent >= 0),
    time_found bigint NOT NULL,
    time_decided bigint
);
