-- name: InsertOAuthClient :exec
INSERT INTO oauth_clients (id, name, redirects, method, secret_hash, source, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: KeepOAuthDocument :exec
INSERT INTO oauth_clients (id, name, redirects, method, source, created_at, read_at) VALUES ($1, $2, $3, 'none', $4, $5, $5)
ON CONFLICT (id) DO UPDATE SET name = $2, redirects = $3, read_at = $5;

-- name: OAuthClient :one
SELECT * FROM oauth_clients WHERE id = $1;

-- name: CountUnusedOAuthClients :one
SELECT COUNT(*) FROM oauth_clients WHERE used_at = 0;

-- name: DropOldOAuthClients :exec
DELETE FROM oauth_clients WHERE used_at = 0 AND created_at < $1;

-- name: UseOAuthClient :exec
UPDATE oauth_clients SET used_at = $2 WHERE id = $1;

-- name: InsertOAuthRequest :exec
INSERT INTO oauth_requests (id, client, client_name, redirect, state, challenge, resource, scope, source, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: OAuthRequest :one
SELECT * FROM oauth_requests WHERE id = $1;

-- name: DecideOAuthRequest :execrows
-- DecideOAuthRequest is one person's one answer: whoever comes second changes no row.
UPDATE oauth_requests SET decided_at = sqlc.arg(now) WHERE id = $1 AND decided_at = 0 AND expires_at > sqlc.arg(now);

-- name: DropOldOAuthRequests :exec
DELETE FROM oauth_requests WHERE expires_at < $1;

-- name: InsertGrant :exec
INSERT INTO oauth_grants (organization, id, client, client_name, agent, run, person, resource, scope, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: Grant :one
SELECT * FROM oauth_grants WHERE organization = $1 AND id = $2;

-- name: Grants :many
SELECT * FROM oauth_grants WHERE organization = $1 AND id < sqlc.arg(before) ORDER BY id DESC LIMIT sqlc.arg(row_limit);

-- name: RevokeGrantsAtStop :execrows
-- RevokeGrantsAtStop takes those of runs whose time is over too, since a person may extend them after the stop. The run is
-- a question of its own, which each grant asks by key: as a join, PostgreSQL expects few runs and walks all for each grant.
UPDATE oauth_grants SET revoked_at = sqlc.arg(now) WHERE oauth_grants.organization = $1 AND oauth_grants.revoked_at = 0 AND (
  SELECT CASE CAST(sqlc.arg(scope) AS TEXT) WHEN 'organization' THEN r.organization WHEN 'project' THEN r.project WHEN 'agent' THEN r.agent WHEN 'run' THEN r.id ELSE '' END
  FROM runs r WHERE r.organization = oauth_grants.organization AND r.id = oauth_grants.run) = CAST(sqlc.arg(target) AS TEXT);

-- name: UseGrant :exec
UPDATE oauth_grants SET used_at = $3 WHERE organization = $1 AND id = $2;

-- name: RevokeGrant :execrows
UPDATE oauth_grants SET revoked_at = sqlc.arg(now) WHERE organization = $1 AND id = $2 AND revoked_at = 0;

-- name: RevokeTokensOfGrant :execrows
-- RevokeTokensOfGrant finds them by the grant's run: no index knows which grant a token came from.
UPDATE tokens SET revoked_at = sqlc.arg(now), revoked_by = '' WHERE tokens.organization = $1 AND tokens.grant_id = sqlc.arg(grant_id)
  AND tokens.run = (SELECT g.run FROM oauth_grants g WHERE g.organization = $1 AND g.id = sqlc.arg(grant_id)) AND (tokens.revoked_at = 0 OR tokens.revoked_by <> '');

-- name: InsertGrantedToken :exec
INSERT INTO tokens (organization, id, hash, kind, principal, run, grant_id, created_at, expires_at) VALUES ($1, $2, $3, 'agent', $4, $5, $6, $7, $8);

-- name: InsertOAuthCode :exec
INSERT INTO oauth_codes (organization, hash, grant_id, client, redirect, challenge, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: OAuthCode :one
SELECT * FROM oauth_codes WHERE hash = $1;

-- name: UseOAuthCode :execrows
-- UseOAuthCode consumes a code: of any number of redemptions at once, one changes the row.
UPDATE oauth_codes SET used_at = sqlc.arg(now) WHERE organization = $1 AND hash = $2 AND used_at = 0 AND expires_at > sqlc.arg(now);

-- name: InsertRefresh :exec
INSERT INTO oauth_refreshes (organization, hash, grant_id, created_at) VALUES ($1, $2, $3, $4);

-- name: Refresh :one
SELECT * FROM oauth_refreshes WHERE hash = $1;

-- name: UseRefresh :execrows
UPDATE oauth_refreshes SET used_at = sqlc.arg(now) WHERE organization = $1 AND hash = $2 AND used_at = 0;

-- name: InsertDevice :execrows
INSERT INTO devices (hash, user_hash, name, source, state, created_at, expires_at, pause) VALUES ($1, $2, $3, $4, 'waiting', $5, $6, $7)
ON CONFLICT DO NOTHING;

-- name: Device :one
SELECT * FROM devices WHERE hash = $1;

-- name: DeviceByUserCode :one
SELECT * FROM devices WHERE user_hash = $1;

-- name: PollDevice :execrows
-- PollDevice notes a question that came in time.
UPDATE devices SET polled_at = sqlc.arg(now) WHERE hash = $1 AND polled_at + pause <= sqlc.arg(now);

-- name: SlowDevice :exec
UPDATE devices SET polled_at = $2, pause = $3 WHERE hash = $1;

-- name: DecideDevice :execrows
UPDATE devices SET state = sqlc.arg(state), organization = sqlc.arg(organization), person = sqlc.arg(person)
WHERE user_hash = $1 AND state = 'waiting' AND expires_at > sqlc.arg(now);

-- name: UseDevice :execrows
-- UseDevice consumes a confirmed code, in the turn that makes its token.
UPDATE devices SET state = 'used' WHERE hash = $1 AND state = 'confirmed' AND expires_at > sqlc.arg(now);

-- name: CountDevices :one
SELECT COUNT(*) FROM devices WHERE expires_at > sqlc.arg(now) AND state = 'waiting';

-- name: DropOldDevices :exec
DELETE FROM devices WHERE expires_at < $1;

-- name: Identity :one
SELECT * FROM identities WHERE issuer = $1 AND subject = $2;

-- name: InsertIdentity :exec
INSERT INTO identities (issuer, subject, organization, person, made, created_at, seen_at) VALUES ($1, $2, $3, $4, $5, $6, $6);

-- name: SeeIdentity :exec
UPDATE identities SET seen_at = $3 WHERE issuer = $1 AND subject = $2;

-- name: FollowGroups :execrows
-- FollowGroups gives a person the role that the upstream groups say.
UPDATE people SET role = $3 WHERE organization = $1 AND id = $2;
