-- What keeps a ledger that was put back from signing with numbers it has forgotten.

-- Why a TSS signs nothing until a person decides; NULL: it signs.
ALTER TABLE tss ADD COLUMN hold_reason TEXT;
-- No higher numbers than these were issued, as far as any witness knows, and when that was found (unix
-- seconds); set together with hold_reason.
ALTER TABLE tss ADD COLUMN hold_counter INTEGER;
ALTER TABLE tss ADD COLUMN hold_transaction INTEGER;
ALTER TABLE tss ADD COLUMN hold_since INTEGER;
-- 'tss': this TSS has issued more than the ledger knows. 'token': some TSS of its token has.
ALTER TABLE tss ADD COLUMN hold_scope TEXT;
-- Witnesses of numbers up to this one were answered by a person's decision.
ALTER TABLE tss ADD COLUMN settled_counter INTEGER NOT NULL DEFAULT 0;
CREATE INDEX tss_held ON tss (id) WHERE hold_reason IS NOT NULL;

-- Which node does what only one does at a time, and until when (unix seconds of the database).
CREATE TABLE lease (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    expires INTEGER NOT NULL
) STRICT;

-- Nodes that sign with this ledger: for which database server they have compared it, when they were last
-- there.
CREATE TABLE node (
    id TEXT NOT NULL PRIMARY KEY,
    compared TEXT NOT NULL,
    time_seen INTEGER NOT NULL
) STRICT;
