-- name: AuditHashes :one
-- AuditHashes is the row in which hash n stands.
SELECT n, hashes FROM audit_hashes WHERE organization = $1 AND n <= $2 ORDER BY n DESC LIMIT 1;

-- name: AuditAfter :many
SELECT * FROM audit WHERE organization = $1 AND seq > sqlc.arg(after) AND seq <= sqlc.arg(until) ORDER BY seq LIMIT sqlc.arg(row_limit);

-- name: LastCheckpoint :one
SELECT * FROM checkpoints WHERE organization = $1 ORDER BY size DESC LIMIT 1;

-- name: Checkpoints :many
SELECT * FROM checkpoints WHERE organization = $1 ORDER BY size;
