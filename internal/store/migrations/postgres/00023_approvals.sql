-- +goose Up
-- A yes does not help a plan of before a stop: the plan's own epoch is compared.
ALTER TABLE approvals DROP COLUMN epoch;
