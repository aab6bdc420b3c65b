-- name: UpsertFlow :exec
INSERT INTO flows (organization, id, provider, order_id, url, state_hash, secret_hash, status, expires_at, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', $8, $9, $9)
ON CONFLICT (organization, id) DO UPDATE SET url = excluded.url, state_hash = excluded.state_hash, secret_hash = excluded.secret_hash, code = '',
  status = 'pending', decision = '', reason = '', expires_at = excluded.expires_at,
  session_hash = CASE WHEN flows.state_hash = excluded.state_hash THEN flows.session_hash ELSE '' END, updated_at = excluded.updated_at;

-- name: Flow :one
SELECT * FROM flows WHERE organization = $1 AND id = $2;

-- name: FlowByID :one
SELECT * FROM flows WHERE id = $1;

-- name: FlowsByState :many
SELECT * FROM flows WHERE state_hash = $1 AND status = 'pending';

-- name: SetFlowTicket :exec
UPDATE flows SET ticket_hash = $3, ticket_until = $4, person = $5 WHERE organization = $1 AND id = $2;

-- name: StartFlow :exec
UPDATE flows SET ticket_hash = '', ticket_until = 0, session_hash = $3, person = $4, updated_at = $5 WHERE organization = $1 AND id = $2;

-- name: DecideFlow :exec
UPDATE flows SET status = $3, decision = $3, code = $4, reason = $5, updated_at = $6 WHERE organization = $1 AND id = $2;

-- name: TakeFlowCode :execrows
UPDATE flows SET code = '' WHERE organization = $1 AND id = $2 AND code <> '';

-- name: SetFlowStatus :exec
UPDATE flows SET status = $3, updated_at = $4 WHERE organization = $1 AND id = $2;

-- name: Answer :one
SELECT * FROM answers WHERE organization = $1 AND order_id = $2;

-- name: UpsertAnswer :exec
INSERT INTO answers (organization, order_id, information, at) VALUES ($1, $2, $3, $4)
ON CONFLICT (organization, order_id) DO UPDATE SET information = excluded.information, at = excluded.at;

-- name: DropAnswer :exec
DELETE FROM answers WHERE organization = $1 AND order_id = $2;

-- name: OldSecret :one
SELECT * FROM old_secrets WHERE provider = $1;

-- name: UpsertOldSecret :exec
INSERT INTO old_secrets (provider, secret, until) VALUES ($1, $2, $3)
ON CONFLICT (provider) DO UPDATE SET secret = excluded.secret, until = excluded.until;

-- name: ReplaceInstallationValue :execrows
UPDATE installation SET value = sqlc.arg(fresh) WHERE name = $1 AND value = sqlc.arg(old);
