-- name: BooksMovements :many
SELECT seq, n, kind, currency, amount, hold, provider, debit, credit FROM movements
WHERE organization = $1 AND seq >= sqlc.arg(after) AND (seq > sqlc.arg(after) OR n > sqlc.arg(after_n)) ORDER BY seq, n LIMIT sqlc.arg(row_limit);

-- name: BooksHolds :many
SELECT id, order_id, currency, amount, captured, released, refunded, overrun, returned, state, epoch, windows, seq, created_at, principal, project, provider, category, run FROM holds
WHERE organization = $1 AND id > sqlc.arg(after) ORDER BY id LIMIT sqlc.arg(row_limit);

-- name: BooksOrders :many
SELECT id, hold, state FROM orders WHERE organization = $1 AND id > sqlc.arg(after) ORDER BY id LIMIT sqlc.arg(row_limit);

-- name: BooksWindows :many
SELECT scope, target, currency, name, held, captured, refunded FROM windows
WHERE organization = $1 AND (scope, target, currency, name) > (sqlc.arg(scope), sqlc.arg(target), sqlc.arg(currency), sqlc.arg(name))
ORDER BY scope, target, currency, name LIMIT sqlc.arg(row_limit);

-- name: BooksLimits :many
SELECT scope, target, currency, period, limit_minor FROM budgets
WHERE organization = $1 AND (scope, target, currency, period) > (sqlc.arg(scope), sqlc.arg(target), sqlc.arg(currency), sqlc.arg(period))
ORDER BY scope, target, currency, period LIMIT sqlc.arg(row_limit);

-- name: BooksStops :many
SELECT seq, epoch FROM stops WHERE organization = $1 ORDER BY seq;

-- name: BooksMisheld :many
-- BooksMisheld are holds that say something else than their movements.
SELECT h.id, h.amount, h.captured, h.released, h.refunded, h.overrun, h.returned, CAST(COALESCE(m.held, 0) AS BIGINT) AS moved_held, CAST(COALESCE(m.taken, 0) AS BIGINT) AS moved_captured,
  CAST(COALESCE(m.freed, 0) AS BIGINT) AS moved_released, CAST(COALESCE(m.refunded, 0) AS BIGINT) AS moved_refunded,
  CAST(COALESCE(m.above, 0) AS BIGINT) AS moved_overrun, CAST(COALESCE(m.back, 0) AS BIGINT) AS moved_returned
FROM holds h LEFT JOIN (
  SELECT v.hold, SUM(CASE WHEN v.kind IN ('hold', 'charge') THEN v.amount ELSE 0 END) AS held, SUM(CASE WHEN v.kind IN ('capture', 'charge') THEN v.amount ELSE 0 END) AS taken,
    SUM(CASE WHEN v.kind = 'release' THEN v.amount ELSE 0 END) AS freed, SUM(CASE WHEN v.kind = 'refund' THEN v.amount ELSE 0 END) AS refunded,
    SUM(CASE WHEN v.kind = 'overrun' THEN v.amount ELSE 0 END) AS above, SUM(CASE WHEN v.kind = 'return' THEN v.amount ELSE 0 END) AS back
  FROM movements v WHERE v.organization = sqlc.arg(org) GROUP BY v.hold
) m ON m.hold = h.id
WHERE h.organization = sqlc.arg(org) AND (h.amount <> COALESCE(m.held, 0) OR h.captured <> COALESCE(m.taken, 0)
  OR h.released <> COALESCE(m.freed, 0) OR h.refunded <> COALESCE(m.refunded, 0) OR h.overrun <> COALESCE(m.above, 0) OR h.returned <> COALESCE(m.back, 0))
ORDER BY h.id LIMIT sqlc.arg(row_limit);

-- name: BooksUnheld :many
-- BooksUnheld are movements of holds that are not there.
SELECT v.seq, v.n, v.hold FROM movements v LEFT JOIN holds h ON h.organization = v.organization AND h.id = v.hold
WHERE v.organization = $1 AND h.id IS NULL ORDER BY v.seq, v.n LIMIT sqlc.arg(row_limit);

-- name: BooksMisordered :many
-- BooksMisordered are orders that have no hold, or one whose state is not theirs.
SELECT o.id, o.state, COALESCE(h.state, '') AS hold_state, COALESCE(h.order_id, '') AS hold_order
FROM orders o LEFT JOIN holds h ON h.organization = o.organization AND h.id = o.hold
WHERE o.organization = $1 AND (h.id IS NULL OR h.order_id <> o.id OR (o.state IN ('live', 'failed', 'removed')) <> (h.state = 'closed'))
ORDER BY o.id LIMIT sqlc.arg(row_limit);

-- name: BooksOrphans :many
-- BooksOrphans are holds that name an order which does not name them.
SELECT h.id, h.order_id FROM holds h LEFT JOIN orders o ON o.organization = h.organization AND o.id = h.order_id AND o.hold = h.id
WHERE h.organization = $1 AND h.order_id <> '' AND o.id IS NULL ORDER BY h.id LIMIT sqlc.arg(row_limit);
