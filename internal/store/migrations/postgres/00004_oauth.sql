-- +goose Up
-- Clients of the authorization server, their requests and the devices that sign in
-- belong to nobody until a person decides: they are tables of the installation, as
-- are the accounts of people at an upstream issuer.

CREATE TABLE oauth_clients (
    id          TEXT NOT NULL PRIMARY KEY, -- made here, or the https address of the client's own document
    name        TEXT NOT NULL,
    redirects   TEXT NOT NULL,
    method      TEXT NOT NULL,             -- how it authenticates: none, client_secret_basic, client_secret_post
    secret_hash TEXT NOT NULL DEFAULT '',
    source      TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    read_at     BIGINT NOT NULL DEFAULT 0, -- when its document was fetched; 0: it has none
    used_at     BIGINT NOT NULL DEFAULT 0  -- when a person last connected it
);

CREATE TABLE oauth_requests (
    id          TEXT NOT NULL PRIMARY KEY,
    client      TEXT NOT NULL,
    client_name TEXT NOT NULL,
    redirect    TEXT NOT NULL,
    state       TEXT NOT NULL,
    challenge   TEXT NOT NULL,
    resource    TEXT NOT NULL,
    scope       TEXT NOT NULL,
    source      TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    decided_at  BIGINT NOT NULL DEFAULT 0
);

-- A grant is what a person gave a client: the family of all its codes and tokens.
CREATE TABLE oauth_grants (
    organization TEXT NOT NULL REFERENCES organizations (id),
    id           TEXT NOT NULL,
    client       TEXT NOT NULL,
    client_name  TEXT NOT NULL,
    agent        TEXT NOT NULL,
    run          TEXT NOT NULL,
    person       TEXT NOT NULL,
    resource     TEXT NOT NULL,
    scope        TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    used_at      BIGINT NOT NULL DEFAULT 0,
    revoked_at   BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (organization, id)
);

CREATE TABLE oauth_codes (
    organization TEXT NOT NULL REFERENCES organizations (id),
    hash         TEXT NOT NULL UNIQUE,
    grant_id     TEXT NOT NULL,
    client       TEXT NOT NULL,
    redirect     TEXT NOT NULL,
    challenge    TEXT NOT NULL,
    expires_at   BIGINT NOT NULL,
    used_at      BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (organization, hash)
);

CREATE TABLE oauth_refreshes (
    organization TEXT NOT NULL REFERENCES organizations (id),
    hash         TEXT NOT NULL UNIQUE,
    grant_id     TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    used_at      BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (organization, hash)
);

-- The grant that an access token came from; empty: it came from none.
ALTER TABLE tokens ADD COLUMN grant_id TEXT NOT NULL DEFAULT '';

CREATE TABLE devices (
    hash         TEXT NOT NULL PRIMARY KEY, -- of the code that the device keeps
    user_hash    TEXT NOT NULL UNIQUE,      -- of the code that a person types
    name         TEXT NOT NULL,             -- what the device says of itself
    source       TEXT NOT NULL,
    state        TEXT NOT NULL,             -- waiting, confirmed, denied, used
    organization TEXT NOT NULL DEFAULT '',
    person       TEXT NOT NULL DEFAULT '',
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    polled_at    BIGINT NOT NULL DEFAULT 0,
    pause        BIGINT NOT NULL            -- microseconds between two questions
);

CREATE TABLE identities (
    issuer       TEXT NOT NULL,
    subject      TEXT NOT NULL,
    organization TEXT NOT NULL,
    person       TEXT NOT NULL,
    made         BIGINT NOT NULL, -- 1: the person came to be by signing in there, and the role follows the groups
    created_at   BIGINT NOT NULL,
    seen_at      BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);
