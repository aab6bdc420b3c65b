-- +goose Up
-- Until when one replica renews this connection's token; the others wait for what it gets.
ALTER TABLE connections ADD COLUMN renewing_until BIGINT NOT NULL DEFAULT 0;
