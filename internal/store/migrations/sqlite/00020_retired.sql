-- +goose Up
-- The states that a resource and its charge had when the resource was retired, for as long
-- as it can be restored; nothing at a charge that the retire did not cancel.
ALTER TABLE resources ADD COLUMN retired_from TEXT NOT NULL DEFAULT '';
ALTER TABLE subscriptions ADD COLUMN retired_from TEXT NOT NULL DEFAULT '';
UPDATE resources SET retired_from = 'live' WHERE state = 'retiring';
-- Who cancelled a charge of before is not known. A restore asks for a person's signature to
-- take it up again, as it did.
UPDATE subscriptions SET retired_from = 'active' WHERE state = 'cancelled'
    AND EXISTS (SELECT 1 FROM resources r WHERE r.organization = subscriptions.organization AND r.id = subscriptions.resource AND r.state = 'retiring')
    AND NOT EXISTS (SELECT 1 FROM subscriptions s WHERE s.organization = subscriptions.organization AND s.resource = subscriptions.resource AND s.id > subscriptions.id);
