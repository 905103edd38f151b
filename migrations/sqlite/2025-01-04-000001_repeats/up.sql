-- A step that is sent again merges its metadata, unless that was done when it was signed.

-- SHA-256 of the metadata that came with the request; NULL in steps from before this was kept.
ALTER TABLE transaction_step ADD COLUMN metadata_digest BLOB;
