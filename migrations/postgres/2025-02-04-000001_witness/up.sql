-- The same as for SQLite.

ALTER TABLE tss ADD COLUMN hold_reason text COLLATE "C";
ALTER TABLE tss ADD COLUMN hold_counter bigint;
ALTER TABLE tss ADD COLUMN hold_transaction bigint;
ALTER TABLE tss ADD COLUMN hold_since bigint;
ALTER TABLE tss ADD COLUMN hold_scope text COLLATE "C";
ALTER TABLE tss ADD COLUMN settled_counter bigint NOT NULL DEFAULT 0;
CREATE INDEX tss_held ON tss (id) WHERE hold_reason IS NOT NULL;

CREATE TABLE lease (
    name text COLLATE "C" NOT NULL PRIMARY KEY,
    holder text COLLATE "C" NOT NULL,
    expires bigint NOT NULL
);

CREATE TABLE node (
    id text COLLATE "C" NOT NULL PRIMARY KEY,
    compared text COLLATE "C" NOT NULL,
    time_seen bigint NOT NULL
);
