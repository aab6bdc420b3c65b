-- +goose Up
-- In SQLite a statement can replace a row without meeting the triggers of DELETE, unless
-- its connection asked for them (recursive_triggers). So what proves refuses a second row
-- of one key itself. Of checkpoints the first of a size stays, as the program has it.

-- In this database's own words, to the end of them:

SELECT 1; -- PostgreSQL has no such statement

-- The end of them.
