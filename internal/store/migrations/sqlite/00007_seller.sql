-- +goose Up
-- When a token is renewed ahead of its end (APP 17.2); 0: a minute before it.
ALTER TABLE connections ADD COLUMN renew_at BIGINT NOT NULL DEFAULT 0;
