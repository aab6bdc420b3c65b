-- name: InsertNotice :execrows
INSERT INTO notices (organization, id, mark, kind, about, subject, facts, link, person, project, run, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (organization, mark) DO NOTHING;

-- name: Notice :one
SELECT * FROM notices WHERE organization = $1 AND id = $2;

-- name: NoticeOfMark :one
SELECT * FROM notices WHERE organization = $1 AND mark = $2;

-- name: NoticesBefore :many
SELECT * FROM notices WHERE organization = $1 AND (CAST(sqlc.arg(before) AS TEXT) = '' OR id < CAST(sqlc.arg(before) AS TEXT)) ORDER BY id DESC LIMIT sqlc.arg(row_limit);

-- name: NoticesToSpread :many
SELECT * FROM notices WHERE spread_at = 0 ORDER BY created_at LIMIT sqlc.arg(row_limit);

-- name: SpreadNotice :execrows
UPDATE notices SET spread_at = sqlc.arg(now) WHERE organization = $1 AND id = $2 AND spread_at = 0;

-- name: PeopleToTell :many
SELECT * FROM people WHERE organization = $1 AND removed_at = 0 ORDER BY id;

-- name: InsertDelivery :exec
INSERT INTO deliveries (organization, notice, way, person, kind, state, next_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (organization, notice, way, person) DO NOTHING;

-- name: DeliveriesSince :one
SELECT COUNT(*) FROM deliveries WHERE organization = $1 AND way = $2 AND person = $3 AND kind = $4 AND created_at > sqlc.arg(after);

-- name: DeliveriesOfNotice :many
SELECT * FROM deliveries WHERE organization = $1 AND notice = $2 ORDER BY way, person;

-- name: DueDeliveries :many
SELECT * FROM deliveries WHERE state = 'waiting' AND next_at <= sqlc.arg(now) AND lease_until <= sqlc.arg(now) ORDER BY next_at LIMIT sqlc.arg(row_limit);

-- name: ClaimDelivery :execrows
UPDATE deliveries SET attempts = attempts + 1, lease_until = sqlc.arg(until)
WHERE organization = $1 AND notice = $2 AND way = $3 AND person = $4 AND state = 'waiting' AND next_at <= sqlc.arg(now) AND lease_until <= sqlc.arg(now) AND attempts = sqlc.arg(attempts);

-- name: EndDelivery :execrows
-- EndDelivery says what one attempt came to, unless a later attempt has begun.
UPDATE deliveries SET state = sqlc.arg(state), error = sqlc.arg(error), next_at = sqlc.arg(next_at), lease_until = 0, ended_at = sqlc.arg(ended_at)
WHERE organization = $1 AND notice = $2 AND way = $3 AND person = $4 AND state = 'waiting' AND attempts = sqlc.arg(attempts);

-- name: DeliveriesInState :many
SELECT * FROM deliveries WHERE organization = $1 AND state = $2 AND created_at > sqlc.arg(after) ORDER BY created_at DESC, notice LIMIT sqlc.arg(row_limit);

-- name: NoticesToPrune :many
-- NoticesToPrune lists what was told before a time, in every organization; what is
-- still on its way is kept.
SELECT organization, id FROM notices AS n WHERE n.spread_at > 0 AND n.spread_at < sqlc.arg(before)
  AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.organization = n.organization AND d.notice = n.id AND d.state = 'waiting')
ORDER BY n.spread_at LIMIT sqlc.arg(row_limit);

-- name: DropDeliveries :exec
DELETE FROM deliveries WHERE organization = $1 AND notice = $2;

-- name: DropNotice :exec
DELETE FROM notices WHERE organization = $1 AND id = $2;

-- name: SetNoticeChoice :exec
INSERT INTO notice_choices (organization, person, kind, ways) VALUES ($1, $2, $3, $4)
ON CONFLICT (organization, person, kind) DO UPDATE SET ways = excluded.ways;

-- name: NoticeChoices :many
SELECT * FROM notice_choices WHERE organization = $1 ORDER BY person, kind;

-- name: PlansToRemind :many
-- PlansToRemind lists requests that end soon, and of which nobody was reminded. One
-- that is made for a short time is reminded of at half of it. The states stand as the
-- partial index plans_ending has them, since SQLite takes it for no other words.
SELECT p.id FROM plans AS p WHERE p.organization = $1 AND p.state IN ('needs_approval', 'ready') AND p.state = 'needs_approval' AND p.expires_at > CAST(sqlc.arg(now) AS BIGINT)
  AND p.expires_at <= CAST(sqlc.arg(before) AS BIGINT) AND 2 * (p.expires_at - CAST(sqlc.arg(now) AS BIGINT)) <= p.expires_at - p.created_at
  AND NOT EXISTS (SELECT 1 FROM notices AS n WHERE n.organization = p.organization AND n.mark = 'approval_reminder/' || p.id)
ORDER BY p.id LIMIT 100;

-- name: SetThresholds :execrows
UPDATE budgets SET thresholds = sqlc.arg(thresholds) WHERE organization = $1 AND scope = $2 AND target = $3 AND currency = $4 AND period = sqlc.arg(period);

-- name: PlanState :one
SELECT state, error FROM plans WHERE organization = $1 AND id = $2;
