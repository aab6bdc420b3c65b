-- +goose Up
-- The states that a resource and its charge had when the resource was retired, for as long
-- as it can be restored; nothing at a charge that the retire did not cancel.
ALTER TABLE resources ADD COLUMN retired_from TEXT NOT NULL DEFAULT '';
ALTER TABLE subscriptions ADD COLUMN retired_from TEXT NOT NULL DEFAULT '';
UPDATE resources SET retired_from = 'live' WHERE state = 'retiring';
