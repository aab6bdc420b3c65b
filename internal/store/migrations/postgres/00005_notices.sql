-- +goose Up
-- Who is told what. A notice is written in the turn of what it tells; to whom it
-- goes is found out afterwards, and each delivery is sent at least once, under a lease.

-- Percentages of a limit that are told when a spend crosses them.
ALTER TABLE budgets ADD COLUMN thresholds TEXT NOT NULL DEFAULT '50,80,100';

CREATE TABLE notices (
    organization TEXT NOT NULL REFERENCES organizations (id),
    id           TEXT NOT NULL,
    mark         TEXT NOT NULL, -- what is told once
    kind         TEXT NOT NULL,
    about        TEXT NOT NULL DEFAULT '', -- plan, run, budget, stop, subscription or order
    subject      TEXT NOT NULL,
    facts        TEXT NOT NULL,
    link         TEXT NOT NULL DEFAULT '', -- a path under public_url
    person       TEXT NOT NULL DEFAULT '', -- empty: whoever chose the kind
    project      TEXT NOT NULL DEFAULT '',
    run          TEXT NOT NULL DEFAULT '',
    spread_at    BIGINT NOT NULL DEFAULT 0, -- when its deliveries were made
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (organization, id),
    UNIQUE (organization, mark)
);

CREATE TABLE deliveries (
    organization TEXT NOT NULL REFERENCES organizations (id),
    notice       TEXT NOT NULL,
    way          TEXT NOT NULL,
    person       TEXT NOT NULL, -- empty: the webhook has none
    kind         TEXT NOT NULL,
    state        TEXT NOT NULL,
    attempts     BIGINT NOT NULL DEFAULT 0,
    next_at      BIGINT NOT NULL,
    lease_until  BIGINT NOT NULL DEFAULT 0,
    error        TEXT NOT NULL DEFAULT '',
    created_at   BIGINT NOT NULL,
    ended_at     BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (organization, notice, way, person)
);

-- What somebody chose to be told; kind "all" stands for what has no row of its own.
CREATE TABLE notice_choices (
    organization TEXT NOT NULL REFERENCES organizations (id),
    person       TEXT NOT NULL, -- empty: the organization's choice
    kind         TEXT NOT NULL,
    ways         TEXT NOT NULL, -- with commas; empty: not told
    PRIMARY KEY (organization, person, kind)
);

CREATE INDEX notices_to_spread ON notices (spread_at, created_at);
CREATE INDEX deliveries_by_state ON deliveries (state, next_at);
CREATE INDEX deliveries_by_person ON deliveries (organization, way, person, kind, created_at);
