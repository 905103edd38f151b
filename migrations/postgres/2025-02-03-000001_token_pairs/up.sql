-- Tokens that have a standby, and which of the two signs.

CREATE TABLE token_pair (
    -- As in device.token.
    label TEXT NOT NULL PRIMARY KEY,
    -- Name of the [[token]] section whose token signs, the same on all nodes.
    active TEXT NOT NULL,
    -- Counts the switches. What was signed in another epoch is not committed in this one unseen.
    epoch BIGINT NOT NULL CHECK (epoch > 0),
    time_switch BIGINT NOT NULL
);
