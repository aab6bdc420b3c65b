-- name: BudgetsOf :many
SELECT * FROM budgets WHERE organization = $1 AND scope = $2 AND target = $3;

-- name: Budget :one
SELECT * FROM budgets WHERE organization = $1 AND scope = $2 AND target = $3 AND currency = $4 AND period = $5;

-- name: SetBudget :exec
INSERT INTO budgets (organization, scope, target, period, currency, limit_minor) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (organization, scope, target, currency, period) DO UPDATE SET limit_minor = excluded.limit_minor;

-- name: Window :one
SELECT * FROM windows WHERE organization = $1 AND scope = $2 AND target = $3 AND currency = $4 AND name = $5;

-- name: Windows :many
SELECT * FROM windows WHERE organization = $1 ORDER BY scope, target, currency, name;

-- name: OpenWindow :exec
INSERT INTO windows (organization, scope, target, currency, name, guard_ceiling) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (organization, scope, target, currency, name) DO NOTHING;

-- name: OpenWindowWith :exec
-- OpenWindowWith opens a window with what was spent before its budget had a limit (RULES 5).
INSERT INTO windows (organization, scope, target, currency, name, held, captured, refunded, guard_ceiling) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: InsertOpening :exec
INSERT INTO openings (organization, scope, target, currency, name, since, seq) VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: Openings :many
SELECT * FROM openings WHERE organization = $1 ORDER BY scope, target, currency, name;

-- name: SpentSoFar :one
-- SpentSoFar adds up the holds of a scope that were decided at a time or later, as they
-- stand at a record of the log.
SELECT o.seq, CAST(COALESCE(SUM(h.amount - h.captured - h.released), 0) AS BIGINT) AS held, CAST(COALESCE(SUM(h.captured), 0) AS BIGINT) AS captured,
  CAST(COALESCE(SUM(h.refunded), 0) AS BIGINT) AS refunded
FROM organizations o LEFT JOIN holds h ON h.organization = o.id AND h.currency = sqlc.arg(currency) AND h.created_at >= sqlc.arg(since)
  AND CASE CAST(sqlc.arg(scope) AS TEXT) WHEN 'organization' THEN h.organization WHEN 'project' THEN h.project WHEN 'provider' THEN h.provider
    WHEN 'category' THEN h.category WHEN 'run' THEN h.run END = CAST(sqlc.arg(target) AS TEXT)
WHERE o.id = $1 GROUP BY o.seq;

-- name: SpentAfter :many
-- SpentAfter adds up what became of the same holds after that record.
SELECT m.kind, CAST(SUM(m.amount) AS BIGINT) AS amount FROM movements m JOIN holds h ON h.organization = m.organization AND h.id = m.hold
WHERE m.organization = $1 AND m.seq > sqlc.arg(after) AND h.currency = sqlc.arg(currency) AND h.created_at >= sqlc.arg(since)
  AND CASE CAST(sqlc.arg(scope) AS TEXT) WHEN 'organization' THEN h.organization WHEN 'project' THEN h.project WHEN 'provider' THEN h.provider
    WHEN 'category' THEN h.category WHEN 'run' THEN h.run END = CAST(sqlc.arg(target) AS TEXT)
GROUP BY m.kind;

-- name: MoveWindow :execrows
UPDATE windows SET held = held + sqlc.arg(held_delta), captured = captured + sqlc.arg(captured_delta), refunded = refunded + sqlc.arg(refunded_delta)
WHERE organization = $1 AND scope = $2 AND target = $3 AND currency = $4 AND name = $5;

-- name: SetCeiling :exec
-- SetCeiling moves the ceilings of the windows of one period, which the form of
-- their names tells apart.
UPDATE windows SET guard_ceiling = CASE WHEN sqlc.arg(limit_minor) > held + captured - refunded THEN sqlc.arg(limit_minor) ELSE held + captured - refunded END
WHERE organization = $1 AND scope = $2 AND target = $3 AND currency = $4 AND name LIKE sqlc.arg(names);

-- name: InsertHold :exec
INSERT INTO holds (organization, id, order_id, subscription, run, project, provider, category, currency, amount, state, epoch, expires_at, windows, seq, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16);

-- name: Hold :one
SELECT * FROM holds WHERE organization = $1 AND id = $2;

-- name: BeginHold :exec
UPDATE holds SET state = 'begun', begun_at = $3, epoch = $4 WHERE organization = $1 AND id = $2;

-- name: MoveHold :exec
UPDATE holds SET captured = captured + sqlc.arg(captured_delta), released = released + sqlc.arg(released_delta), refunded = refunded + sqlc.arg(refunded_delta), state = sqlc.arg(state)
WHERE organization = $1 AND id = $2;

-- name: InsertPaymentToken :exec
INSERT INTO payment_tokens (organization, id, hash, hold, provider, connection, plan_digest, currency, maximum, expires_at, state, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'active', $11);

-- name: PaymentTokenByHash :one
SELECT * FROM payment_tokens WHERE hash = $1;

-- name: ClosePaymentTokens :execrows
UPDATE payment_tokens SET state = $3 WHERE organization = $1 AND hold = $2 AND state = 'active';

-- name: InsertCharge :exec
INSERT INTO charges (organization, id, provider, provider_key, request_hash, token, hold, currency, amount, status, resource, receipt, seq, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: Charge :one
SELECT * FROM charges WHERE id = $1 AND provider = $2;

-- name: RefundCharge :exec
UPDATE charges SET refunded = refunded + sqlc.arg(amount) WHERE organization = $1 AND id = $2;

-- name: InsertMovement :exec
INSERT INTO movements (organization, seq, n, at, kind, currency, amount, hold, charge, order_id, run, project, provider, debit, credit)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15);

-- name: Movements :many
SELECT * FROM movements WHERE organization = $1 AND seq < sqlc.arg(before)
  AND (CAST(sqlc.arg(project) AS TEXT) = '' OR project = CAST(sqlc.arg(project) AS TEXT))
ORDER BY seq DESC, n DESC LIMIT sqlc.arg(row_limit);

-- name: InsertSubscription :exec
INSERT INTO subscriptions (organization, id, resource, what, provider, project, category, currency, amount, interval, maximum, plan_digest, cap, state, started_at, next_at, ends_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17);

-- name: Subscription :one
SELECT * FROM subscriptions WHERE organization = $1 AND id = $2;

-- name: SubscriptionOfResource :one
SELECT * FROM subscriptions WHERE organization = $1 AND resource = $2 ORDER BY id DESC LIMIT 1;

-- name: Subscriptions :many
SELECT * FROM subscriptions WHERE organization = $1 ORDER BY id;

-- name: DueSubscriptions :many
SELECT * FROM subscriptions WHERE organization = $1 AND state IN ('active', 'payment_required') AND next_at <= sqlc.arg(now) ORDER BY next_at, id;

-- name: SetSubscription :exec
UPDATE subscriptions SET state = $3, next_at = $4, told_at = $5, retired_from = $6 WHERE organization = $1 AND id = $2;

-- name: StandingBudgets :many
-- All budgets but those of runs, as they stand: each with the window that now falls
-- into, whose name the caller knows for each period.
SELECT sqlc.embed(budgets), COALESCE(projects.name, '') AS name,
  COALESCE(windows.held, 0) AS held, COALESCE(windows.captured, 0) AS captured, COALESCE(windows.refunded, 0) AS refunded
FROM budgets LEFT JOIN projects ON projects.organization = budgets.organization AND projects.id = budgets.target
LEFT JOIN windows ON windows.organization = budgets.organization AND windows.scope = budgets.scope AND windows.target = budgets.target AND windows.currency = budgets.currency
  AND windows.name = CASE budgets.period WHEN 'hour' THEN CAST(sqlc.arg(hour) AS TEXT) WHEN 'day' THEN CAST(sqlc.arg(day) AS TEXT)
    WHEN 'week' THEN CAST(sqlc.arg(week) AS TEXT) WHEN 'month' THEN CAST(sqlc.arg(month) AS TEXT) ELSE 'total' END
WHERE budgets.organization = $1 AND budgets.scope IN ('category', 'label', 'organization', 'project', 'provider')
ORDER BY budgets.scope, budgets.target, budgets.currency, budgets.period;

-- name: BudgetsOfActiveRuns :many
-- The few active runs are found first, and not the budgets of all that ever were.
SELECT sqlc.embed(budgets), runs.purpose AS name,
  COALESCE(windows.held, 0) AS held, COALESCE(windows.captured, 0) AS captured, COALESCE(windows.refunded, 0) AS refunded
FROM budgets JOIN runs ON runs.organization = budgets.organization AND runs.id = budgets.target
LEFT JOIN windows ON windows.organization = budgets.organization AND windows.scope = budgets.scope AND windows.target = budgets.target AND windows.currency = budgets.currency
  AND windows.name = CASE budgets.period WHEN 'run' THEN budgets.target WHEN 'hour' THEN CAST(sqlc.arg(hour) AS TEXT) WHEN 'day' THEN CAST(sqlc.arg(day) AS TEXT)
    WHEN 'week' THEN CAST(sqlc.arg(week) AS TEXT) WHEN 'month' THEN CAST(sqlc.arg(month) AS TEXT) ELSE 'total' END
WHERE budgets.organization = $1 AND budgets.scope = 'run'
  AND budgets.target IN (SELECT active.id FROM runs active WHERE active.organization = $1 AND active.ended_at = 0 AND active.expires_at > sqlc.arg(now))
ORDER BY budgets.target, budgets.currency, budgets.period;
