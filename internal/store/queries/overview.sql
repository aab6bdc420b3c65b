-- name: CountWaitingPlans :one
SELECT COUNT(*) FROM plans WHERE organization = $1 AND state = 'needs_approval' AND expires_at > sqlc.arg(now);

-- name: CountActiveRuns :one
SELECT COUNT(*) FROM runs WHERE organization = $1 AND ended_at = 0 AND expires_at > sqlc.arg(now);

-- name: NewestUnsettledOrders :many
-- Sorted by a value that no index has: the few are found by state, and not by
-- walking all orders from the newest on.
SELECT * FROM orders WHERE organization = $1 AND state IN ('placed', 'buying', 'unknown') ORDER BY (id || '') DESC LIMIT sqlc.arg(row_limit);

-- name: HeldNow :many
SELECT currency, CAST(SUM(amount - captured - released) AS BIGINT) AS amount FROM holds WHERE organization = $1 AND state IN ('held', 'begun', 'unknown') GROUP BY currency ORDER BY currency;

-- name: ActiveSubscriptions :many
SELECT * FROM subscriptions WHERE organization = $1 AND state = 'active' ORDER BY next_at;

-- name: MovementsAfter :many
SELECT * FROM movements WHERE organization = $1 AND seq > sqlc.arg(after) ORDER BY seq, n LIMIT sqlc.arg(row_limit);

-- name: ResourcesBefore :many
SELECT * FROM resources WHERE organization = $1 AND id < sqlc.arg(before)
  AND (CAST(sqlc.arg(project) AS TEXT) = '' OR project = CAST(sqlc.arg(project) AS TEXT)) AND (CAST(sqlc.arg(env) AS TEXT) = '' OR env = CAST(sqlc.arg(env) AS TEXT))
  AND (CAST(sqlc.arg(gone) AS BIGINT) = 1 OR state NOT IN ('removed', 'detached'))
ORDER BY id DESC LIMIT sqlc.arg(row_limit);

-- name: EarlierPlansOfRun :many
-- Of the newest plans before one, those of the same run. Walking all of a busy
-- organization for one page would cost more than the page.
SELECT p.* FROM plans p WHERE p.organization = $1 AND p.run = sqlc.arg(run) AND p.id IN (
  SELECT newest.id FROM plans newest WHERE newest.organization = $1 AND newest.id < sqlc.arg(before) AND newest.id > sqlc.arg(after) ORDER BY newest.id DESC LIMIT sqlc.arg(reach)
) ORDER BY p.id DESC LIMIT sqlc.arg(row_limit);

-- name: TermsByHash :one
SELECT * FROM terms WHERE hash = $1;

-- name: AuditBefore :many
SELECT * FROM audit WHERE organization = $1 AND seq < sqlc.arg(before) ORDER BY seq DESC LIMIT sqlc.arg(row_limit);

-- name: MovementsOfRun :many
SELECT * FROM movements WHERE organization = $1 AND run = $2 AND seq < sqlc.arg(before) ORDER BY seq DESC, (n + 0) DESC LIMIT sqlc.arg(row_limit);

-- name: MovementSumsOfRun :many
SELECT kind, currency, CAST(SUM(amount) AS BIGINT) AS amount FROM movements WHERE organization = $1 AND run = $2 GROUP BY kind, currency;
