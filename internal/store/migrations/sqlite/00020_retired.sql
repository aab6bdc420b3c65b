-- +goose Up
-- The state that a charge had when its resource was retired, while it can still be
-- restored; nothing where the retire did not cancel it.
ALTER TABLE subscriptions ADD COLUMN retired_from TEXT NOT NULL DEFAULT '';
