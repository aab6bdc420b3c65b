-- name: Costs :many
SELECT m.seq, m.n, m.at, m.kind, m.currency, m.amount, m.order_id, m.run, m.project, m.provider, COALESCE(p.name, '') AS project_name,
  COALESCE(h.category, '') AS category, CAST(COALESCE(h.created_at, 0) AS BIGINT) AS held_at, COALESCE(h.subscription, '') AS subscription, COALESCE(h.kind, '') AS hold_kind,
  COALESCE(o.what, s.what, h.target, '') AS what, COALESCE(o.resource, s.resource, '') AS resource,
  COALESCE(h.windows, '') AS windows, COALESCE(p.labels, '') AS project_labels, COALESCE(r.labels, '') AS run_labels
FROM movements m
LEFT JOIN holds h ON h.organization = m.organization AND h.id = m.hold
LEFT JOIN orders o ON o.organization = m.organization AND o.id = m.order_id
LEFT JOIN subscriptions s ON s.organization = m.organization AND s.id = h.subscription
LEFT JOIN projects p ON p.organization = m.organization AND p.id = m.project
LEFT JOIN runs r ON r.organization = m.organization AND r.id = m.run
WHERE m.organization = $1 AND m.kind IN ('capture', 'charge', 'refund', 'overrun', 'return')
  AND m.seq >= sqlc.arg(after) AND (m.seq > sqlc.arg(after) OR m.n > sqlc.arg(after_n)) AND m.seq <= sqlc.arg(until)
ORDER BY m.seq, m.n LIMIT sqlc.arg(row_limit);
