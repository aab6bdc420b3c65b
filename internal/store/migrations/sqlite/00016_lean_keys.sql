-- +goose Up
-- The first answer to a hold or a charge is what its row began as, so the key names
-- the hold and keeps no answer of its own.
ALTER TABLE keys ADD COLUMN hold TEXT NOT NULL DEFAULT '';
