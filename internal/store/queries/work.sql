-- name: InsertProject :execrows
INSERT INTO projects (organization, id, name, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (organization, name) DO NOTHING;

-- name: Project :one
SELECT * FROM projects WHERE organization = $1 AND id = $2;

-- name: ProjectByName :one
SELECT * FROM projects WHERE organization = $1 AND name = $2;

-- name: Projects :many
SELECT * FROM projects WHERE organization = $1 AND id > sqlc.arg(after) ORDER BY id LIMIT sqlc.arg(row_limit);

-- name: InsertAgent :exec
INSERT INTO agents (organization, id, name, person, created_at) VALUES ($1, $2, $3, $4, $5);

-- name: Agent :one
SELECT * FROM agents WHERE organization = $1 AND id = $2;

-- name: LiveAgentByName :one
SELECT * FROM agents WHERE organization = $1 AND name = $2 AND revoked_at = 0;

-- name: Agents :many
SELECT * FROM agents WHERE organization = $1 ORDER BY id;

-- name: RevokeAgent :execrows
UPDATE agents SET revoked_at = sqlc.arg(now) WHERE organization = $1 AND id = $2 AND revoked_at = 0;

-- name: InsertRun :exec
INSERT INTO runs (organization, id, project, agent, person, purpose, currency, threshold, providers, reveal, labels, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- name: Run :one
SELECT * FROM runs WHERE organization = $1 AND id = $2;

-- name: RunsShown :many
-- A page of runs with the names of what they belong to, and their budgets.
SELECT sqlc.embed(runs), projects.name AS project_name, COALESCE(agents.name, '') AS agent_name, COALESCE(budgets.period, '') AS period,
  COALESCE(budgets.limit_minor, 0) AS limit_minor, COALESCE(budgets.thresholds, '') AS thresholds,
  COALESCE(windows.held, 0) AS held, COALESCE(windows.captured, 0) AS captured, COALESCE(windows.refunded, 0) AS refunded
FROM runs JOIN projects ON projects.organization = runs.organization AND projects.id = runs.project
LEFT JOIN agents ON agents.organization = runs.organization AND agents.id = runs.agent
LEFT JOIN budgets ON budgets.organization = runs.organization AND budgets.scope = 'run' AND budgets.target = runs.id AND budgets.currency = runs.currency AND budgets.period = 'run'
LEFT JOIN windows ON windows.organization = runs.organization AND windows.scope = 'run' AND windows.target = runs.id AND windows.currency = runs.currency AND windows.name = runs.id
WHERE runs.organization = $1 AND runs.id < sqlc.arg(before) ORDER BY runs.id DESC LIMIT sqlc.arg(row_limit);

-- name: RunShown :one
SELECT sqlc.embed(runs), projects.name AS project_name, COALESCE(agents.name, '') AS agent_name, COALESCE(budgets.period, '') AS period,
  COALESCE(budgets.limit_minor, 0) AS limit_minor, COALESCE(budgets.thresholds, '') AS thresholds,
  COALESCE(windows.held, 0) AS held, COALESCE(windows.captured, 0) AS captured, COALESCE(windows.refunded, 0) AS refunded
FROM runs JOIN projects ON projects.organization = runs.organization AND projects.id = runs.project
LEFT JOIN agents ON agents.organization = runs.organization AND agents.id = runs.agent
LEFT JOIN budgets ON budgets.organization = runs.organization AND budgets.scope = 'run' AND budgets.target = runs.id AND budgets.currency = runs.currency AND budgets.period = 'run'
LEFT JOIN windows ON windows.organization = runs.organization AND windows.scope = 'run' AND windows.target = runs.id AND windows.currency = runs.currency AND windows.name = runs.id
WHERE runs.organization = $1 AND runs.id = sqlc.arg(id);

-- name: ImplicitRun :one
SELECT * FROM runs WHERE organization = $1 AND project = $2 AND person = $3 AND agent = '' AND ended_at = 0 AND expires_at > sqlc.arg(now)
ORDER BY id DESC LIMIT 1;

-- name: ActiveRunsOfAgent :many
SELECT * FROM runs WHERE organization = $1 AND agent = $2 AND ended_at = 0 AND expires_at > sqlc.arg(now);

-- name: ExtendRun :exec
UPDATE runs SET expires_at = $3 WHERE organization = $1 AND id = $2;

-- name: EndRun :execrows
UPDATE runs SET ended_at = sqlc.arg(now) WHERE organization = $1 AND id = $2 AND ended_at = 0;

-- name: UpsertProvider :exec
INSERT INTO providers (name, manifest, profile, secret, key_hash, created_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (name) DO UPDATE SET manifest = excluded.manifest, profile = excluded.profile, secret = excluded.secret, key_hash = excluded.key_hash, state = 'ok';

-- name: Provider :one
SELECT * FROM providers WHERE name = $1;

-- name: ProviderByKey :one
SELECT * FROM providers WHERE key_hash = $1;

-- name: Providers :many
SELECT * FROM providers ORDER BY name;

-- name: SetCatalog :exec
UPDATE providers SET catalog = $2, catalog_at = $3, state = $4 WHERE name = $1;

-- name: SetProviderState :exec
UPDATE providers SET state = $2 WHERE name = $1;

-- name: KeepTerms :exec
INSERT INTO terms (hash, url, text, at) VALUES ($1, $2, $3, $4) ON CONFLICT (hash) DO NOTHING;

-- name: Connection :one
SELECT * FROM connections WHERE organization = $1 AND provider = $2;

-- name: Connections :many
SELECT * FROM connections WHERE organization = $1 ORDER BY provider;

-- name: UpsertConnection :exec
INSERT INTO connections (organization, id, provider, account, email, state, access, refresh, expires_at, base_url, billing, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (organization, provider) DO UPDATE SET account = excluded.account, email = excluded.email, state = excluded.state,
  access = excluded.access, refresh = excluded.refresh, expires_at = excluded.expires_at, billing = excluded.billing;

-- name: SetConnectionState :exec
UPDATE connections SET state = $3 WHERE organization = $1 AND id = $2;

-- name: InsertManifest :exec
INSERT INTO manifests (organization, digest, files, count, bytes, commit_id, dirty, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (organization, digest) DO UPDATE SET commit_id = excluded.commit_id, dirty = excluded.dirty;

-- name: Manifest :one
SELECT * FROM manifests WHERE organization = $1 AND digest = $2;

-- name: RemoveProvider :execrows
DELETE FROM providers WHERE name = $1;

-- name: SetConformance :exec
UPDATE providers SET conformance = $2, conformance_detail = $3 WHERE name = $1;

-- name: DropConnection :execrows
DELETE FROM connections WHERE organization = $1 AND provider = $2;

-- name: ProviderInUse :one
-- ProviderInUse counts what an organization still needs a provider for, beside one order.
-- It is found by its state: what is settled is most of all.
SELECT CAST(
    (SELECT COUNT(*) FROM orders WHERE orders.organization = sqlc.arg(organization) AND orders.state IN ('placed', 'buying', 'unknown')
      AND (orders.provider || '') = sqlc.arg(provider) AND orders.id <> sqlc.arg(beside))
  + (SELECT COUNT(*) FROM subscriptions WHERE subscriptions.organization = sqlc.arg(organization) AND subscriptions.state IN ('active', 'payment_required')
      AND subscriptions.provider = sqlc.arg(provider)) AS BIGINT) AS busy;

-- name: ProviderNeeded :one
-- ProviderNeeded counts what the other organizations have or wait for at a provider.
SELECT CAST(COALESCE(SUM(
    (SELECT COUNT(*) FROM orders WHERE orders.organization = organizations.id AND orders.state IN ('placed', 'buying', 'unknown')
      AND (orders.provider || '') = sqlc.arg(provider))
  + (SELECT COUNT(*) FROM subscriptions WHERE subscriptions.organization = organizations.id AND subscriptions.state IN ('active', 'payment_required')
      AND subscriptions.provider = sqlc.arg(provider))
  + (SELECT COUNT(*) FROM resources WHERE resources.organization = organizations.id AND resources.state NOT IN ('removed', 'detached')
      AND resources.provider = sqlc.arg(provider))), 0) AS BIGINT) AS needed
FROM organizations WHERE organizations.id <> sqlc.arg(organization);
