-- +goose Up
-- The right edge of an organization's tree, so that appending reads no hashes; it
-- is empty until the next turn of a log that an older version wrote.
ALTER TABLE organizations ADD COLUMN edge BYTEA NOT NULL DEFAULT '';

-- One row holds the hashes of one turn, 32 bytes each; n is the index of the first.
ALTER TABLE audit_hashes RENAME COLUMN hash TO hashes;

-- A movement names both of its accounts: a row is a balanced posting by its form.
ALTER TABLE movements ADD COLUMN debit TEXT NOT NULL DEFAULT '';
ALTER TABLE movements ADD COLUMN credit TEXT NOT NULL DEFAULT '';
UPDATE movements SET
    debit = (SELECT e.account FROM entries e WHERE e.organization = movements.organization AND e.seq = movements.seq AND e.n = movements.n AND e.leg = 0),
    credit = (SELECT e.account FROM entries e WHERE e.organization = movements.organization AND e.seq = movements.seq AND e.n = movements.n AND e.leg = 1);
DROP TABLE entries;

-- A target may have a budget for each period: both a day's and a month's hold.
CREATE TABLE budgets_by_period (
    organization TEXT NOT NULL REFERENCES organizations (id),
    scope        TEXT NOT NULL,
    target       TEXT NOT NULL,
    period       TEXT NOT NULL, -- run, day, week, month, total
    currency     TEXT NOT NULL,
    limit_minor  BIGINT NOT NULL CHECK (limit_minor >= 0),
    PRIMARY KEY (organization, scope, target, currency, period)
);
INSERT INTO budgets_by_period (organization, scope, target, period, currency, limit_minor)
    SELECT organization, scope, target, period, currency, limit_minor FROM budgets;
DROP TABLE budgets;
ALTER TABLE budgets_by_period RENAME TO budgets;

-- What people put on a project or a run, as a list of "name=value"; each may have
-- a budget.
ALTER TABLE projects ADD COLUMN labels TEXT NOT NULL DEFAULT '[]';
ALTER TABLE runs ADD COLUMN labels TEXT NOT NULL DEFAULT '[]';

-- A hold is an order's, a subscription's, or placed by itself: then it says by
-- whom, of which kind and, for a kind that may repeat by mistake, of what.
ALTER TABLE holds ADD COLUMN principal TEXT NOT NULL DEFAULT '';
ALTER TABLE holds ADD COLUMN agent TEXT NOT NULL DEFAULT '';
ALTER TABLE holds ADD COLUMN kind TEXT NOT NULL DEFAULT 'order';
ALTER TABLE holds ADD COLUMN target TEXT NOT NULL DEFAULT '';
DROP INDEX holds_by_state;
CREATE INDEX holds_open ON holds (organization, expires_at) WHERE state IN ('held', 'begun', 'unknown');
CREATE INDEX holds_of_run ON holds (organization, run, created_at) WHERE principal <> '' AND kind = 'order';

-- A platform meters what its agents spend: model tokens, API calls.
CREATE TABLE platforms (
    organization TEXT NOT NULL REFERENCES organizations (id),
    id           TEXT NOT NULL,
    name         TEXT NOT NULL,
    person       TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    revoked_at   BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (organization, id)
);

-- A person said that a repeat is meant (RULES 9); used once.
CREATE TABLE repeats (
    organization TEXT NOT NULL REFERENCES organizations (id),
    id           TEXT NOT NULL,
    run          TEXT NOT NULL,
    target       TEXT NOT NULL,
    currency     TEXT NOT NULL,
    amount       BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    hold         TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (organization, id)
);
