-- +goose Up
-- The log is kept in blocks: a row has the records of a turn, packed, with the hashes of
-- the tree that they complete (internal/store/block.go). seq is the last of its n records.
CREATE TABLE audit_blocks (
    organization TEXT NOT NULL,
    seq          BIGINT NOT NULL,
    n            BIGINT NOT NULL,
    at           BIGINT NOT NULL,
    hashes       BYTEA NOT NULL,
    leaves       BYTEA NOT NULL,
    PRIMARY KEY (organization, seq)
);

-- Here the program carries the records over (internal/store/carry.go).

DROP TABLE audit;
DROP TABLE audit_hashes;
ALTER TABLE audit_blocks RENAME TO audit;

-- In this database's own words, to the end of them:

ALTER INDEX audit_blocks_pkey RENAME TO audit_pkey;
-- What is packed is not packed again, and stays in its row while that fits a page.
ALTER TABLE audit ALTER hashes SET STORAGE EXTERNAL;
ALTER TABLE audit ALTER leaves SET STORAGE EXTERNAL;
ALTER TABLE audit SET (toast_tuple_target = 8160);
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION append_only();

-- The end of them.
