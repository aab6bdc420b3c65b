package server

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// The installation's values under which our signing keys are sealed.
const (
	appKeys    = "app_keys"    // sign calls to providers
	accessKeys = "access_keys" // sign access tokens
)

// vault keeps keys under one name. It is a seller.Vault and an oauth.Vault.
type vault struct {
	store *store.Store
	box   seal.Box
	name  string
}

func (v vault) context() []byte {
	return seal.Context(store.Installation, "installation", v.name, "value")
}

// Load opens what is kept; nothing when nothing is.
func (v vault) Load(ctx context.Context) ([]byte, error) {
	_, plain, err := v.load(ctx)
	return plain, err
}

func (v vault) load(ctx context.Context) (text string, plain []byte, err error) {
	text, err = v.store.Read().InstallationValue(ctx, v.name)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	sealed, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", nil, fmt.Errorf("reading a sealed value: %w", err)
	}
	plain, err = v.box.Open(sealed, v.context())
	return text, plain, err
}

// ofKeys records what became of our keys: they belong to no organization (RULES 22).
func ofKeys(action, name string) audit.Record {
	return audit.Record{Actor: audit.Actor{Kind: "system", ID: "purser"}, Action: action, Target: name, Outcome: audit.Accepted}
}

// Save replaces old by fresh unless something else was saved meanwhile.
func (v vault) Save(ctx context.Context, old, fresh []byte) (bool, error) {
	text, now, err := v.load(ctx)
	if err != nil || !bytes.Equal(now, old) {
		return false, err
	}
	sealed, err := v.box.Seal(fresh, v.context())
	if err != nil {
		return false, err
	}
	value, rows := base64.StdEncoding.EncodeToString(sealed), int64(0)
	action := "make_keys"
	if text != "" {
		action = "change_keys"
	}
	err = v.store.Turn(ctx, store.Installation, func(t *store.Turn) (err error) {
		if text == "" {
			rows, err = t.SetInstallationValue(ctx, db.SetInstallationValueParams{Name: v.name, Value: value})
		} else {
			rows, err = t.ReplaceInstallationValue(ctx, db.ReplaceInstallationValueParams{Name: v.name, Fresh: value, Old: text})
		}
		if rows == 1 {
			t.Record(ofKeys(action, v.name))
		}
		return err
	})
	return rows == 1, err
}

// requestKey makes the secrets of account requests. It outlives the secrets of
// providers, so that a request sent again after one was replaced is the same.
func requestKey(seed []byte) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, seed, nil, "purser account requests", 32)
	if err != nil {
		return nil, fmt.Errorf("deriving the key of account requests: %w", err)
	}
	return key, nil
}
