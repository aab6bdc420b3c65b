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

CREATE TRIGGER openings_append_only BEFORE UPDATE OR DELETE ON openings FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER openings_no_truncate BEFORE TRUNCATE ON openings FOR EACH STATEMENT EXECUTE FUNCTION append_only();

-- The end of them.
