-- name: People :many
SELECT * FROM people WHERE organization = $1 AND removed_at = 0 ORDER BY created_at, id;

-- name: CountOwners :one
SELECT COUNT(*) FROM people WHERE organization = $1 AND role = 'owner' AND removed_at = 0;

-- name: SetRole :exec
UPDATE people SET role = $3 WHERE organization = $1 AND id = $2;

-- name: RemovePerson :exec
-- The address is free for another invitation; the log tells whose it was.
UPDATE people SET removed_at = sqlc.arg(now), email = 'removed ' || id, kdf = '', public_key = '' WHERE organization = $1 AND id = $2;

-- name: InsertPasskey :execrows
INSERT INTO passkeys (organization, id, person, name, credential, public_key, counter, synced, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING;

-- name: PasskeyByCredential :one
SELECT * FROM passkeys WHERE credential = $1;

-- name: Passkey :one
SELECT * FROM passkeys WHERE organization = $1 AND id = $2;

-- name: PasskeysOfPerson :many
SELECT * FROM passkeys WHERE organization = $1 AND person = $2 AND revoked_at = 0 ORDER BY id;

-- name: UsePasskey :exec
UPDATE passkeys SET counter = $3, used_at = sqlc.arg(now) WHERE organization = $1 AND id = $2;

-- name: RevokePasskey :execrows
UPDATE passkeys SET revoked_at = sqlc.arg(now) WHERE organization = $1 AND id = $2 AND revoked_at = 0;

-- name: RevokePasskeysOfPerson :execrows
UPDATE passkeys SET revoked_at = sqlc.arg(now) WHERE organization = $1 AND person = $2 AND revoked_at = 0;

-- name: InsertRecoveryCode :exec
INSERT INTO recovery_codes (organization, hash, person, created_at, expires_at) VALUES ($1, $2, $3, $4, $5);

-- name: DropRecoveryCodes :exec
DELETE FROM recovery_codes WHERE organization = $1 AND person = $2 AND expires_at = 0;

-- name: UnusedRecoveryCode :one
SELECT * FROM recovery_codes
WHERE organization = $1 AND person = $2 AND hash = $3 AND used_at = 0 AND (expires_at = 0 OR expires_at > sqlc.arg(now));

-- name: UseRecoveryCode :execrows
UPDATE recovery_codes SET used_at = sqlc.arg(now)
WHERE organization = $1 AND person = $2 AND hash = $3 AND used_at = 0 AND (expires_at = 0 OR expires_at > sqlc.arg(now));

-- name: DropAllRecoveryCodes :exec
DELETE FROM recovery_codes WHERE organization = $1 AND person = $2;

-- name: CountRecoveryCodes :one
SELECT COUNT(*) FROM recovery_codes WHERE organization = $1 AND person = $2 AND used_at = 0 AND expires_at = 0;

-- name: OpenSetupCode :one
SELECT COUNT(*) FROM setup_codes WHERE hash = $1 AND used_at = 0 AND expires_at > sqlc.arg(now);

-- name: InsertInvitation :exec
INSERT INTO invitations (organization, id, hash, role, person, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: InvitationByHash :one
SELECT * FROM invitations WHERE hash = $1;

-- name: UseInvitation :execrows
UPDATE invitations SET used_at = sqlc.arg(now), used_by = $3
WHERE organization = $1 AND id = $2 AND used_at = 0 AND revoked_at = 0 AND expires_at > sqlc.arg(now);

-- name: RevokeInvitation :execrows
UPDATE invitations SET revoked_at = sqlc.arg(now) WHERE organization = $1 AND id = $2 AND used_at = 0 AND revoked_at = 0;

-- name: RevokeInvitationsOfPerson :execrows
UPDATE invitations SET revoked_at = sqlc.arg(now) WHERE organization = $1 AND person = $2 AND used_at = 0 AND revoked_at = 0;

-- name: OpenInvitations :many
SELECT * FROM invitations WHERE organization = $1 AND used_at = 0 AND revoked_at = 0 AND expires_at > sqlc.arg(now) ORDER BY id;

-- name: InsertSession :exec
INSERT INTO tokens (organization, id, hash, kind, principal, form, label, created_at, expires_at, seen_at)
VALUES ($1, $2, $3, 'person', $4, $5, $6, $7, $8, $9);

-- name: Token :one
SELECT * FROM tokens WHERE organization = $1 AND id = $2;

-- name: SessionsOfPerson :many
SELECT * FROM tokens WHERE organization = $1 AND principal = $2 AND kind = 'person' AND revoked_at = 0 AND expires_at > sqlc.arg(now) ORDER BY id;

-- name: SawToken :exec
UPDATE tokens SET seen_at = $3 WHERE organization = $1 AND id = $2 AND seen_at < $3;

-- name: SpendChallenge :execrows
-- SpendChallenge keeps a challenge that was never stored, so that it counts once.
INSERT INTO challenges (organization, nonce, operation, approver, document, not_after, used_at) VALUES ($1, $2, $3, $4, '', $5, $6)
ON CONFLICT DO NOTHING;

-- name: KeepRequest :exec
UPDATE challenges SET request = $3 WHERE organization = $1 AND nonce = $2;

-- name: AnswerChallenge :execrows
UPDATE challenges SET answer = $3 WHERE organization = $1 AND nonce = $2 AND answer = '' AND used_at = 0 AND not_after >= sqlc.arg(now);

-- name: InsertVote :exec
INSERT INTO votes (organization, plan, approver, method, signed_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (organization, plan, approver) DO UPDATE SET method = excluded.method, signed_at = excluded.signed_at;

-- name: Votes :many
SELECT * FROM votes WHERE organization = $1 AND plan = $2 ORDER BY signed_at, approver;

-- name: DropVotes :exec
DELETE FROM votes WHERE organization = $1 AND plan = $2;

-- name: TwoPeople :many
SELECT * FROM two_people WHERE organization = $1 ORDER BY currency;

-- name: SetTwoPeople :exec
INSERT INTO two_people (organization, currency, above) VALUES ($1, $2, $3)
ON CONFLICT (organization, currency) DO UPDATE SET above = excluded.above;

-- name: DropTwoPeople :exec
DELETE FROM two_people WHERE organization = $1 AND currency = $2;

-- name: ActiveRunsOfPerson :many
SELECT * FROM runs WHERE organization = $1 AND person = $2 AND ended_at = 0 AND expires_at > sqlc.arg(now) ORDER BY id;
