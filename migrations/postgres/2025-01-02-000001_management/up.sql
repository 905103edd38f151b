-- The same as for SQLite.

-- The organisation that made this one and acts for it.
ALTER TABLE organization ADD COLUMN managed_by text COLLATE "C" REFERENCES organization (id);
-- Id of the API key that made it; NULL: an operator.
ALTER TABLE organization ADD COLUMN created_by text COLLATE "C";
-- JSON: address, tax numbers and the like, by their names in the API.
ALTER TABLE organization ADD COLUMN details text COLLATE "C" NOT NULL DEFAULT '{}';
ALTER TABLE organization ADD COLUMN metadata text COLLATE "C" NOT NULL DEFAULT '{}';
CREATE INDEX organization_managed ON organization (managed_by, time_creation);

-- The organisation that alone may change this key, where that is not its own.
ALTER TABLE api_key ADD COLUMN managed_by text COLLATE "C" REFERENCES organization (id);
ALTER TABLE api_key ADD COLUMN created_by text COLLATE "C";
ALTER TABLE api_key ADD COLUMN metadata text COLLATE "C" NOT NULL DEFAULT '{}';

-- When the last token signed with this secret expires.
ALTER TABLE token_secret ADD COLUMN used_until bigint NOT NULL DEFAULT 0;
UPDATE token_secret SET used_until = COALESCE((SELECT MAX(refresh_expires) FROM login_session), 0);

-- Logins that failed, by whom they were tried for and from where.
CREATE TABLE login_failure (
    subject text COLLATE "C" NOT NULL PRIMARY KEY,
    failures bigint NOT NULL,
    time_last bigint NOT NULL
);
CREATE INDEX login_failure_old ON login_failure (time_last);
