-- name: InsertOrganization :exec
INSERT INTO organizations (id, name, timezone, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING;

-- name: Organization :one
SELECT * FROM organizations WHERE id = $1;

-- name: Clocks :one
SELECT clock, CAST(CURRENT_TIMESTAMP AS TEXT) AS database_time FROM organizations WHERE id = $1;

-- name: Organizations :many
SELECT * FROM organizations ORDER BY id;

-- name: InstallationValue :one
SELECT value FROM installation WHERE name = $1;

-- name: SetInstallationValue :execrows
INSERT INTO installation (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING;

-- name: InsertSetupCode :exec
INSERT INTO setup_codes (hash, expires_at) VALUES ($1, $2);

-- name: UseSetupCode :execrows
UPDATE setup_codes SET used_at = sqlc.arg(now) WHERE hash = $1 AND used_at = 0 AND expires_at > sqlc.arg(now);

-- name: InsertPerson :exec
INSERT INTO people (organization, id, name, email, role, kdf, public_key, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: Person :one
SELECT * FROM people WHERE organization = $1 AND id = $2;

-- name: PersonByEmail :one
SELECT * FROM people WHERE email = $1;

-- name: CountPeople :one
SELECT COUNT(*) FROM people;

-- name: InsertToken :exec
INSERT INTO tokens (organization, id, hash, kind, principal, run, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: TokenByHash :one
SELECT * FROM tokens WHERE hash = $1;

-- name: RevokeToken :execrows
UPDATE tokens SET revoked_at = sqlc.arg(now), revoked_by = sqlc.arg(revoked_by) WHERE organization = $1 AND id = $2 AND revoked_at = 0;

-- name: RevokeTokensOfStop :execrows
-- RevokeTokensOfStop takes the tokens that a stop was to end and has not. Each asks for its run by key: as a join, PostgreSQL
-- expects few runs and walks all for each token.
UPDATE tokens SET revoked_at = sqlc.arg(now), revoked_by = 'stop' WHERE tokens.organization = $1 AND tokens.kind = 'agent' AND tokens.revoked_at = 0
  AND tokens.created_at <= CAST(sqlc.arg(at) AS BIGINT) AND tokens.expires_at > CAST(sqlc.arg(at) AS BIGINT) AND (
  SELECT CASE CAST(sqlc.arg(scope) AS TEXT) WHEN 'organization' THEN r.organization WHEN 'project' THEN r.project WHEN 'agent' THEN r.agent WHEN 'run' THEN r.id ELSE '' END
  FROM runs r WHERE r.organization = tokens.organization AND r.id = tokens.run) = CAST(sqlc.arg(target) AS TEXT);

-- name: RevokeTokensOfRun :execrows
UPDATE tokens SET revoked_at = sqlc.arg(now), revoked_by = 'run' WHERE organization = $1 AND run = $2 AND revoked_at = 0;

-- name: RevokeTokensOfPrincipal :execrows
UPDATE tokens SET revoked_at = sqlc.arg(now), revoked_by = '' WHERE organization = $1 AND principal = $2 AND (revoked_at = 0 OR revoked_by <> '');

-- name: ExtendTokensOfRun :execrows
-- ExtendTokensOfRun lengthens a run's tokens, but for those that had ended when a stop came: no stop revokes
-- them, and nothing revives what was before it.
UPDATE tokens SET expires_at = $3 WHERE tokens.organization = $1 AND tokens.run = $2 AND tokens.revoked_at = 0
  AND tokens.expires_at > (SELECT COALESCE(MAX(s.at), 0) FROM stops s JOIN runs r ON r.organization = s.organization WHERE s.organization = $1 AND r.id = $2
    AND CASE s.scope WHEN 'organization' THEN r.organization WHEN 'project' THEN r.project WHEN 'agent' THEN r.agent WHEN 'run' THEN r.id ELSE '' END = s.target);

-- name: InsertChallenge :exec
INSERT INTO challenges (organization, nonce, operation, approver, document, not_after) VALUES ($1, $2, $3, $4, $5, $6);

-- name: Challenge :one
SELECT * FROM challenges WHERE organization = $1 AND nonce = $2;

-- name: UseChallenge :execrows
UPDATE challenges SET used_at = sqlc.arg(now) WHERE organization = $1 AND nonce = $2 AND used_at = 0 AND not_after >= sqlc.arg(now);

-- name: DropOldChallenges :exec
DELETE FROM challenges WHERE organization = $1 AND not_after < $2;

-- name: Key :one
SELECT * FROM keys WHERE organization = $1 AND principal = $2 AND key = $3;

-- name: InsertKey :exec
INSERT INTO keys (organization, principal, key, request_hash, code, answer, at) VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: TokensAtStop :many
-- TokensAtStop are the agents' tokens that a stop was to end and has not, found as there.
SELECT t.id FROM tokens t WHERE t.organization = $1 AND t.id > sqlc.arg(after) AND t.kind = 'agent' AND t.revoked_at = 0
  AND t.created_at <= CAST(sqlc.arg(at) AS BIGINT) AND t.expires_at > CAST(sqlc.arg(at) AS BIGINT) AND (
  SELECT CASE CAST(sqlc.arg(scope) AS TEXT) WHEN 'organization' THEN r.organization WHEN 'project' THEN r.project WHEN 'agent' THEN r.agent WHEN 'run' THEN r.id ELSE '' END
  FROM runs r WHERE r.organization = t.organization AND r.id = t.run) = CAST(sqlc.arg(target) AS TEXT)
ORDER BY t.id LIMIT sqlc.arg(row_limit);

-- name: DropInstallationValue :exec
DELETE FROM installation WHERE name = $1;
