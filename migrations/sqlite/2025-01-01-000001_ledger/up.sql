-- What is stored by SQLite. One schema for both databases: 64-bit integers, text, blobs. UUIDs and
-- hashes are lower-case text, times are unix seconds, metadata is JSON text.
-- STRICT: a column holds what it says.

CREATE TABLE ledger_meta (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE organization (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    time_creation INTEGER NOT NULL
) STRICT;

CREATE TABLE api_key (
    key TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organization (id),
    environment TEXT NOT NULL,
    name TEXT NOT NULL,
    secret_sha256 BLOB NOT NULL,
    status TEXT NOT NULL,
    time_creation INTEGER NOT NULL
) STRICT;
CREATE INDEX api_key_organization ON api_key (organization_id, time_creation);

CREATE TABLE token_secret (
    id TEXT NOT NULL PRIMARY KEY,
    sealed BLOB NOT NULL,
    time_creation INTEGER NOT NULL
) STRICT;

CREATE TABLE login_session (
    id TEXT NOT NULL PRIMARY KEY,
    api_key TEXT NOT NULL REFERENCES api_key (key),
    time_issued INTEGER NOT NULL,
    access_expires INTEGER NOT NULL,
    refresh_expires INTEGER NOT NULL,
    secret_id TEXT NOT NULL
) STRICT;
CREATE INDEX login_session_live ON login_session (api_key, access_expires);
CREATE INDEX login_session_expired ON login_session (refresh_expires);

CREATE TABLE ca (
    serial_number TEXT NOT NULL PRIMARY KEY,
    environment TEXT NOT NULL,
    role TEXT NOT NULL,
    issuer TEXT NOT NULL,
    -- The next four are set together, where the key of the CA is in a token of ours.
    token TEXT,
    key_id TEXT,
    key_curve TEXT,
    key_point BLOB,
    certificate BLOB NOT NULL
) STRICT;

-- A key with its certificate; free until a TSS is made of it. Nothing here but tss_id ever changes.
CREATE TABLE device (
    serial_number TEXT NOT NULL PRIMARY KEY,
    environment TEXT NOT NULL,
    token TEXT NOT NULL,
    key_id TEXT NOT NULL,
    key_curve TEXT NOT NULL,
    key_point BLOB NOT NULL,
    algorithm TEXT NOT NULL,
    -- Signatures made before it became a TSS.
    signature_counter INTEGER NOT NULL CHECK (signature_counter >= 0),
    certificate BLOB NOT NULL,
    issuer TEXT NOT NULL,
    certificate_not_after INTEGER NOT NULL,
    time_creation INTEGER NOT NULL,
    tss_id TEXT UNIQUE,
    UNIQUE (token, key_id)
) STRICT;
CREATE INDEX device_free ON device (environment, time_creation, serial_number) WHERE tss_id IS NULL;

CREATE TABLE tss (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organization (id),
    environment TEXT NOT NULL,
    format TEXT NOT NULL,
    device_serial TEXT NOT NULL UNIQUE REFERENCES device (serial_number),
    signature_counter INTEGER NOT NULL CHECK (signature_counter >= 0),
    state TEXT NOT NULL,
    description TEXT NOT NULL,
    transaction_counter INTEGER NOT NULL CHECK (transaction_counter >= 0),
    last_se_time INTEGER NOT NULL,
    clients_registered INTEGER NOT NULL,
    transactions_open INTEGER NOT NULL,
    admin_salt BLOB NOT NULL,
    admin_pin BLOB,
    admin_pin_retries INTEGER NOT NULL,
    admin_puk BLOB NOT NULL,
    admin_puk_failures INTEGER NOT NULL,
    admin_puk_blocked_until INTEGER NOT NULL,
    admin_sealed_puk BLOB,
    admin_session TEXT,
    metadata TEXT NOT NULL,
    time_creation INTEGER NOT NULL,
    time_uninit INTEGER,
    time_init INTEGER,
    time_disable INTEGER,
    time_defective INTEGER
) STRICT;
CREATE INDEX tss_owner ON tss (organization_id, environment);

CREATE TABLE client (
    -- Unique system-wide.
    id TEXT NOT NULL PRIMARY KEY,
    tss_id TEXT NOT NULL REFERENCES tss (id),
    serial TEXT NOT NULL,
    state TEXT NOT NULL,
    time_creation INTEGER NOT NULL,
    time_update INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    UNIQUE (tss_id, serial)
) STRICT;

-- "transaction" is a key word.
CREATE TABLE tss_transaction (
    tss_id TEXT NOT NULL REFERENCES tss (id),
    number INTEGER NOT NULL,
    id TEXT NOT NULL,
    state TEXT NOT NULL,
    latest_revision INTEGER NOT NULL,
    client_id TEXT NOT NULL,
    time_start INTEGER NOT NULL,
    time_end INTEGER,
    metadata TEXT NOT NULL,
    PRIMARY KEY (tss_id, number),
    UNIQUE (tss_id, id)
) STRICT;

-- What a step answers with, so that no answer needs to read DER.
CREATE TABLE transaction_step (
    tss_id TEXT NOT NULL,
    transaction_number INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    state TEXT NOT NULL,
    phase TEXT NOT NULL,
    client_id TEXT NOT NULL,
    client_serial TEXT NOT NULL,
    -- NULL: no schema is in force.
    schema_form TEXT,
    -- NULL although there is a schema: the same as was signed.
    schema_process_type TEXT,
    schema_process_data BLOB,
    schema_echo TEXT,
    process_type TEXT NOT NULL,
    process_data BLOB NOT NULL,
    request_digest BLOB NOT NULL,
    signature_counter INTEGER NOT NULL,
    log_time INTEGER NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (tss_id, transaction_number, revision),
    FOREIGN KEY (tss_id, transaction_number) REFERENCES tss_transaction (tss_id, number)
) STRICT;

-- The log. Append-only: the triggers below refuse every other change.
CREATE TABLE log_message (
    tss_id TEXT NOT NULL REFERENCES tss (id),
    signature_counter INTEGER NOT NULL CHECK (signature_counter >= 0),
    kind TEXT NOT NULL,
    log_time INTEGER NOT NULL,
    -- The next four are set together, for transaction messages.
    transaction_number INTEGER,
    revision INTEGER,
    client_id TEXT,
    client_serial TEXT,
    file_name TEXT NOT NULL,
    -- The exact signed bytes; every other column is an index that can be rebuilt from them.
    der BLOB NOT NULL,
    PRIMARY KEY (tss_id, signature_counter)
) STRICT;
CREATE UNIQUE INDEX log_message_step ON log_message (tss_id, transaction_number, revision)
    WHERE transaction_number IS NOT NULL;
-- Everything an export selects by, in counter order, so that choosing messages reads no message.
CREATE INDEX log_message_selection ON log_message
    (tss_id, signature_counter, kind, client_id, transaction_number, log_time);

CREATE TABLE export (
    tss_id TEXT NOT NULL REFERENCES tss (id),
    id TEXT NOT NULL,
    state TEXT NOT NULL,
    filter TEXT NOT NULL,
    -- NULL until the filters are resolved; the bounds are inclusive.
    counter_first INTEGER,
    counter_last INTEGER,
    client_id TEXT,
    transaction_first INTEGER,
    transaction_last INTEGER,
    time_first INTEGER,
    time_last INTEGER,
    messages INTEGER,
    messages_max INTEGER NOT NULL,
    counter_at_request INTEGER NOT NULL,
    time_request INTEGER NOT NULL,
    info_csv BLOB NOT NULL,
    -- JSON: [[file name, DER in base64], ...]
    certificates TEXT NOT NULL,
    time_start INTEGER,
    time_end INTEGER,
    time_expiration INTEGER,
    time_error INTEGER,
    exception TEXT,
    metadata TEXT NOT NULL,
    PRIMARY KEY (tss_id, id)
) STRICT;
CREATE INDEX export_running ON export (state, time_request) WHERE state IN ('PENDING', 'WORKING');

CREATE TRIGGER log_message_is_never_changed BEFORE UPDATE ON log_message
BEGIN
    SELECT RAISE(ABORT, 'a log message is never changed');
END;
CREATE TRIGGER log_message_is_never_deleted BEFORE DELETE ON log_message
BEGIN
    SELECT RAISE(ABORT, 'a log message is never deleted');
END;
-- INSERT OR REPLACE would delete without asking the trigger above, by each of the table's keys.
CREATE TRIGGER log_message_is_never_replaced BEFORE INSERT ON log_message
WHEN EXISTS (
    SELECT 1 FROM log_message
    WHERE tss_id = NEW.tss_id AND signature_counter = NEW.signature_counter
) OR EXISTS (
    SELECT 1 FROM log_message
    WHERE tss_id = NEW.tss_id AND transaction_number = NEW.transaction_number
        AND revision = NEW.revision
) OR EXISTS (
    SELECT 1 FROM log_message WHERE rowid = NEW.rowid
)
BEGIN
    SELECT RAISE(ABORT, 'a log message is never replaced');
END;
