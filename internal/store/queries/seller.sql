-- name: ClaimRenewal :execrows
-- ClaimRenewal makes its caller the one that renews a token, unless it was renewed or unlinked, or another has claimed that since.
UPDATE connections SET renewing_until = sqlc.arg(until)
WHERE organization = $1 AND id = $2 AND access = $3 AND state = 'active' AND renewing_until = sqlc.arg(claimed);

-- name: ReleaseRenewal :exec
UPDATE connections SET renewing_until = 0 WHERE organization = $1 AND id = $2 AND renewing_until = $3;

-- name: EndRenewals :execrows
UPDATE connections SET renewing_until = 0 WHERE organization = $1 AND renewing_until > 0;

-- name: RenewConnection :execrows
UPDATE connections SET access = $3, refresh = $4, expires_at = $5, renew_at = $6, base_url = $7, state = 'active', renewing_until = 0 WHERE organization = $1 AND id = $2;

-- name: OrderThatLinked :one
-- OrderThatLinked is the order that made or found the account at a provider last.
SELECT * FROM orders WHERE organization = $1 AND provider = $2 AND kind = 'link' AND state = 'live' ORDER BY created_at DESC LIMIT 1;
