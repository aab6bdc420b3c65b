-- name: InsertPlan :exec
INSERT INTO plans (organization, id, run, project, env, state, digest, terms, detail, quotes, actor, epoch, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: Plan :one
SELECT * FROM plans WHERE organization = $1 AND id = $2;

-- name: PlansInState :many
-- Sorted by a value that no index has: plans in a state are few, and all plans many.
SELECT * FROM plans WHERE organization = $1 AND state = $2 AND (id || '') > sqlc.arg(after) ORDER BY (id || '') LIMIT sqlc.arg(row_limit);

-- name: WaitingPlans :many
-- WaitingPlans are plans that wait for a person, and for which it is not too late; sorted as
-- those in a state are.
SELECT * FROM plans WHERE organization = $1 AND state = 'needs_approval' AND expires_at > sqlc.arg(now) AND (id || '') > sqlc.arg(after)
ORDER BY (id || '') LIMIT sqlc.arg(row_limit);

-- name: WaitingPlansOfRun :many
-- WaitingPlansOfRun are those of one run. The state is named twice, since SQLite takes an
-- index of some rows only for its own condition.
SELECT * FROM plans WHERE organization = $1 AND run = $2 AND state IN ('needs_approval', 'ready') AND state = 'needs_approval'
  AND expires_at > sqlc.arg(now) AND id > sqlc.arg(after) ORDER BY id LIMIT sqlc.arg(row_limit);

-- name: SetPlanState :exec
UPDATE plans SET state = $3, error = $4 WHERE organization = $1 AND id = $2;

-- name: StartPlan :exec
UPDATE plans SET state = 'applying', error = '', deadline = $3 WHERE organization = $1 AND id = $2;

-- name: InsertApproval :exec
INSERT INTO approvals (organization, id, plan, decision, approver, method, document, reason, signed_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (organization, plan) DO UPDATE SET id = excluded.id, decision = excluded.decision, approver = excluded.approver, method = excluded.method,
  document = excluded.document, reason = excluded.reason, signed_at = excluded.signed_at, expires_at = excluded.expires_at, consumed_at = 0;

-- name: ApprovalOfPlan :one
SELECT * FROM approvals WHERE organization = $1 AND plan = $2;

-- name: ConsumeApproval :execrows
UPDATE approvals SET consumed_at = sqlc.arg(now) WHERE organization = $1 AND plan = $2 AND consumed_at = 0;

-- name: InsertOrder :exec
INSERT INTO orders (organization, id, plan, step, run, project, env, agent, provider, kind, what, target, currency, amount, state, hold, resource, quote, epoch, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21);

-- name: Order :one
SELECT * FROM orders WHERE organization = $1 AND id = $2;

-- name: OrderOfStep :one
SELECT * FROM orders WHERE organization = $1 AND plan = $2 AND step = $3;

-- name: OrdersOfPlan :many
SELECT sqlc.embed(orders), sqlc.embed(holds) FROM orders JOIN holds ON holds.organization = orders.organization AND holds.id = orders.hold
WHERE orders.organization = $1 AND orders.plan = $2 ORDER BY orders.step;

-- name: OrdersOfRun :many
-- Sorted by a value that no index has, so that the run's own index finds them.
SELECT sqlc.embed(orders), sqlc.embed(holds) FROM orders JOIN holds ON holds.organization = orders.organization AND holds.id = orders.hold
WHERE orders.organization = $1 AND orders.run = $2 ORDER BY (orders.id || '');

-- name: RecentOrders :many
-- Sorted by a value that no index has, so that the indexes of runs and agents find them.
SELECT * FROM orders WHERE organization = $1 AND (run = $2 OR (agent <> '' AND agent = $3)) AND created_at > sqlc.arg(after) ORDER BY (id || '');

-- name: UnsettledOrders :many
-- Sorted by a value that no index has, so that the index of states finds them.
SELECT * FROM orders WHERE organization = $1 AND state IN ('placed', 'buying', 'unknown') ORDER BY (id || '');

-- name: OrdersLongUnknown :many
-- OrdersLongUnknown are those of every organization of which nobody knows, and whose last call left by then; each found by its state.
SELECT orders.organization, orders.id, orders.begun_at AS since FROM organizations JOIN orders ON orders.organization = organizations.id
WHERE orders.state = 'unknown' AND orders.begun_at <= CAST(sqlc.arg(before) AS BIGINT);

-- name: OrdersAtStop :many
-- OrdersAtStop are the orders that are not settled, with their holds; found as those are.
SELECT sqlc.embed(orders), sqlc.embed(holds) FROM orders LEFT JOIN holds ON holds.organization = orders.organization AND holds.id = orders.hold
WHERE orders.organization = $1 AND orders.state IN ('placed', 'buying', 'unknown') ORDER BY (orders.id || '');

-- name: BeginOrder :exec
UPDATE orders SET state = 'buying', attempts = attempts + 1, lease_until = $3, begun_at = $4, epoch = $5, updated_at = $4 WHERE organization = $1 AND id = $2;

-- name: SettleOrder :exec
UPDATE orders SET state = $3, resource = $4, error = $5, lease_until = 0, updated_at = $6 WHERE organization = $1 AND id = $2;

-- name: InsertResource :exec
INSERT INTO resources (organization, id, project, env, name, provider, service, connection, provider_id, item, configuration, access, variables, state, order_id, manifest, url, cap, class, created_at, credentials_until)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21);

-- name: Resource :one
SELECT * FROM resources WHERE organization = $1 AND id = $2;

-- name: Resources :many
SELECT * FROM resources WHERE organization = $1 AND (CAST(sqlc.arg(project) AS TEXT) = '' OR project = CAST(sqlc.arg(project) AS TEXT)) AND (CAST(sqlc.arg(env) AS TEXT) = '' OR env = CAST(sqlc.arg(env) AS TEXT)) ORDER BY id;

-- name: ResourcesOfProvider :many
SELECT * FROM resources WHERE organization = $1 AND provider = $2 ORDER BY id;

-- name: SetResourceState :exec
UPDATE resources SET state = $3, removed_at = $4, deletes_at = $5, retired_from = $6 WHERE organization = $1 AND id = $2;

-- name: SetDeployed :exec
UPDATE resources SET manifest = $3, url = $4 WHERE organization = $1 AND id = $2;

-- name: DueResources :many
SELECT * FROM resources WHERE organization = $1 AND state IN ('retiring', 'destroying') AND deletes_at <= sqlc.arg(now) ORDER BY id;

-- name: InsertStop :exec
INSERT INTO stops (organization, id, scope, target, reason, actor, epoch, seq, at, open, voided) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: Stop :one
SELECT * FROM stops WHERE organization = $1 AND id = $2;

-- name: StopsInForce :many
SELECT * FROM stops WHERE organization = $1 AND lifted_at = 0 ORDER BY id;

-- name: LiftStop :exec
UPDATE stops SET lifted_at = $3, lifted_by = $4 WHERE organization = $1 AND id = $2 AND lifted_at = 0;

-- name: InsertStopEffect :exec
INSERT INTO stop_effects (organization, stop, n, kind, target, state, detail) VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: NextStopEffect :one
SELECT CAST(COALESCE(MAX(n), -1) + 1 AS BIGINT) FROM stop_effects WHERE organization = $1 AND stop = $2;

-- name: StopEffects :many
SELECT * FROM stop_effects WHERE organization = $1 AND stop = $2 ORDER BY n;

-- name: StopEffectsInShort :many
-- StopEffectsInShort leaves out the tokens that are revoked, of which a client may have got thousands.
SELECT * FROM stop_effects WHERE organization = $1 AND stop = $2 AND NOT (kind = 'token' AND state = 'done') ORDER BY n;

-- name: SetStopEffect :exec
-- SetStopEffect ends an effect that is pending; each ends once.
UPDATE stop_effects SET state = $4, detail = $5 WHERE organization = $1 AND stop = $2 AND n = $3 AND state = 'pending';

-- name: StopEffect :one
SELECT * FROM stop_effects WHERE organization = $1 AND stop = $2 AND n = $3;

-- name: PendingStopEffects :many
SELECT * FROM stop_effects WHERE organization = $1 AND state = 'pending' ORDER BY stop, n;

-- name: StopsAfter :many
SELECT * FROM stops WHERE organization = $1 AND epoch > sqlc.arg(after) ORDER BY id;

-- name: OpenPlans :one
-- OpenPlans is 1 if any plan of an organization waits or may start, and 0 if none does.
SELECT COUNT(*) FROM (SELECT 1 FROM plans WHERE organization = $1 AND state IN ('needs_approval', 'ready') LIMIT 1) AS p;

-- name: OpenPlansOfRun :one
-- OpenPlansOfRun counts the plans of a run that wait or may start, up to as many as matter.
SELECT COUNT(*) FROM (SELECT 1 FROM plans WHERE organization = $1 AND run = $2 AND state IN ('needs_approval', 'ready') AND expires_at > sqlc.arg(now)
  LIMIT sqlc.arg(row_limit)) AS p;

-- name: PlansAtStop :many
-- PlansAtStop are plans of before a stop that wait or may start, run by run. Which of them
-- a stop of a provider covers, their terms tell.
SELECT plans.id, plans.run, plans.terms, runs.project, runs.agent FROM plans JOIN runs ON runs.organization = plans.organization AND runs.id = plans.run
WHERE plans.organization = $1 AND plans.state IN ('needs_approval', 'ready') AND plans.epoch < sqlc.arg(epoch)
  AND (plans.run, plans.id) > (CAST(sqlc.arg(after_run) AS TEXT), CAST(sqlc.arg(after) AS TEXT))
  AND CASE CAST(sqlc.arg(scope) AS TEXT) WHEN 'project' THEN runs.project WHEN 'agent' THEN runs.agent WHEN 'run' THEN runs.id
    ELSE CAST(sqlc.arg(target) AS TEXT) END = CAST(sqlc.arg(target) AS TEXT)
ORDER BY plans.run, plans.id LIMIT sqlc.arg(row_limit);

-- name: CountVoided :exec
UPDATE stops SET voided = voided + $3 WHERE organization = $1 AND id = $2;

-- name: PlansToExpire :many
SELECT id FROM plans WHERE organization = $1 AND state IN ('needs_approval', 'ready') AND expires_at <= sqlc.arg(now) ORDER BY expires_at LIMIT sqlc.arg(row_limit);

-- name: EndLeases :execrows
UPDATE orders SET lease_until = 0 WHERE organization = $1 AND state = 'buying' AND lease_until > 0;

-- name: UpdateResource :exec
UPDATE resources SET service = $3, item = $4, configuration = $5, access = $6, variables = $7, cap = $8, credentials_until = $9 WHERE organization = $1 AND id = $2;

-- name: SetResourceAccess :exec
UPDATE resources SET access = $3, variables = $4, credentials_until = $5, rotating = '' WHERE organization = $1 AND id = $2;

-- name: BeginRotation :execrows
UPDATE resources SET rotating = $3 WHERE organization = $1 AND id = $2 AND rotating = '';

-- name: EndRotation :exec
UPDATE resources SET rotating = '' WHERE organization = $1 AND id = $2;

-- name: RotatingResources :many
SELECT * FROM resources WHERE organization = $1 AND rotating <> '' ORDER BY id;

-- name: TakeBackOrder :exec
UPDATE orders SET state = 'placed', attempts = attempts - 1, lease_until = 0, error = $3, updated_at = $4 WHERE organization = $1 AND id = $2;

-- name: ForgetAccess :exec
UPDATE resources SET access = $3 WHERE organization = $1 AND id = $2;
