package office

import (
	"context"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// overlap is how long the old of our secrets at a provider signs beside the new one
// (APP 17.4).
const overlap = 24 * time.Hour

// replaceSecret keeps the secret that a registration replaces, for the overlap.
func (o *Office) replaceSecret(ctx context.Context, t *store.Turn, provider string, fresh seal.Secret) error {
	row, err := t.Provider(ctx, provider)
	if err != nil {
		return ignoreMissing(err)
	}
	old, err := o.openText(row.Secret, store.Installation, "providers", provider, "secret")
	if err != nil || old.Empty() || old.Equal(fresh) {
		return err
	}
	sealed, err := o.sealText(old, store.Installation, "old_secrets", provider, "secret")
	if err != nil {
		return err
	}
	return t.UpsertOldSecret(ctx, db.UpsertOldSecretParams{Provider: provider, Secret: sealed, Until: store.Micro(t.Now.Add(overlap))})
}

// oldSecret is the secret that was replaced less than the overlap ago; empty when
// there is none.
func (o *Office) oldSecret(ctx context.Context, q *db.Queries, provider string) (seal.Secret, error) {
	row, err := q.OldSecret(ctx, provider)
	if err != nil || store.Micro(o.Now()) >= row.Until {
		return seal.Secret{}, ignoreMissing(err)
	}
	return o.openText(row.Secret, store.Installation, "old_secrets", provider, "secret")
}

// profileOf reads how we are to call a provider (APP 3.4).
func profileOf(name string, secret seal.Secret) (string, error) {
	switch {
	case name == "generic":
		return name, nil
	case name != "" && name != "purser" && name != "stripe":
		return "", purser.Errorf(purser.InvalidRequest, "%q is no profile: purser, stripe or generic", name)
	case secret.Empty():
		return "", purser.Errorf(purser.InvalidRequest, "a provider of this profile needs the secret that signs our calls").WithHint("purser provider add MANIFEST --secret - < FILE")
	case name == "":
		return "purser", nil
	}
	return name, nil
}
