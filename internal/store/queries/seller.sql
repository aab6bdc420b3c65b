-- name: ProviderInUseBeside :one
-- ProviderInUseBeside counts what still needs a provider, in every organization, beside one order.
SELECT (SELECT COUNT(*) FROM orders WHERE orders.provider = sqlc.arg(provider) AND orders.id <> sqlc.arg(order_id) AND orders.state IN ('placed', 'buying', 'unknown'))
     + (SELECT COUNT(*) FROM subscriptions WHERE subscriptions.provider = sqlc.arg(provider) AND subscriptions.state IN ('active', 'payment_required')) AS busy;
