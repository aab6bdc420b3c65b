-- +goose Up
-- Every row of these tables is written in its organization's turn, whose first
-- statement found and locked the organization (RULES 19). PostgreSQL asked for it
-- again for each row, which took a good part of a batch's time; SQLite, which has no
-- statement to drop a reference, looks it up in its own memory.
-- In this database's own words, to the end of them:
ALTER TABLE holds DROP CONSTRAINT holds_organization_fkey;
ALTER TABLE movements DROP CONSTRAINT movements_organization_fkey;
ALTER TABLE audit DROP CONSTRAINT audit_organization_fkey;
ALTER TABLE audit_hashes DROP CONSTRAINT audit_hashes_organization_fkey;
ALTER TABLE keys DROP CONSTRAINT keys_organization_fkey;
ALTER TABLE windows DROP CONSTRAINT windows_organization_fkey;
ALTER TABLE checkpoints DROP CONSTRAINT checkpoints_organization_fkey;
-- The end of them.
