-- name: OpenHolds :many
SELECT * FROM holds WHERE organization = $1 AND state IN ('held', 'begun', 'unknown') AND principal <> ''
  AND (CAST(sqlc.arg(principal) AS TEXT) = '' OR principal = CAST(sqlc.arg(principal) AS TEXT))
  AND (CAST(sqlc.arg(run) AS TEXT) = '' OR run = CAST(sqlc.arg(run) AS TEXT)) AND id > sqlc.arg(after) ORDER BY id LIMIT sqlc.arg(row_limit);

-- name: OverdueHolds :many
-- OverdueHolds are those whose time is over, and those that no effect began of while
-- their run was ended, or a stop came after them: whether it covers them is decided in the turn.
-- The states stand as the partial index holds_open has them, since SQLite takes it for no other words.
SELECT h.* FROM holds h WHERE h.organization = $1 AND h.principal <> '' AND h.state IN ('held', 'begun', 'unknown') AND h.state <> 'unknown'
  AND (h.expires_at, h.id) > (CAST(sqlc.arg(after) AS BIGINT), CAST(sqlc.arg(after_hold) AS TEXT))
  AND (h.expires_at <= sqlc.arg(now) OR (h.state = 'held' AND (EXISTS (
    SELECT 1 FROM stops s WHERE s.organization = h.organization AND s.epoch > h.epoch AND s.target = CASE s.scope
      WHEN 'project' THEN h.project WHEN 'provider' THEN h.provider WHEN 'agent' THEN h.agent WHEN 'run' THEN h.run ELSE s.target END)
    OR EXISTS (SELECT 1 FROM runs r WHERE r.organization = h.organization AND r.id = h.run AND r.ended_at <> 0))))
ORDER BY h.expires_at, h.id LIMIT sqlc.arg(row_limit);

-- name: HoldsLongUnknown :many
-- HoldsLongUnknown are those of every organization of which nobody knows, and whose time was over by then. The states stand
-- as in the partial index.
SELECT h.organization, h.id, h.expires_at AS since FROM organizations o JOIN holds h ON h.organization = o.id
WHERE h.state IN ('held', 'begun', 'unknown') AND h.state = 'unknown' AND h.principal <> '' AND h.expires_at <= CAST(sqlc.arg(before) AS BIGINT);

-- name: HoldsAtStop :many
-- HoldsAtStop are the holds of a scope without an order that are not over, those whose effect began first.
SELECT * FROM holds WHERE organization = $1 AND state IN ('held', 'begun', 'unknown') AND principal <> ''
  AND CASE CAST(sqlc.arg(scope) AS TEXT) WHEN 'organization' THEN organization WHEN 'project' THEN project WHEN 'provider' THEN provider WHEN 'agent' THEN agent
    ELSE run END = CAST(sqlc.arg(target) AS TEXT)
ORDER BY CASE state WHEN 'held' THEN 1 ELSE 0 END, id LIMIT sqlc.arg(row_limit);

-- name: InsertRepeat :exec
INSERT INTO repeats (organization, id, run, provider, target, currency, amount, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: SetRunLabels :exec
UPDATE runs SET labels = $3 WHERE organization = $1 AND id = $2;

-- name: SetProjectLabels :exec
UPDATE projects SET labels = $3 WHERE organization = $1 AND id = $2;

-- name: InsertPlatform :exec
INSERT INTO platforms (organization, id, name, person, created_at) VALUES ($1, $2, $3, $4, $5);

-- name: Platform :one
SELECT * FROM platforms WHERE organization = $1 AND id = $2;

-- name: Platforms :many
SELECT * FROM platforms WHERE organization = $1 ORDER BY id;

-- name: RevokePlatform :execrows
UPDATE platforms SET revoked_at = sqlc.arg(now) WHERE organization = $1 AND id = $2 AND revoked_at = 0;

-- name: DueOrganizations :many
-- DueOrganizations are those in which time may bring something: one question for
-- all, since most have nothing each second. The states stand as the partial indexes have
-- them, since SQLite takes one for no other words.
SELECT o.id FROM organizations o WHERE o.id <> 'installation' AND (
  EXISTS (SELECT 1 FROM holds h WHERE h.organization = o.id AND h.state IN ('held', 'begun', 'unknown') AND h.state <> 'unknown' AND h.expires_at <= sqlc.arg(now))
  OR EXISTS (SELECT 1 FROM plans p WHERE p.organization = o.id AND p.state IN ('needs_approval', 'ready') AND p.expires_at <= sqlc.arg(ending))
  OR EXISTS (SELECT 1 FROM subscriptions s WHERE s.organization = o.id AND s.state IN ('active', 'payment_required') AND s.next_at <= sqlc.arg(renewals)))
ORDER BY o.id;

-- name: UnsettledOrganizations :many
-- UnsettledOrganizations are those in which a crash or a lost answer may have left
-- something.
SELECT o.id FROM organizations o WHERE o.id <> 'installation' AND (
  EXISTS (SELECT 1 FROM orders r WHERE r.organization = o.id AND r.state IN ('placed', 'buying', 'unknown'))
  OR EXISTS (SELECT 1 FROM plans p WHERE p.organization = o.id AND p.state = 'applying')
  OR EXISTS (SELECT 1 FROM resources e WHERE e.organization = o.id AND e.rotating <> '')
  OR EXISTS (SELECT 1 FROM stop_effects e WHERE e.organization = o.id AND e.state = 'pending'))
ORDER BY o.id;
