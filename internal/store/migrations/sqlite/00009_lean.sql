-- +goose Up
-- Every row of these tables is written in its organization's turn, whose first
-- statement found and locked the organization (RULES 19). PostgreSQL asked for it
-- again for each row, which took a good part of a batch's time; SQLite, which has no
-- statement to drop a reference, looks it up in its own memory.
-- In this database's own words, to the end of them:
SELECT 1;
-- The end of them.
