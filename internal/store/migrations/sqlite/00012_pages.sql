-- +goose Up
-- What every page asks: which runs are active, which plans a run had, and which
-- subscription a resource has.
CREATE INDEX runs_active ON runs (organization, expires_at) WHERE ended_at = 0;
CREATE INDEX plans_by_run ON plans (organization, run, id);
CREATE INDEX subscriptions_by_resource ON subscriptions (organization, resource, id);
