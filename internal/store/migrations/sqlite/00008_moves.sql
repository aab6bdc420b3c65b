-- +goose Up
-- A project's movements are read from the newest on, which the primary key gives;
-- each spend paid for this index.
DROP INDEX movements_by_project;
