-- +goose Up
-- What proves is written once. The program never changes it; these triggers keep a
-- mistake in it, or in a hand at the database, from doing so quietly. Who may alter
-- the schema can still drop them: for that there are the tree and its witnesses.

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

-- +goose StatementBegin
CREATE TRIGGER audit_hashes_no_update BEFORE UPDATE ON audit_hashes
BEGIN
    SELECT RAISE(ABORT, 'audit_hashes is append-only');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER audit_hashes_no_delete BEFORE DELETE ON audit_hashes
BEGIN
    SELECT RAISE(ABORT, 'audit_hashes is append-only');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER checkpoints_no_update BEFORE UPDATE ON checkpoints
BEGIN
    SELECT RAISE(ABORT, 'checkpoints is append-only');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER checkpoints_no_delete BEFORE DELETE ON checkpoints
BEGIN
    SELECT RAISE(ABORT, 'checkpoints is append-only');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER movements_no_update BEFORE UPDATE ON movements
BEGIN
    SELECT RAISE(ABORT, 'movements is append-only');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER movements_no_delete BEFORE DELETE ON movements
BEGIN
    SELECT RAISE(ABORT, 'movements is append-only');
END;
-- +goose StatementEnd

-- The end of them.

-- How far each place outside has a copy of each log's checkpoints.
CREATE TABLE witnessed (
    organization TEXT NOT NULL REFERENCES organizations (id),
    place        TEXT NOT NULL, -- file, url
    size         BIGINT NOT NULL,
    at           BIGINT NOT NULL DEFAULT 0,
    fails        BIGINT NOT NULL DEFAULT 0, -- tries since the last that went well
    next_at      BIGINT NOT NULL DEFAULT 0,
    error        TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (organization, place)
);
