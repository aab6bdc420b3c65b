-- +goose Up
-- Times are microseconds since 1970 in UTC, 0 is "not yet". Amounts are minor units.
-- Every key begins with the organization, except in the tables of the installation:
-- installation, setup_codes, providers, old_secrets, terms.

CREATE TABLE installation (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE setup_codes (
    hash       TEXT NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL,
    used_at    BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE providers (
    name       TEXT NOT NULL PRIMARY KEY,
    manifest   TEXT NOT NULL,
    profile    TEXT NOT NULL,
    secret     BLOB NOT NULL,
    key_hash   TEXT NOT NULL UNIQUE,
    catalog    TEXT NOT NULL DEFAULT '',
    catalog_at BIGINT NOT NULL DEFAULT 0,
    state      TEXT NOT NULL DEFAULT 'ok',
    conformance TEXT NOT NULL DEFAULT '',
    conformance_detail TEXT NOT NULL DEFAULT '',
    created_at BIGINT NOT NULL
);

-- The secret before the last one: both sign until then (APP 17.4).
CREATE TABLE old_secrets (
    provider TEXT NOT NULL PRIMARY KEY,
    secret   BLOB NOT NULL,
    until    BIGINT NOT NULL
);

CREATE TABLE terms (
    hash TEXT NOT NULL PRIMARY KEY,
    url  TEXT NOT NULL,
    text TEXT NOT NULL,
    at   BIGINT NOT NULL
);

CREATE TABLE organizations (
    id         TEXT NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL,
    timezone   TEXT NOT NULL,
    turn       BIGINT NOT NULL DEFAULT 0,
    seq        BIGINT NOT NULL DEFAULT 0,
    epoch      BIGINT NOT NULL DEFAULT 0,
    clock      BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL
);

CREATE TABLE people (
    organization TEXT NOT NULL REFERENCES organizations (id),
    id           TEXT NOT NULL,
    name         TEXT NOT NULL,
    email        TEXT NOT NULL UNIQUE,
    role         TEXT NOT NULL,
    kdf          TEXT NOT NULL,
    public_key   TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (organization, id)
);

CREATE TABLE tokens (
    organization TEXT NOT NULL REFERENCES organizations (id),
    id           TEXT NOT NULL,
    hash         TEXT NOT NULL UNIQUE,
    kind         TEXT NOT NULL,
    principal    TEXT NOT NULL,
    run          TEXT NOT NULL DEFAULT '',
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    revoked_at   BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (organization, id)
);

CREATE TABLE challenges (
    organization TEXT NOT NULL REFERENCES organizations (id),
    nonce        TEXT NOT NULL,
    operation    TEXT NOT NULL,
    approver     TEXT NOT NULL,
    document     TEXT NOT NULL,
    not_after    BIGINT NOT NULL,
    used_at      BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (organization, nonce)
);

CREATE TABLE projects (
    organization TEXT NOT NULL REFERENCES organizations (id),
    id           TEXT NOT NULL,
    name         TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (organization, id),
    UNIQUE (organization, name)
);

CREATE TABLE agents (
    organization TEXT NOT NULL REFERENCES organizations (id),
    id           TEXT NOT NULL,
    name         TEXT NOT NULL,
    person       TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    revoked_at   BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (organization, id)
);

CREATE TABLE runs (
    organization TEXT NOT NULL REFERENCES organizations (id),
    id           TEXT NOT NULL,
    project      TEXT NOT NULL,
    agent        TEXT NOT NULL DEFAULT '', -- empty: the implicit run of a person
    person       TEXT NOT NULL,
    purpose      TEXT NOT NULL DEFAULT '',
    currency     TEXT NOT NULL,
    threshold    BIGINT NOT NULL,
    providers    TEXT NOT NULL DEFAULT '[]',
    reveal       TEXT NOT NULL DEFAULT '[]',
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    ended_at     BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (organization, id)
);

CREATE TABLE connections (
    organization TEXT NOT NULL REFERENCES organizations (id),
    id           TEXT NOT NULL,
    provider     TEXT NOT NULL,
    account      TEXT NOT NULL,
    email        TEXT NOT NULL,
    state        TEXT NOT NULL,
    access       BLOB NOT NULL,
    refresh      BLOB NOT NULL,
    expires_at   BIGINT NOT NULL,
    base_url     TEXT NOT NULL DEFAULT '',
    billing      TEXT NOT NULL DEFAULT '',
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (organization, id),
    UNIQUE (organization, provider)
);

CREATE TABLE budgets (
    organization TEXT NOT NULL REFERENCES organizations (id),
    scope        TEXT NOT NULL,
    target       TEXT NOT NULL,
    period       TEXT NOT NULL,
    currency     TEXT NOT NULL,
    limit_minor  BIGINT NOT NULL CHECK (limit_minor >= 0),
    PRIMARY KEY (organization, scope, target, currency)
);

-- A window is one period of a budget. guard_ceiling is the larger of the limit
-- and the use at the last change of the limit (RULES 5): SQL keeps the invariant
-- even if the program should err.
CREATE TABLE windows (
    organization  TEXT NOT NULL REFERENCES organizations (id),
    scope         TEXT NOT NULL,
    target        TEXT NOT NULL,
    currency      TEXT NOT NULL,
    name          TEXT NOT NULL,
    held          BIGINT NOT NULL DEFAULT 0 CHECK (held >= 0),
    captured      BIGINT NOT NULL DEFAULT 0 CHECK (captured >= 0),
    refunded      BIGINT NOT NULL DEFAULT 0 CHECK (refunded >= 0),
    guard_ceiling BIGINT NOT NULL,
    PRIMARY KEY (organization, scope, target, currency, name),
    CHECK (refunded <= captured),
    CHECK (held + captured - refunded <= guard_ceiling)
);

CREATE TABLE holds (
    organization TEXT NOT NULL REFERENCES organizations (id),
    id           TEXT NOT NULL,
    order_id     TEXT NOT NULL DEFAULT '',
    subscription TEXT NOT NULL DEFAULT '',
    run          TEXT NOT NULL DEFAULT '',
    project      TEXT NOT NULL,
    provider     TEXT NOT NULL,
    category     TEXT NOT NULL DEFAULT '',
    currency     TEXT NOT NULL,
    amount       BIGINT NOT NULL CHECK (amount >= 0),
    captured     BIGINT NOT NULL DEFAULT 0 CHECK (captured >= 0),
    released     BIGINT NOT NULL DEFAULT 0 CHECK (released >= 0),
    refunded     BIGINT NOT NULL DEFAULT 0 CHECK (refunded >= 0),
    state        TEXT NOT NULL,
    epoch        BIGINT NOT NULL,
    begun_at     BIGINT NOT NULL DEFAULT 0,
    expires_at   BIGINT NOT NULL,
    windows      TEXT NOT NULL,
    seq          BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (organization, id),
    CHECK (captured + released <= amount),
    CHECK (refunded <= captured)
);

CREATE TABLE payment_tokens (
    organization TEXT NOT NULL REFERENCES organizations (id),
    id           TEXT NOT NULL,
    hash         TEXT NOT NULL UNIQUE,
    hold         TEXT NOT NULL,
    provider     TEXT NOT NULL,
    connection   TEXT NOT NULL,
    plan_digest  TEXT NOT NULL,
    currency     TEXT NOT NULL,
    maximum      BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    state        TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (organization, id)
);

CREATE TABLE charges (
    organization TEXT NOT NULL REFERENCES organizations (id),
    id           TEXT NOT NULL,
    provider     TEXT NOT NULL,
    provider_key TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    token        TEXT NOT NULL,
    hold         TEXT NOT NULL,
    currency     TEXT NOT NULL,
    amount       BIGINT NOT NULL CHECK (amount >= 0),
    refunded     BIGINT NOT NULL DEFAULT 0 CHECK (refunded >= 0),
    status       TEXT NOT NULL,
    resource     TEXT NOT NULL DEFAULT '',
    receipt      TEXT NOT NULL DEFAULT '[]',
    seq          BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (organization, id),
    UNIQUE (organization, provider, provider_key),
    CHECK (refunded <= amount)
);

CREATE TABLE movements (
    organization TEXT NOT NULL REFERENCES organizations (id),
    seq          BIGINT NOT NULL,
    n            BIGINT NOT NULL,
    at           BIGINT NOT NULL,
    kind         TEXT NOT NULL,
    currency     TEXT NOT NULL,
    amount       BIGINT NOT NULL,
    hold         TEXT NOT NULL,
    charge       TEXT NOT NULL DEFAULT '',
    order_id     TEXT NOT NULL DEFAULT '',
    run          TEXT NOT NULL DEFAULT '',
    project      TEXT NOT NULL DEFAULT '',
    provider     TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (organization, seq, n)
);

CREATE TABLE entries (
    organization TEXT NOT NULL REFERENCES organizations (id),
    seq          BIGINT NOT NULL,
    n            BIGINT NOT NULL,
    leg          BIGINT NOT NULL,
    account      TEXT NOT NULL,
    currency     TEXT NOT NULL,
    amount       BIGINT NOT NULL,
    PRIMARY KEY (organization, seq, n, leg)
);

CREATE TABLE audit (
    organization TEXT NOT NULL REFERENCES organizations (id),
    seq          BIGINT NOT NULL,
    at           BIGINT NOT NULL,
    leaf         TEXT NOT NULL,
    PRIMARY KEY (organization, seq)
);

CREATE TABLE audit_hashes (
    organization TEXT NOT NULL REFERENCES organizations (id),
    n            BIGINT NOT NULL,
    hash         BLOB NOT NULL,
    PRIMARY KEY (organization, n)
);

CREATE TABLE checkpoints (
    organization TEXT NOT NULL REFERENCES organizations (id),
    size         BIGINT NOT NULL,
    note         TEXT NOT NULL,
    at           BIGINT NOT NULL,
    PRIMARY KEY (organization, size)
);

CREATE TABLE keys (
    organization TEXT NOT NULL REFERENCES organizations (id),
    principal    TEXT NOT NULL,
    key          TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    code         TEXT NOT NULL DEFAULT '',
    answer       BLOB NOT NULL,
    at           BIGINT NOT NULL,
    PRIMARY KEY (organization, principal, key)
);

CREATE TABLE manifests (
    organization TEXT NOT NULL REFERENCES organizations (id),
    digest       TEXT NOT NULL,
    files        TEXT NOT NULL,
    count        BIGINT NOT NULL,
    bytes        BIGINT NOT NULL,
    commit_id    TEXT NOT NULL DEFAULT '',
    dirty        BIGINT NOT NULL DEFAULT 0,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (organization, digest)
);

CREATE TABLE plans (
    organization TEXT NOT NULL REFERENCES organizations (id),
    id           TEXT NOT NULL,
    run          TEXT NOT NULL,
    project      TEXT NOT NULL,
    env          TEXT NOT NULL,
    state        TEXT NOT NULL,
    digest       TEXT NOT NULL,
    terms        TEXT NOT NULL,
    detail       TEXT NOT NULL,
    quotes       TEXT NOT NULL DEFAULT '{}',
    actor        TEXT NOT NULL,
    epoch        BIGINT NOT NULL,
    error        TEXT NOT NULL DEFAULT '',
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    deadline     BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (organization, id)
);

CREATE TABLE approvals (
    organization TEXT NOT NULL REFERENCES organizations (id),
    id           TEXT NOT NULL,
    plan         TEXT NOT NULL,
    decision     TEXT NOT NULL,
    approver     TEXT NOT NULL,
    method       TEXT NOT NULL DEFAULT '',
    document     TEXT NOT NULL DEFAULT '{}',
    reason       TEXT NOT NULL DEFAULT '',
    epoch        BIGINT NOT NULL,
    signed_at    BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    consumed_at  BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (organization, id),
    UNIQUE (organization, plan)
);

CREATE TABLE orders (
    organization TEXT NOT NULL REFERENCES organizations (id),
    id           TEXT NOT NULL,
    plan         TEXT NOT NULL,
    step         BIGINT NOT NULL,
    run          TEXT NOT NULL,
    project      TEXT NOT NULL,
    env          TEXT NOT NULL,
    agent        TEXT NOT NULL DEFAULT '',
    provider     TEXT NOT NULL,
    kind         TEXT NOT NULL,
    what         TEXT NOT NULL,
    target       TEXT NOT NULL,
    currency     TEXT NOT NULL DEFAULT '',
    amount       BIGINT NOT NULL,
    state        TEXT NOT NULL,
    hold         TEXT NOT NULL,
    resource     TEXT NOT NULL DEFAULT '',
    quote        TEXT NOT NULL DEFAULT '',
    attempts     BIGINT NOT NULL DEFAULT 0,
    lease_until  BIGINT NOT NULL DEFAULT 0,
    begun_at     BIGINT NOT NULL DEFAULT 0,
    epoch        BIGINT NOT NULL,
    error        TEXT NOT NULL DEFAULT '',
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    PRIMARY KEY (organization, id),
    UNIQUE (organization, plan, step)
);

CREATE TABLE resources (
    organization  TEXT NOT NULL REFERENCES organizations (id),
    id            TEXT NOT NULL,
    project       TEXT NOT NULL,
    env           TEXT NOT NULL,
    name          TEXT NOT NULL,
    provider      TEXT NOT NULL,
    service       TEXT NOT NULL,
    connection    TEXT NOT NULL,
    provider_id   TEXT NOT NULL,
    item          TEXT NOT NULL,
    configuration TEXT NOT NULL,
    access        BLOB NOT NULL,
    variables     TEXT NOT NULL DEFAULT '[]',
    state         TEXT NOT NULL,
    order_id      TEXT NOT NULL,
    manifest      TEXT NOT NULL DEFAULT '',
    url           TEXT NOT NULL DEFAULT '',
    cap           TEXT NOT NULL DEFAULT '',
    rotating      TEXT NOT NULL DEFAULT '',
    class         TEXT NOT NULL DEFAULT 'operator',
    created_at    BIGINT NOT NULL,
    removed_at    BIGINT NOT NULL DEFAULT 0,
    deletes_at    BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (organization, id)
);

CREATE TABLE subscriptions (
    organization TEXT NOT NULL REFERENCES organizations (id),
    id           TEXT NOT NULL,
    resource     TEXT NOT NULL,
    what         TEXT NOT NULL,
    provider     TEXT NOT NULL,
    project      TEXT NOT NULL,
    category     TEXT NOT NULL DEFAULT '',
    currency     TEXT NOT NULL,
    amount       BIGINT NOT NULL,
    interval     TEXT NOT NULL,
    maximum      BIGINT NOT NULL,
    plan_digest  TEXT NOT NULL,
    cap          TEXT NOT NULL,
    state        TEXT NOT NULL,
    started_at   BIGINT NOT NULL,
    next_at      BIGINT NOT NULL,
    told_at      BIGINT NOT NULL DEFAULT 0,
    ends_at      BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (organization, id)
);

CREATE TABLE stops (
    organization TEXT NOT NULL REFERENCES organizations (id),
    id           TEXT NOT NULL,
    scope        TEXT NOT NULL,
    target       TEXT NOT NULL,
    reason       TEXT NOT NULL,
    actor        TEXT NOT NULL,
    epoch        BIGINT NOT NULL,
    seq          BIGINT NOT NULL,
    at           BIGINT NOT NULL,
    open         TEXT NOT NULL,
    voided       BIGINT NOT NULL,
    lifted_at    BIGINT NOT NULL DEFAULT 0,
    lifted_by    TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (organization, id)
);

CREATE TABLE stop_effects (
    organization TEXT NOT NULL REFERENCES organizations (id),
    stop         TEXT NOT NULL,
    n            BIGINT NOT NULL,
    kind         TEXT NOT NULL,
    target       TEXT NOT NULL,
    state        TEXT NOT NULL,
    detail       TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (organization, stop, n)
);

-- A flow is an account request that waits for a person at the provider (APP 9.6, 9.7).
-- Its id is also the provider's name for it, so it has no second key.
CREATE TABLE flows (
    organization TEXT NOT NULL REFERENCES organizations (id),
    id           TEXT NOT NULL UNIQUE,
    provider     TEXT NOT NULL,
    order_id     TEXT NOT NULL,
    url          BLOB NOT NULL,
    state_hash   TEXT NOT NULL,
    secret_hash  TEXT NOT NULL,
    code         TEXT NOT NULL DEFAULT '', -- sealed, as base64
    status       TEXT NOT NULL,
    decision     TEXT NOT NULL DEFAULT '',
    reason       TEXT NOT NULL DEFAULT '',
    expires_at   BIGINT NOT NULL,
    ticket_hash  TEXT NOT NULL DEFAULT '',
    ticket_until BIGINT NOT NULL DEFAULT 0,
    session_hash TEXT NOT NULL DEFAULT '',
    person       TEXT NOT NULL DEFAULT '',
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    PRIMARY KEY (organization, id)
);

-- What a person answered to needs_information, sealed.
CREATE TABLE answers (
    organization TEXT NOT NULL REFERENCES organizations (id),
    order_id     TEXT NOT NULL,
    information  BLOB NOT NULL,
    at           BIGINT NOT NULL,
    PRIMARY KEY (organization, order_id)
);

CREATE INDEX tokens_by_run ON tokens (organization, run);
CREATE INDEX tokens_by_principal ON tokens (organization, principal);
CREATE INDEX runs_by_agent ON runs (organization, agent);
CREATE INDEX holds_by_state ON holds (organization, state);
CREATE INDEX payment_tokens_by_hold ON payment_tokens (organization, hold);
CREATE INDEX charges_by_hold ON charges (organization, hold);
CREATE INDEX movements_by_run ON movements (organization, run, seq);
CREATE INDEX movements_by_project ON movements (organization, project, seq);
CREATE INDEX plans_by_state ON plans (organization, state, created_at);
CREATE INDEX orders_by_run ON orders (organization, run, created_at);
CREATE INDEX orders_by_agent ON orders (organization, agent, created_at);
CREATE INDEX orders_by_state ON orders (organization, state);
CREATE INDEX resources_by_project ON resources (organization, project, env);
CREATE INDEX subscriptions_by_date ON subscriptions (organization, state, next_at);
CREATE INDEX flows_by_state ON flows (state_hash);
CREATE INDEX stops_in_force ON stops (organization, lifted_at);
