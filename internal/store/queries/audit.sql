-- name: AuditHashes :one
-- AuditHashes are the hashes of the block that has a record.
SELECT seq, n, hashes FROM audit WHERE organization = $1 AND seq >= $2 ORDER BY seq LIMIT 1;

-- name: AuditBlocks :many
SELECT seq, n, at, hashes, leaves FROM audit WHERE organization = $1 AND seq > sqlc.arg(after) ORDER BY seq LIMIT sqlc.arg(row_limit);

-- name: AuditBlocksDown :many
SELECT seq, n, at, hashes, leaves FROM audit WHERE organization = $1 AND seq <= sqlc.arg(until) ORDER BY seq DESC LIMIT sqlc.arg(row_limit);

-- name: AuditBlockOf :one
-- AuditBlockOf is the last number in the block that has a record.
SELECT seq FROM audit WHERE organization = $1 AND seq >= $2 ORDER BY seq LIMIT 1;

-- name: LastCheckpoint :one
SELECT * FROM checkpoints WHERE organization = $1 ORDER BY size DESC LIMIT 1;
