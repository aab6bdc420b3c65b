-- name: BoughtBefore :one
-- BoughtBefore is 1 where something was bought from a provider until some time.
SELECT count(*) FROM (
    SELECT 1 FROM orders WHERE organization = $1 AND provider = $2 AND amount > 0 AND state <> 'failed' AND created_at <= sqlc.arg(until) LIMIT 1
) AS found;
