-- What is stored by PostgreSQL. One schema for both databases: 64-bit integers, text, blobs. UUIDs and
-- hashes are lower-case text, times are unix seconds, metadata is JSON text.
-- COLLATE "C": text sorts by bytes, as it does in SQLite.

CREATE TABLE ledger_meta (
    name text COLLATE "C" NOT NULL PRIMARY KEY,
    value text COLLATE "C" NOT NULL
);

CREATE TABLE organization (
    id text COLLATE "C" NOT NULL PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    time_creation bigint NOT NULL
);

CREATE TABLE api_key (
    key text COLLATE "C" NOT NULL PRIMARY KEY,
    organization_id text COLLATE "C" NOT NULL REFERENCES organization (id),
    environment text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    secret_sha256 bytea NOT NULL,
    status text COLLATE "C" NOT NULL,
    time_creation bigint NOT NULL
);
CREATE INDEX api_key_organization ON api_key (organization_id, time_creation);

CREATE TABLE token_secret (
    id text COLLATE "C" NOT NULL PRIMARY KEY,
    sealed bytea NOT NULL,
    time_creation bigint NOT NULL
);

CREATE TABLE login_session (
    id text COLLATE "C" NOT NULL PRIMARY KEY,
    api_key text COLLATE "C" NOT NULL REFERENCES api_key (key),
    time_issued bigint NOT NULL,
    access_expires bigint NOT NULL,
    refresh_expires bigint NOT NULL,
    secret_id text COLLATE "C" NOT NULL
);
CREATE INDEX login_session_live ON login_session (api_key, access_expires);
CREATE INDEX login_session_expired ON login_session (refresh_expires);

CREATE TABLE ca (
    serial_number text COLLATE "C" NOT NULL PRIMARY KEY,
    environment text COLLATE "C" NOT NULL,
    role text COLLATE "C" NOT NULL,
    issuer text COLLATE "C" NOT NULL,
    -- The next four are set together, where the key of the CA is in a token of ours.
    token text COLLATE "C",
    key_id text COLLATE "C",
    key_curve text COLLATE "C",
    key_point bytea,
    certificate bytea NOT NULL
);

-- A key with its certificate; free until a TSS is made of it. Nothing here but tss_id ever changes.
CREATE TABLE device (
    serial_number text COLLATE "C" NOT NULL PRIMARY KEY,
    environment text COLLATE "C" NOT NULL,
    token text COLLATE "C" NOT NULL,
    key_id text COLLATE "C" NOT NULL,
    key_curve text COLLATE "C" NOT NULL,
    key_point bytea NOT NULL,
    algorithm text COLLATE "C" NOT NULL,
    -- Signatures made before it became a TSS.
    signature_counter bigint NOT NULL CHECK (signature_counter >= 0),
    certificate bytea NOT NULL,
    issuer text COLLATE "C" NOT NULL,
    certificate_not_after bigint NOT NULL,
    time_creation bigint NOT NULL,
    tss_id text COLLATE "C" UNIQUE,
    UNIQUE (token, key_id)
);
CREATE INDEX device_free ON device (environment, time_creation, serial_number) WHERE tss_id IS NULL;

CREATE TABLE tss (
    id text COLLATE "C" NOT NULL PRIMARY KEY,
    organization_id text COLLATE "C" NOT NULL REFERENCES organization (id),
    environment text COLLATE "C" NOT NULL,
    format text COLLATE "C" NOT NULL,
    device_serial text COLLATE "C" NOT NULL UNIQUE REFERENCES device (serial_number),
    signature_counter bigint NOT NULL CHECK (signature_counter >= 0),
    state text COLLATE "C" NOT NULL,
    description text COLLATE "C" NOT NULL,
    transaction_counter bigint NOT NULL CHECK (transaction_counter >= 0),
    last_se_time bigint NOT NULL,
    clients_registered bigint NOT NULL,
    transactions_open bigint NOT NULL,
    admin_salt bytea NOT NULL,
    admin_pin bytea,
    admin_pin_retries bigint NOT NULL,
    admin_puk bytea NOT NULL,
    admin_puk_failures bigint NOT NULL,
    admin_puk_blocked_until bigint NOT NULL,
    admin_sealed_puk bytea,
    admin_session text COLLATE "C",
    metadata text COLLATE "C" NOT NULL,
    time_creation bigint NOT NULL,
    time_uninit bigint,
    time_init bigint,
    time_disable bigint,
    time_defective bigint
);
CREATE INDEX tss_owner ON tss (organization_id, environment);

CREATE TABLE client (
    -- Unique system-wide.
    id text COLLATE "C" NOT NULL PRIMARY KEY,
    tss_id text COLLATE "C" NOT NULL REFERENCES tss (id),
    serial text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    time_creation bigint NOT NULL,
    time_update bigint NOT NULL,
    metadata text COLLATE "C" NOT NULL,
    UNIQUE (tss_id, serial)
);

-- "transaction" is a key word.
CREATE TABLE tss_transaction (
    tss_id text COLLATE "C" NOT NULL REFERENCES tss (id),
    number bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    latest_revision bigint NOT NULL,
    client_id text COLLATE "C" NOT NULL,
    time_start bigint NOT NULL,
    time_end bigint,
    metadata text COLLATE "C" NOT NULL,
    PRIMARY KEY (tss_id, number),
    UNIQUE (tss_id, id)
);

-- What a step answers with, so that no answer needs to read DER.
CREATE TABLE transaction_step (
    tss_id text COLLATE "C" NOT NULL,
    transaction_number bigint NOT NULL,
    revision bigint NOT NULL,
    state text COLLATE "C" NOT NULL,
    phase text COLLATE "C" NOT NULL,
    client_id text COLLATE "C" NOT NULL,
    client_serial text COLLATE "C" NOT NULL,
    -- NULL: no schema is in force.
    schema_form text COLLATE "C",
    -- NULL although there is a schema: the same as was signed.
    schema_process_type text COLLATE "C",
    schema_process_data bytea,
    schema_echo text COLLATE "C",
    process_type text COLLATE "C" NOT NULL,
    process_data bytea NOT NULL,
    request_digest bytea NOT NULL,
    signature_counter bigint NOT NULL,
    log_time bigint NOT NULL,
    signature bytea NOT NULL,
    PRIMARY KEY (tss_id, transaction_number, revision),
    FOREIGN KEY (tss_id, transaction_number) REFERENCES tss_transaction (tss_id, number)
);

-- The log. Append-only: the triggers below refuse every other change.
CREATE TABLE log_message (
    tss_id text COLLATE "C" NOT NULL REFERENCES tss (id),
    signature_counter bigint NOT NULL CHECK (signature_counter >= 0),
    kind text COLLATE "C" NOT NULL,
    log_time bigint NOT NULL,
    -- The next four are set together, for transaction messages.
    transaction_number bigint,
    revision bigint,
    client_id text COLLATE "C",
    client_serial text COLLATE "C",
    file_name text COLLATE "C" NOT NULL,
    -- The exact signed bytes; every other column is an index that can be rebuilt from them.
    der bytea NOT NULL,
    -- With everything an export selects by, so that choosing messages reads no message.
    PRIMARY KEY (tss_id, signature_counter)
        INCLUDE (kind, client_id, transaction_number, log_time)
);
CREATE UNIQUE INDEX log_message_step ON log_message (tss_id, transaction_number, revision)
    WHERE transaction_number IS NOT NULL;

CREATE TABLE export (
    tss_id text COLLATE "C" NOT NULL REFERENCES tss (id),
    id text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    filter text COLLATE "C" NOT NULL,
    -- NULL until the filters are resolved; the bounds are inclusive.
    counter_first bigint,
    counter_last bigint,
    client_id text COLLATE "C",
    transaction_first bigint,
    transaction_last bigint,
    time_first bigint,
    time_last bigint,
    messages bigint,
    messages_max bigint NOT NULL,
    counter_at_request bigint NOT NULL,
    time_request bigint NOT NULL,
    info_csv bytea NOT NULL,
    -- JSON: [[file name, DER in base64], ...]
    certificates text COLLATE "C" NOT NULL,
    time_start bigint,
    time_end bigint,
    time_expiration bigint,
    time_error bigint,
    exception text COLLATE "C",
    metadata text COLLATE "C" NOT NULL,
    PRIMARY KEY (tss_id, id)
);
CREATE INDEX export_running ON export (state, time_request) WHERE state IN ('PENDING', 'WORKING');

CREATE FUNCTION log_message_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a log message is never changed or deleted';
END
$$;
CREATE TRIGGER log_message_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log_message
    FOR EACH STATEMENT EXECUTE FUNCTION log_message_is_append_only();
