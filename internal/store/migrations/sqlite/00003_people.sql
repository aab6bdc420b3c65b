-- +goose Up
-- People who sign with passkeys, their sessions in browsers, and two people for
-- what is dear.

-- A person who was removed keeps a row, because the past names them.
ALTER TABLE people ADD COLUMN removed_at BIGINT NOT NULL DEFAULT 0;

-- bearer: a token of the command line. cookie: a session of a browser, which also
-- ends when nobody used it for a while. One is never taken for the other.
ALTER TABLE tokens ADD COLUMN form TEXT NOT NULL DEFAULT 'bearer';
ALTER TABLE tokens ADD COLUMN label TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN seen_at BIGINT NOT NULL DEFAULT 0;

-- What a person is asked to sign elsewhere, in a browser: the request and later
-- the signature, both sealed, as base64.
ALTER TABLE challenges ADD COLUMN request TEXT NOT NULL DEFAULT '';
ALTER TABLE challenges ADD COLUMN answer TEXT NOT NULL DEFAULT '';

CREATE TABLE passkeys (
    organization TEXT NOT NULL REFERENCES organizations (id),
    id           TEXT NOT NULL,
    person       TEXT NOT NULL,
    name         TEXT NOT NULL,
    credential   TEXT NOT NULL UNIQUE, -- base64url, as the authenticator named it
    public_key   TEXT NOT NULL,        -- SubjectPublicKeyInfo, base64url
    counter      BIGINT NOT NULL,
    synced       BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    used_at      BIGINT NOT NULL DEFAULT 0,
    revoked_at   BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (organization, id)
);

-- One that expires is a link to make one more passkey, not for an emergency.
CREATE TABLE recovery_codes (
    organization TEXT NOT NULL REFERENCES organizations (id),
    hash         TEXT NOT NULL,
    person       TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL DEFAULT 0,
    used_at      BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (organization, hash)
);

CREATE TABLE invitations (
    organization TEXT NOT NULL REFERENCES organizations (id),
    id           TEXT NOT NULL,
    hash         TEXT NOT NULL UNIQUE,
    role         TEXT NOT NULL,
    person       TEXT NOT NULL, -- who invited
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    used_at      BIGINT NOT NULL DEFAULT 0,
    used_by      TEXT NOT NULL DEFAULT '',
    revoked_at   BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (organization, id)
);

-- The first yes to a plan that needs two people.
CREATE TABLE votes (
    organization TEXT NOT NULL REFERENCES organizations (id),
    plan         TEXT NOT NULL,
    approver     TEXT NOT NULL,
    method       TEXT NOT NULL,
    signed_at    BIGINT NOT NULL,
    PRIMARY KEY (organization, plan, approver)
);

-- Above this amount two people must approve.
CREATE TABLE two_people (
    organization TEXT NOT NULL REFERENCES organizations (id),
    currency     TEXT NOT NULL,
    above        BIGINT NOT NULL CHECK (above >= 0),
    PRIMARY KEY (organization, currency)
);

CREATE INDEX passkeys_by_person ON passkeys (organization, person);
CREATE INDEX recovery_codes_by_person ON recovery_codes (organization, person);
