package provider

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/purser-dev/purser/app"
)

// accountBook keeps accounts in the Store, for providers without their own.
type accountBook struct {
	store  Store
	random io.Reader
	memo   memo[Account]
}

// NewAccountBook keeps accounts in a Store: what Hooks.Accounts is when nil. Wrap
// it to do something when an account is made.
func NewAccountBook(store Store) Accounts { return &accountBook{store: store} }

func fold(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

func (b *accountBook) Find(ctx context.Context, email string) (Account, error) {
	var a Account
	err := b.store.View(ctx, func(tx Tx) error {
		var p pointer
		found, err := get(tx, keyEmail(fold(email)), &p)
		if err != nil {
			return err
		}
		if !found {
			return ErrNoAccount
		}
		return load(tx, p.ID, &a)
	})
	return a, err
}

func (b *accountBook) Account(ctx context.Context, id string) (Account, error) {
	var a Account
	err := b.store.View(ctx, func(tx Tx) error {
		var found bool
		var err error
		if a, found, err = b.memo.get(tx, keyAccount(id)); err == nil && !found {
			return ErrNoAccount
		}
		return err
	})
	a.Teams = slices.Clone(a.Teams)
	return a, err
}

func load(tx Tx, id string, a *Account) error {
	found, err := get(tx, keyAccount(id), a)
	if err == nil && !found {
		return ErrNoAccount
	}
	return err
}

func (b *accountBook) Create(ctx context.Context, in NewAccount) (Account, error) {
	id, err := app.Random(b.random, "acct_")
	if err != nil {
		return Account{}, err
	}
	a := Account{ID: id, Email: in.Email, DisplayName: in.Name, Active: true, CreatedFor: in.RequestKey}
	err = b.store.Update(ctx, func(tx Tx) error {
		var p pointer
		taken, err := get(tx, keyEmail(fold(in.Email)), &p)
		if err != nil {
			return err
		}
		if taken {
			return ErrAccountExists
		}
		if err := put(tx, keyEmail(fold(in.Email)), pointer{id}, time.Time{}); err != nil {
			return err
		}
		return put(tx, keyAccount(id), a, time.Time{})
	})
	if err != nil {
		return Account{}, err
	}
	return a, nil
}
