-- Keys that have signed for TSSs which the ledger does not know any more.

-- A third value of tss.hold_scope is 'unmendable': what was told cannot be put back.

-- Why this key gets no certificate, and so never a TSS; NULL: it may. All else here still never changes.
ALTER TABLE device_request ADD COLUMN unusable_reason TEXT;

-- What a witness knows of a key whose TSS was lost. Not every one of them has a row in device.
CREATE TABLE lost_key (
    -- The name of its device.
    serial_number TEXT NOT NULL PRIMARY KEY,
    tss_id TEXT NOT NULL,
    -- Label of the token that holds it; NULL where nobody knows.
    token TEXT,
    -- The highest number known, and how many were spent on messages.
    signature_counter INTEGER NOT NULL CHECK (signature_counter >= 0),
    spent INTEGER NOT NULL CHECK (spent >= 0),
    -- When it was found, and when a person has written the TSS off (unix seconds).
    time_found INTEGER NOT NULL,
    time_decided INTEGER
) STRICT;
