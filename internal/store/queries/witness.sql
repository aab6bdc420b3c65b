-- name: Grown :many
SELECT * FROM organizations WHERE seq > COALESCE((SELECT MAX(c.size) FROM checkpoints c WHERE c.organization = organizations.id), 0) ORDER BY id;

-- name: CheckpointCovering :one
SELECT * FROM checkpoints WHERE organization = $1 AND size >= sqlc.arg(seq) ORDER BY size LIMIT 1;

-- name: CheckpointsAfter :many
SELECT * FROM checkpoints WHERE organization = $1 AND size > sqlc.arg(after) ORDER BY size LIMIT sqlc.arg(row_limit);

-- name: Unwitnessed :many
SELECT o.id AS organization, CAST(COALESCE(w.size, 0) AS BIGINT) AS size, CAST(COALESCE(w.at, 0) AS BIGINT) AS at, CAST(COALESCE(w.fails, 0) AS BIGINT) AS fails
FROM organizations o LEFT JOIN witnessed w ON w.organization = o.id AND w.place = sqlc.arg(place)
WHERE COALESCE(w.next_at, 0) <= CAST(sqlc.arg(now) AS BIGINT)
  AND COALESCE((SELECT MAX(c.size) FROM checkpoints c WHERE c.organization = o.id), 0) > COALESCE(w.size, 0)
ORDER BY o.id LIMIT sqlc.arg(row_limit);

-- name: Witnessed :many
SELECT * FROM witnessed WHERE organization = $1 ORDER BY place;

-- name: SetWitnessed :exec
INSERT INTO witnessed (organization, place, size, at, fails, next_at, error) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (organization, place) DO UPDATE SET size = CASE WHEN excluded.size > witnessed.size THEN excluded.size ELSE witnessed.size END,
  at = excluded.at, fails = excluded.fails, next_at = excluded.next_at, error = excluded.error;
