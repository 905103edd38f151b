-- A signature writes to as few pages as possible.

-- That a step is signed once, transaction_step knows by its key: both rows are written in one commit.
DROP INDEX log_message_step;
-- An export without a filter is chosen by the key alone, and one with a filter reads its messages anyway.
DROP INDEX log_message_selection;

DROP TRIGGER log_message_is_never_replaced;
CREATE TRIGGER log_message_is_never_replaced BEFORE INSERT ON log_message
WHEN EXISTS (
    SELECT 1 FROM log_message
    WHERE tss_id = NEW.tss_id AND signature_counter = NEW.signature_counter
) OR EXISTS (
    SELECT 1 FROM log_message WHERE rowid = NEW.rowid
)
BEGIN
    SELECT RAISE(ABORT, 'a log message is never replaced');
END;
