-- +goose Up
-- What ended a token before its time: stop, run (its run was ended), or nothing, when it
-- was revoked for itself. Who lost one to a stop or to the end of its run may still say
-- what its begun holds cost.
ALTER TABLE tokens ADD COLUMN revoked_by TEXT NOT NULL DEFAULT '';

-- Of those of before: a stop took what its effects name, and the end of a run what was
-- revoked in its turn. Whom a person disconnected or revoked too is left out.
UPDATE tokens SET revoked_by = 'stop' WHERE revoked_at <> 0 AND kind = 'agent'
    AND EXISTS (SELECT 1 FROM stop_effects e WHERE e.organization = tokens.organization AND e.kind = 'token' AND e.target = tokens.id AND e.state = 'done')
    AND NOT EXISTS (SELECT 1 FROM agents a WHERE a.organization = tokens.organization AND a.id = tokens.principal AND a.revoked_at <> 0)
    AND NOT EXISTS (SELECT 1 FROM oauth_grants g WHERE g.organization = tokens.organization AND g.id = tokens.grant_id AND g.revoked_at <> 0);
UPDATE tokens SET revoked_by = 'run' WHERE revoked_at <> 0 AND kind = 'agent' AND revoked_by = ''
    AND EXISTS (SELECT 1 FROM runs r WHERE r.organization = tokens.organization AND r.id = tokens.run AND r.ended_at = tokens.revoked_at)
    AND NOT EXISTS (SELECT 1 FROM agents a WHERE a.organization = tokens.organization AND a.id = tokens.principal AND a.revoked_at <> 0)
    AND NOT EXISTS (SELECT 1 FROM oauth_grants g WHERE g.organization = tokens.organization AND g.id = tokens.grant_id AND g.revoked_at <> 0);
