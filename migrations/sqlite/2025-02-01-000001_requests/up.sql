-- Keys whose certificates are made elsewhere.

-- A key and its certificate request. It waits for the certificate until there is a device of this serial
-- number. Nothing here ever changes.
CREATE TABLE device_request (
    serial_number TEXT NOT NULL PRIMARY KEY,
    environment TEXT NOT NULL,
    token TEXT NOT NULL,
    key_id TEXT NOT NULL,
    key_curve TEXT NOT NULL,
    key_point BLOB NOT NULL,
    algorithm TEXT NOT NULL,
    -- Signatures made by the key: that of the request.
    signature_counter INTEGER NOT NULL CHECK (signature_counter >= 0),
    -- DER, as it was signed.
    request BLOB NOT NULL,
    time_creation INTEGER NOT NULL,
    UNIQUE (token, key_id)
) STRICT;
