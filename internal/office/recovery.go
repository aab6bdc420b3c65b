package office

import (
	"context"
	"encoding/base32"
	"fmt"
	"io"
	"strings"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// How many recovery codes a person gets, and how many random bytes each has.
const (
	recoveryCount = 10
	recoveryBytes = 10
)

var recoveryText = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)

// recoveryCodes replaces a person's codes. Only their hashes stay.
func (o *Office) recoveryCodes(ctx context.Context, t *store.Turn, org, person string) ([]string, error) {
	if err := t.DropRecoveryCodes(ctx, db.DropRecoveryCodesParams{Organization: org, Person: person}); err != nil {
		return nil, err
	}
	var codes []string
	for range recoveryCount {
		b := make([]byte, recoveryBytes)
		if _, err := io.ReadFull(o.Random, b); err != nil {
			return nil, fmt.Errorf("reading randomness: %w", err)
		}
		code := recoveryText.EncodeToString(b)
		err := t.InsertRecoveryCode(ctx, db.InsertRecoveryCodeParams{Organization: org, Hash: recoveryHash(code), Person: person, CreatedAt: store.Micro(t.Now)})
		if err != nil {
			return nil, err
		}
		codes = append(codes, code[:4]+"-"+code[4:8]+"-"+code[8:12]+"-"+code[12:])
	}
	return codes, nil
}

// recoveryHash forgives how a code was copied.
func recoveryHash(code string) string {
	return textHash("recovery " + strings.NewReplacer("-", "", " ", "").Replace(strings.ToLower(code)))
}

// Recovery gives a person new recovery codes.
func (o *Office) Recovery(ctx context.Context, by purser.Actor, in purser.Recovery) (purser.RecoveryCodes, error) {
	var codes []string
	out, err := once(ctx, o, by, "recovery", in, func(t *store.Turn) (purser.RecoveryCodes, error) {
		signed, err := o.signed(ctx, t, by, "recovery", in, in.Act)
		if err != nil {
			return purser.RecoveryCodes{}, o.refuseAct(t, by, "recovery", by.ID, err)
		}
		if codes, err = o.recoveryCodes(ctx, t, t.Org, by.ID); err != nil {
			return purser.RecoveryCodes{}, err
		}
		r := recordOf(by, "recovery", by.ID)
		r.Attach = signed
		t.Record(r)
		return purser.RecoveryCodes{Codes: []string{}}, nil
	})
	if err == nil {
		out.Codes = append(out.Codes, codes...)
	}
	return out, err
}

// recoverable finds the person of a good recovery code. Too many wrong ones lock
// the address for a while, known or not.
func (o *Office) recoverable(ctx context.Context, q *db.Queries, email, code string) (person db.Person, row db.RecoveryCode, err error) {
	email = normalEmail(email)
	if err := o.locked(email); err != nil {
		return person, row, err
	}
	wrong := purser.Errorf(purser.WrongSignature, "the e-mail address or the recovery code is wrong").WithHint("each code works once")
	if person, err = q.PersonByEmail(ctx, email); err == nil {
		row, err = q.UnusedRecoveryCode(ctx, db.UnusedRecoveryCodeParams{
			Organization: person.Organization, Person: person.ID, Hash: recoveryHash(code), Now: store.Micro(o.Now()),
		})
	}
	if missing(err) {
		o.wrongFor(email)
		err = wrong
	}
	return person, row, err
}

// RecoverAccess lets a person in who has no passkey at hand, and ends every other
// session: whoever lost one should not share it.
func (o *Office) RecoverAccess(ctx context.Context, by purser.Actor, in purser.RecoverAccess) (out purser.SignedIn, err error) {
	if err := o.throttle(by.Source); err != nil {
		return out, err
	}
	person, row, err := o.recoverable(ctx, o.Store.Read(), in.Email, in.Code)
	if err != nil {
		if purser.CodeOf(err) == purser.WrongSignature {
			o.countFailure(by.Source, "recover_access")
		}
		return out, err
	}
	if in.Passkey.Person != person.ID {
		return out, purser.Errorf(purser.WrongSignature, "the passkey was made for another person")
	}
	made, err := o.madePasskey(ctx, by, in.Passkey, "recover_access", in.Code)
	if err != nil {
		return out, err
	}
	var codes []string
	err = o.turn(ctx, person.Organization, func(t *store.Turn) error {
		n, err := t.UseRecoveryCode(ctx, db.UseRecoveryCodeParams{Organization: t.Org, Person: person.ID, Hash: row.Hash, Now: store.Micro(t.Now)})
		if err == nil && n != 1 {
			err = purser.Errorf(purser.WrongSignature, "the recovery code was used before")
		}
		if err != nil {
			return err
		}
		if codes, err = o.keepPasskey(ctx, t, t.Org, person.ID, made); err != nil {
			return err
		}
		if row.ExpiresAt == 0 { // an emergency, and not the link of one who is signed in elsewhere
			if err := o.endAccess(ctx, t, person, true); err != nil {
				return err
			}
		}
		out, err = o.openSession(ctx, t, by, person.ID, person.Name, "recover_access", func(r *audit.Record) { r.Detail = made.detail() })
		return err
	})
	if err == nil {
		out.RecoveryCodes = codes
		o.right(normalEmail(in.Email))
	}
	return out, err
}
