-- +goose Up
-- A window that began with what was spent before its budget had its first limit. The
-- holds of before do not name it: who was decided before seq, at since or later, and in
-- the scope, belongs to it all the same. A row is never changed.
CREATE TABLE openings (
    organization TEXT NOT NULL REFERENCES organizations (id),
    scope        TEXT NOT NULL,
    target       TEXT NOT NULL,
    currency     TEXT NOT NULL,
    name         TEXT NOT NULL,
    since        BIGINT NOT NULL, -- microseconds; when the window began
    seq          BIGINT NOT NULL, -- of the record that set the limit
    PRIMARY KEY (organization, scope, target, currency, name)
);

-- In this database's own words, to the end of them:

-- +goose StatementBegin
CREATE TRIGGER openings_no_update BEFORE UPDATE ON openings
BEGIN
    SELECT RAISE(ABORT, 'openings is append-only');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER openings_no_delete BEFORE DELETE ON openings
BEGIN
    SELECT RAISE(ABORT, 'openings is append-only');
END;
-- +goose StatementEnd

-- The end of them.
