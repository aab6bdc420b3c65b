package state

// schema is the cloud's own area. Steps are only ever appended. Times are
// microseconds since 1970, JSON is TEXT.
var schema = []string{`
CREATE TABLE settings (key TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE accounts (
	id TEXT PRIMARY KEY, ref TEXT UNIQUE, name TEXT NOT NULL, subdomain TEXT NOT NULL UNIQUE,
	suspended_at BIGINT, created_at BIGINT NOT NULL);
CREATE TABLE tokens (
	id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, account TEXT NOT NULL REFERENCES accounts(id),
	label TEXT NOT NULL, script TEXT NOT NULL, zone TEXT NOT NULL,
	created_at BIGINT NOT NULL, expires_at BIGINT, revoked_at BIGINT);
CREATE INDEX tokens_account ON tokens(account, label);
CREATE TABLE zones (
	id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, account TEXT NOT NULL REFERENCES accounts(id),
	kind TEXT NOT NULL, serial BIGINT NOT NULL, created_at BIGINT NOT NULL);
CREATE INDEX zones_account ON zones(account);
CREATE TABLE records (
	id TEXT PRIMARY KEY, zone TEXT NOT NULL REFERENCES zones(id) ON DELETE CASCADE,
	name TEXT NOT NULL, type TEXT NOT NULL, content TEXT NOT NULL, priority BIGINT NOT NULL,
	ttl BIGINT NOT NULL, origin TEXT NOT NULL, created_at BIGINT NOT NULL,
	UNIQUE (zone, name, type, content));
CREATE TABLE apps (
	account TEXT NOT NULL REFERENCES accounts(id), name TEXT NOT NULL, tag TEXT NOT NULL,
	active TEXT NOT NULL, subdomain BIGINT NOT NULL, created_at BIGINT NOT NULL, modified_at BIGINT NOT NULL,
	PRIMARY KEY (account, name));
CREATE TABLE versions (
	id TEXT PRIMARY KEY, account TEXT NOT NULL, app TEXT NOT NULL, number BIGINT NOT NULL,
	digest TEXT NOT NULL, manifest TEXT NOT NULL, config TEXT NOT NULL, tag TEXT NOT NULL, message TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	UNIQUE (account, app, number),
	FOREIGN KEY (account, app) REFERENCES apps(account, name) ON DELETE CASCADE);
CREATE TABLE deployments (
	id TEXT PRIMARY KEY, account TEXT NOT NULL, app TEXT NOT NULL, number BIGINT NOT NULL, version TEXT NOT NULL,
	message TEXT NOT NULL, created_at BIGINT NOT NULL,
	UNIQUE (account, app, number),
	FOREIGN KEY (account, app) REFERENCES apps(account, name) ON DELETE CASCADE);
CREATE TABLE domains (
	id TEXT PRIMARY KEY, hostname TEXT NOT NULL UNIQUE, account TEXT NOT NULL, app TEXT NOT NULL,
	zone TEXT NOT NULL REFERENCES zones(id) ON DELETE CASCADE, created_at BIGINT NOT NULL,
	FOREIGN KEY (account, app) REFERENCES apps(account, name) ON DELETE CASCADE);
CREATE TABLE uploads (
	account TEXT NOT NULL, hash TEXT NOT NULL, size BIGINT NOT NULL, type TEXT NOT NULL, created_at BIGINT NOT NULL,
	PRIMARY KEY (account, hash)) WITHOUT ROWID;
CREATE TABLE sessions (
	id TEXT PRIMARY KEY, account TEXT NOT NULL, app TEXT NOT NULL, manifest TEXT NOT NULL, created_at BIGINT NOT NULL);
`}
