-- +goose Up
-- What a rail or a platform captured above a hold, and what of that came back: both
-- lie outside of the budgets' sum.
ALTER TABLE holds ADD COLUMN overrun BIGINT NOT NULL DEFAULT 0 CHECK (overrun >= 0);
ALTER TABLE holds ADD COLUMN returned BIGINT NOT NULL DEFAULT 0 CHECK (returned >= 0 AND returned <= overrun);

-- What was bought from a provider before, and what an agent ordered a short time ago.
CREATE INDEX holds_of_provider ON holds (organization, provider, created_at) WHERE principal <> '' AND kind = 'order';
CREATE INDEX holds_of_agent ON holds (organization, agent, created_at) WHERE principal <> '' AND kind = 'order';
CREATE INDEX orders_by_provider ON orders (organization, provider, created_at);
