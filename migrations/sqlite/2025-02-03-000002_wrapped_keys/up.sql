-- Private keys that do not lie in their token: wrapped by a key of the token, which alone can open them.

CREATE TABLE wrapped_key (
    -- As in device.key_id.
    key_id TEXT NOT NULL PRIMARY KEY,
    -- Label of the token that made it.
    token TEXT NOT NULL,
    -- CKA_ID of the key that it was wrapped with, and how.
    kek_id TEXT NOT NULL,
    mechanism TEXT NOT NULL,
    blob BLOB NOT NULL
) STRICT;
