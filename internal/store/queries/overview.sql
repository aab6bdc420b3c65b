-- name: CountWaitingPlans :one
SELECT COUNT(*) FROM plans WHERE organization = $1 AND state = 'needs_approval' AND expires_at > sqlc.arg(now);

-- name: CountActiveRuns :one
SELECT COUNT(*) FROM runs WHERE organization = $1 AND ended_at = 0 AND expires_at > sqlc.arg(now);

-- name: NewestUnsettledOrders :many
-- Sorted by a value that no index has: the few are found by state, and not by
-- walking all orders from the newest on.
SELECT sqlc.embed(orders), sqlc.embed(holds) FROM orders JOIN holds ON holds.organization = orders.organization AND holds.id = orders.hold
WHERE orders.organization = $1 AND orders.state IN ('placed', 'buying', 'unknown') ORDER BY (orders.id || '') DESC LIMIT sqlc.arg(row_limit);

-- name: HeldNow :many
SELECT currency, CAST(SUM(amount - captured - released) AS BIGINT) AS amount FROM holds WHERE organization = $1 AND state IN ('held', 'begun', 'unknown') GROUP BY currency ORDER BY currency;

-- name: RecurringSubscriptions :many
-- RecurringSubscriptions are charged by themselves: one that was refused is tried again.
SELECT * FROM subscriptions WHERE organization = $1 AND state IN ('active', 'payment_required') ORDER BY next_at;

-- name: MovementsAfter :many
SELECT * FROM movements WHERE organization = $1 AND seq > sqlc.arg(after) ORDER BY seq, n LIMIT sqlc.arg(row_limit);

-- name: ResourcesBefore :many
SELECT sqlc.embed(r), CAST(COALESCE((SELECT MAX(s.id) FROM subscriptions s WHERE s.organization = r.organization AND s.resource = r.id), '') AS TEXT) AS subscription
FROM resources r WHERE r.organization = $1 AND r.id < sqlc.arg(before)
  AND (CAST(sqlc.arg(project) AS TEXT) = '' OR r.project = CAST(sqlc.arg(project) AS TEXT)) AND (CAST(sqlc.arg(env) AS TEXT) = '' OR r.env = CAST(sqlc.arg(env) AS TEXT))
  AND (CAST(sqlc.arg(gone) AS BIGINT) = 1 OR r.state NOT IN ('removed', 'detached'))
ORDER BY r.id DESC LIMIT sqlc.arg(row_limit);

-- name: EarlierPlansOfRun :many
SELECT * FROM plans WHERE organization = $1 AND run = $2 AND id < sqlc.arg(before) ORDER BY id DESC LIMIT sqlc.arg(row_limit);

-- name: LaterPlansOfRun :many
SELECT * FROM plans WHERE organization = $1 AND run = $2 AND id > sqlc.arg(after) AND state IN ('needs_approval', 'ready', 'applying', 'done') ORDER BY id DESC LIMIT sqlc.arg(row_limit);

-- name: TermsByHash :one
SELECT * FROM terms WHERE hash = $1;

-- name: MovementsOfRun :many
SELECT * FROM movements WHERE organization = $1 AND run = $2 AND seq < sqlc.arg(before) ORDER BY seq DESC, (n + 0) DESC LIMIT sqlc.arg(row_limit);

-- name: MovementSumsOfRun :many
SELECT kind, currency, CAST(SUM(amount) AS BIGINT) AS amount FROM movements WHERE organization = $1 AND run = $2 GROUP BY kind, currency;
