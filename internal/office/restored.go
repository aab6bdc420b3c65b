package office

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// restoredValue is where a restore leaves its mark in the installation.
const restoredValue = "restored"

// restoredReason begins the reason of the stop that follows a restore.
const restoredReason = "restored from a backup of "

// freezeRestored stops every organization of a house that was restored: its
// ledger forgets the money that was spent since the copy was made (RULES 25). The
// stop voids what waits and ends the agents' tokens, which the copy may have
// brought back.
func (o *Office) freezeRestored(ctx context.Context) error {
	text, err := o.Store.Read().InstallationValue(ctx, restoredValue)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var mark struct {
		Taken int64 `json:"taken"`
	}
	if err := json.Unmarshal([]byte(text), &mark); err != nil {
		return fmt.Errorf("reading the mark of a restore: %w", err)
	}
	reason := restoredReason + store.Time(mark.Taken).Format(time.RFC3339) + ": what was spent since is not known here"
	err = o.eachOrganization(ctx, func(org string) error {
		return o.turn(ctx, org, func(t *store.Turn) error {
			_, err := o.stop(ctx, t, system, "organization", org, reason)
			return err
		})
	})
	if err != nil {
		return err
	}
	return o.Store.Write(ctx, func(q *db.Queries) error { return q.DropInstallationValue(ctx, restoredValue) })
}

// reconcile compares our resources with each provider's own list before a stop
// that followed a restore is lifted. A provider that cannot be asked keeps it in
// force; what differs is recorded and told.
func (o *Office) reconcile(ctx context.Context, org, stop string) error {
	row, err := o.Store.Read().Stop(ctx, db.StopParams{Organization: org, ID: stop})
	if missing(err) || err == nil && !strings.HasPrefix(row.Reason, restoredReason) {
		return nil
	}
	if err != nil {
		return err
	}
	connections, err := o.Store.Read().Connections(ctx, org)
	if err != nil {
		return err
	}
	for _, c := range connections {
		p, err := o.provider(ctx, o.Store.Read(), c.Provider)
		if err != nil {
			return err
		}
		r := recordOf(system, "reconcile", c.Provider)
		r.Detail = map[string]string{"stop": stop, "list": "the provider offers none; compare by hand"}
		if p.Manifest.Can(app.CapFind) {
			if r.Detail, err = o.compare(ctx, org, p); err != nil {
				return err
			}
		}
		r.Outcome = audit.Accepted
		if err := o.turn(ctx, org, func(t *store.Turn) error { t.Record(r); return nil }); err != nil {
			return err
		}
	}
	return nil
}

// compare names what only the provider has, and what only we have.
func (o *Office) compare(ctx context.Context, org string, p Provider) (map[string]string, error) {
	_, access, err := o.access(ctx, org, &p)
	if err != nil {
		return nil, err
	}
	theirs, err := o.Seller.List(ctx, p, access)
	if err != nil {
		return nil, err
	}
	ours, err := o.Store.Read().ResourcesOfProvider(ctx, db.ResourcesOfProviderParams{Organization: org, Provider: p.Name})
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, r := range ours {
		if r.State != ResourceRemoved {
			known[r.ProviderID] = true
		}
	}
	var only []string
	for _, r := range theirs {
		switch {
		case r.Status == app.StatusRemoved || r.Status == app.StatusError:
		case known[r.ID]:
			delete(known, r.ID)
		default:
			only = append(only, catalog.Plain(r.ServiceID+" "+r.ID, 200))
		}
	}
	detail := map[string]string{"listed": fmt.Sprint(len(theirs)), "only_there": fmt.Sprint(len(only)), "only_here": fmt.Sprint(len(known))}
	if len(only) > 0 {
		detail["only_there_first"] = strings.Join(only[:min(len(only), 10)], ", ")
	}
	return detail, nil
}

// lifting reconciles before a resume, where that is due.
func (o *Office) lifting(ctx context.Context, by purser.Actor, in purser.Resume) error {
	digest, err := signedDigest(in)
	if err != nil {
		return err
	}
	fits := func(d act.Document) bool { return d.Operation == "resume" && d.RequestDigest == digest }
	if _, err := o.verified(ctx, o.Store.Read(), o.Now(), by, "resume", in.Act, fits); err != nil {
		return nil // refused in its turn, and recorded there
	}
	return o.reconcile(ctx, by.Organization, in.Stop)
}
