-- +goose Up
-- The log is kept in blocks: a row has the records of a turn, packed, with the hashes of
-- the tree that they complete (internal/store/block.go). seq is the last of its n records.
CREATE TABLE audit_blocks (
    organization TEXT NOT NULL,
    seq          BIGINT NOT NULL,
    n            BIGINT NOT NULL,
    at           BIGINT NOT NULL,
    hashes       BLOB NOT NULL,
    leaves       BLOB NOT NULL,
    PRIMARY KEY (organization, seq)
);

-- Here the program carries the records over (internal/store/carry.go).

DROP TABLE audit;
DROP TABLE audit_hashes;
ALTER TABLE audit_blocks RENAME TO audit;

-- In this database's own words, to the end of them:

-- +goose StatementBegin
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'audit is append-only');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'audit is append-only');
END;
-- +goose StatementEnd

-- The end of them.
