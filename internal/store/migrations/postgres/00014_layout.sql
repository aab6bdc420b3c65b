-- +goose Up
-- A turn writes its organization's row twice and each of its windows once: half of a
-- page is left free for that, so that a new version needs no entry in an index.
-- In this database's own words, to the end of them:
ALTER TABLE organizations SET (fillfactor = 50);
ALTER TABLE windows SET (fillfactor = 50);
-- The end of them.
