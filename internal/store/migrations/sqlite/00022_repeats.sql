-- +goose Up
-- A repeat is meant at one provider. Of before, nobody signed for any: those fit none.
ALTER TABLE repeats ADD COLUMN provider TEXT NOT NULL DEFAULT '';
