package mail

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	codeLife  = 24 * time.Hour
	codeTries = 10
)

// signUp makes an organization without an account elsewhere. The same e-mail
// always gets the same organization, and a new key.
func (a *api) signUp(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Email string `json:"human_email"`
		User  string `json:"username"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	email := strings.ToLower(strings.TrimSpace(in.Email))
	if user, domain, ok := strings.Cut(email, "@"); !ok || user == "" || domain == "" || len(email) > 254 {
		return ErrInvalid
	}
	organization, code, err := a.register(r.Context(), email)
	if err != nil {
		return err
	}
	box, err := a.CreateInbox(r.Context(), NewInbox{Account: organization, User: in.User, Client: "sign-up"})
	if err != nil {
		return err
	}
	a.mailCode(r.Context(), box, email, code)
	secret, _, err := a.IssueKey(r.Context(), organization, "", "sign-up")
	if err != nil {
		return err
	}
	return write(w, http.StatusOK, map[string]string{"organization_id": organization, "inbox_id": box.Address, "api_key": secret})
}

func (o *Office) register(ctx context.Context, email string) (organization, code string, err error) {
	if organization, err = o.newID("org_"); err != nil {
		return "", "", err
	}
	var digits [4]byte
	if _, err := io.ReadFull(o.Random, digits[:]); err != nil {
		return "", "", fmt.Errorf("making a code: %w", err)
	}
	code = fmt.Sprintf("%06d", binary.BigEndian.Uint32(digits[:])%1_000_000)
	err = o.DB.Write(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `INSERT INTO mail_signups (email, organization, code_hash, code_expires, tries, verified)
			VALUES ($1, $2, $3, $4, 0, 0) ON CONFLICT (email) DO UPDATE SET
				code_hash = excluded.code_hash, code_expires = excluded.code_expires, tries = 0
			RETURNING organization`, email, organization, hash(organizationCode(email, code)), o.Now().Add(codeLife).UnixMicro()).Scan(&organization)
	})
	if err != nil {
		return "", "", fmt.Errorf("signing up: %w", err)
	}
	return organization, code, nil
}

// organizationCode binds a code to its e-mail: six digits alone hash alike for all.
func organizationCode(email, code string) string { return email + "\x00" + code }

// mailCode delivers the code if the person's address is of this office. Any
// other address gets none, because nothing leaves loopback; the organization
// then stays unverified.
func (a *api) mailCode(ctx context.Context, from Inbox, email, code string) {
	_, err := a.post(ctx, from, letter{To: people{email}, Subject: "Your code", Text: "Your code is " + code + "\n"})
	if err != nil && !errors.Is(err, errElsewhere) {
		a.log.WarnContext(ctx, "code not mailed", "error", err)
	}
}

func (a *api) verify(w http.ResponseWriter, r *http.Request, k Key) error {
	var in struct {
		Code string `json:"otp_code"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	var right bool
	err := a.DB.Write(r.Context(), func(tx *sql.Tx) error {
		var email, sum string
		var expires, tries int64
		err := tx.QueryRowContext(r.Context(), `UPDATE mail_signups SET tries = tries + 1 WHERE organization = $1
			RETURNING email, code_hash, code_expires, tries`, k.Account).Scan(&email, &sum, &expires, &tries)
		if err != nil {
			return err
		}
		right = sum == hash(organizationCode(email, in.Code)) && tries <= codeTries && a.Now().UnixMicro() < expires
		if !right {
			return nil
		}
		_, err = tx.ExecContext(r.Context(), `UPDATE mail_signups SET verified = 1, code_hash = '' WHERE organization = $1`, k.Account)
		return err
	})
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case err != nil:
		return fmt.Errorf("verifying: %w", err)
	case !right:
		return ErrInvalid
	}
	return write(w, http.StatusOK, map[string]bool{"verified": true})
}
