-- +goose Up
-- When a resource's credentials end, where the provider told so; 0: it told nothing.
ALTER TABLE resources ADD COLUMN credentials_until BIGINT NOT NULL DEFAULT 0;
