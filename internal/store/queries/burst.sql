-- name: BoughtBefore :one
-- BoughtBefore is 1 where something was bought from a provider until some time.
SELECT count(*) FROM (
    SELECT 1 FROM orders WHERE organization = $1 AND provider = $2 AND amount > 0 AND state <> 'failed' AND created_at <= sqlc.arg(until) LIMIT 1
) AS found;

-- name: PaidBefore :one
-- PaidBefore is the same of orders without a plan.
SELECT count(*) FROM (
    SELECT 1 FROM holds WHERE organization = $1 AND provider = $2 AND principal <> '' AND kind = 'order' AND captured > 0 AND created_at <= sqlc.arg(until) LIMIT 1
) AS found;

-- name: RecentOrderHolds :many
-- RecentOrderHolds are what a run, or its agent in another one, ordered without a plan since some time.
-- Each half is whole, so that the indexes of runs and agents find them.
SELECT * FROM holds WHERE (organization = $1 AND principal <> '' AND kind = 'order' AND run = $2 AND created_at > sqlc.arg(after))
  OR (organization = $1 AND principal <> '' AND kind = 'order' AND agent <> '' AND agent = $3 AND created_at > sqlc.arg(after))
ORDER BY created_at, id;
