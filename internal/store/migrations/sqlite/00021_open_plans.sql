-- +goose Up
-- Plans that wait or may start: a run's, and those whose time is over first. However many
-- there are, a stop and the clock look at few of them at once.
CREATE INDEX plans_open ON plans (organization, run, id) WHERE state IN ('needs_approval', 'ready');
CREATE INDEX plans_ending ON plans (organization, expires_at) WHERE state IN ('needs_approval', 'ready');
