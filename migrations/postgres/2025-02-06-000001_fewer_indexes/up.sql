-- A signature writes to as few pages, and has as little looked up, as possible.

-- In the order in which lanes take them.
LOCK TABLE tss, tss_transaction, transaction_step, log_message IN ACCESS EXCLUSIVE MODE;

-- That a step is signed once, transaction_step knows by its key: both rows are written in one commit.
DROP INDEX log_message_step;

-- An export without a filter is chosen by the key alone, and one with a filter reads its messages anyway.
ALTER TABLE log_message DROP CONSTRAINT log_message_pkey;
ALTER TABLE log_message ADD PRIMARY KEY (tss_id, signature_counter);

-- A batch updates the row of its TSS, and inserts or updates that of the transaction, before anything that
-- refers to them, and is rolled back where a row was not there.
ALTER TABLE log_message DROP CONSTRAINT log_message_tss_id_fkey;
ALTER TABLE tss_transaction DROP CONSTRAINT tss_transaction_tss_id_fkey;
ALTER TABLE transaction_step DROP CONSTRAINT transaction_step_tss_id_transaction_number_fkey;

-- Room for the next version of a row beside it, so that no index hears of the change.
ALTER TABLE tss SET (fillfactor = 50);
ALTER TABLE tss_transaction SET (fillfactor = 70);

-- What the foreign keys kept from happening by accident as well.
CREATE FUNCTION is_never_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never deleted', TG_TABLE_NAME;
END
$$;
CREATE TRIGGER tss_is_never_deleted BEFORE DELETE OR TRUNCATE ON tss
    FOR EACH STATEMENT EXECUTE FUNCTION is_never_deleted();
CREATE TRIGGER tss_transaction_is_never_deleted BEFORE DELETE OR TRUNCATE ON tss_transaction
    FOR EACH STATEMENT EXECUTE FUNCTION is_never_deleted();
CREATE TRIGGER transaction_step_is_never_deleted BEFORE DELETE OR TRUNCATE ON transaction_step
    FOR EACH STATEMENT EXECUTE FUNCTION is_never_deleted();
