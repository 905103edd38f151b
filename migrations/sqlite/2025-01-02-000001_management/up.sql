-- What the Management API keeps about organisations and keys, until when a token secret is needed, and who
-- fails to log in.

-- The organisation that made this one and acts for it.
ALTER TABLE organization ADD COLUMN managed_by TEXT REFERENCES organization (id);
-- Id of the API key that made it; NULL: an operator.
ALTER TABLE organization ADD COLUMN created_by TEXT;
-- JSON: address, tax numbers and the like, by their names in the API.
ALTER TABLE organization ADD COLUMN details TEXT NOT NULL DEFAULT '{}';
ALTER TABLE organization ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}';
CREATE INDEX organization_managed ON organization (managed_by, time_creation);

-- The organisation that alone may change this key, where that is not its own.
ALTER TABLE api_key ADD COLUMN managed_by TEXT REFERENCES organization (id);
ALTER TABLE api_key ADD COLUMN created_by TEXT;
ALTER TABLE api_key ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}';

-- When the last token signed with this secret expires.
ALTER TABLE token_secret ADD COLUMN used_until INTEGER NOT NULL DEFAULT 0;
UPDATE token_secret SET used_until = COALESCE((SELECT MAX(refresh_expires) FROM login_session), 0);

-- Logins that failed, by whom they were tried for and from where.
CREATE TABLE login_failure (
    subject TEXT NOT NULL PRIMARY KEY,
    failures INTEGER NOT NULL,
    time_last INTEGER NOT NULL
) STRICT;
CREATE INDEX login_failure_old ON login_failure (time_last);
