-- +goose Up
-- What ended a token before its time: stop, run (its run was ended), or nothing, when it
-- was revoked for itself. Who lost one to a stop or to the end of its run may still say
-- what its begun holds cost.
ALTER TABLE tokens ADD COLUMN revoked_by TEXT NOT NULL DEFAULT '';
