-- The same as for SQLite.

-- A key and its certificate request. It waits for the certificate until there is a device of this serial
-- number. Nothing here ever changes.
CREATE TABLE device_request (
    serial_number text COLLATE "C" NOT NULL PRIMARY KEY,
    environment text COLLATE "C" NOT NULL,
    token text COLLATE "C" NOT NULL,
    key_id text COLLATE "C" NOT NULL,
    key_curve text COLLATE "C" NOT NULL,
    key_point bytea NOT NULL,
    algorithm text COLLATE "C" NOT NULL,
    -- Signatures made by the key: that of the request.
    signature_counter bigint NOT NULL CHECK (signature_counter >= 0),
    -- DER, as it was signed.
    request bytea NOT NULL,
    time_creation bigint NOT NULL,
    UNIQUE (token, key_id)
);
