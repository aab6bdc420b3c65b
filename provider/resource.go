package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/purser-dev/purser/app"
)

// tombstone is how long a removed resource is still shown (12.5, 19).
const tombstone = 30 * 24 * time.Hour

// tenant is the scope of dedup keys: two orchestrators of one account must not meet
// in them, or one would be answered with the other's credentials.
func (c *call) tenant() string {
	if c.scope == "" {
		c.scope = hash(c.account.ID + "\x00" + c.orch.Name)[:32]
	}
	return c.scope
}

// scoped reads the path's resource within the token's account (12.5).
func (c *call) scoped() (resourceRecord, error) {
	if !validID(c.resource) {
		return resourceRecord{}, Errorf(app.CodeInvalidResourceID, "not a resource id")
	}
	record, found, err := c.p.resource(c.ctx, c.account.ID, c.resource)
	switch {
	case err != nil:
		return record, err
	case !found:
		return record, Errorf(app.CodeForbidden, "no such resource within the scope of this token")
	case record.Orchestrator != c.orch.Name:
		return record, Errorf(app.CodeForbidden, "this resource was made through another orchestrator")
	case record.Status == app.StatusRemoved && c.p.cfg.Now().Sub(record.RemovedAt) >= tombstone:
		return record, Errorf(app.CodeNotFound, "the resource was removed")
	}
	return record, nil
}

func validID(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	for i := range len(id) {
		ch := id[i]
		if !(ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' || ch >= '0' && ch <= '9' || bytes.IndexByte([]byte("_.:-"), ch) >= 0) {
			return false
		}
	}
	return true
}

func (p *Provider) resource(ctx context.Context, account, id string) (record resourceRecord, found bool, err error) {
	err = p.cfg.Store.View(ctx, func(tx Tx) error {
		found, err = get(tx, keyResource(account, id), &record)
		return err
	})
	return record, found, err
}

func (p *Provider) save(ctx context.Context, record *resourceRecord) error {
	raw, err := record.encode()
	if err != nil {
		return err
	}
	key := keyResource(record.Account, record.ID)
	return p.cfg.Store.Update(ctx, func(tx Tx) error { return write(tx, key, raw, time.Time{}) })
}

// maxScan bounds what is read to describe an account in one answer.
const maxScan = 1000

// resources gives an account's resources, and whether that is all of them.
func (p *Provider) resources(ctx context.Context, account string) ([]resourceRecord, bool, error) {
	records, last, err := p.page(ctx, account, "", maxScan)
	return records, last == "", err
}

// page gives up to limit resources after a key, and the key to go on from.
func (p *Provider) page(ctx context.Context, account, after string, limit int) ([]resourceRecord, string, error) {
	var rows []Record
	prefix := prefixResources(account)
	err := p.cfg.Store.View(ctx, func(tx Tx) error {
		var err error
		rows, err = tx.List(prefix, after, limit+1)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	next := ""
	if len(rows) > limit {
		rows = rows[:limit]
		next = rows[limit-1].Key
	}
	records := make([]resourceRecord, len(rows))
	for i, row := range rows {
		if err := json.Unmarshal(row.Value, &records[i]); err != nil {
			return nil, "", err
		}
	}
	return records, next, nil
}

// handed is a record as hooks see it.
func (c *call) handed(r *resourceRecord) (Resource, error) {
	access, err := c.p.open(r.ID, r.Access)
	if err != nil {
		return Resource{}, err
	}
	return Resource{
		ID: r.ID, Account: c.account, Service: r.Service, Configuration: r.Configuration, Environment: r.Environment,
		ProjectID: r.ProjectID, OrchestratorResourceID: r.OrchestratorResourceID, Status: r.Status,
		Workspace: r.Workspace, LabelPrefix: r.LabelPrefix, Quote: r.Quote, AccessConfiguration: access, CreatedAt: r.CreatedAt,
	}, nil
}

// settle puts what a hook left into the record. An empty AccessConfiguration keeps
// the stored one.
func (p *Provider) settle(r *resourceRecord, out Provisioned) error {
	r.Phase, r.Problem, r.UserMessage, r.RetryAfter = phaseDone, nil, cut(out.UserMessage, 2000), out.RetryAfter
	switch {
	case out.Failed != nil:
		r.fail(out.Failed)
		return nil
	case out.Pending:
		r.Status = app.StatusPending
	default:
		r.Status = app.StatusComplete
	}
	if len(out.AccessConfiguration) > 0 {
		sealed, err := p.seal(r.ID, out.AccessConfiguration)
		if err != nil {
			return err
		}
		r.Access, r.ExpiresAt, r.PreviousValidUntil = sealed, out.ExpiresAt, out.PreviousValidUntil
	}
	return nil
}

func cut(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most])
	}
	return s
}

// wire is the envelope of a record (12.1). Secrets are in it only on demand.
func (c *call) wire(r *resourceRecord, secrets bool) (app.Resource, error) {
	out := app.Resource{Status: r.Status, ID: r.ID, ServiceID: r.Service, UserMessage: r.UserMessage}
	if r.Phase != phaseDone {
		// Somebody in this process is at work on it, or a crash left it.
		if busy := c.p.busy(r); busy {
			out.Status, out.RetryAfter = app.StatusPending, time.Second
			return out, nil
		}
		out.Status = app.StatusError
		out.Error = &app.Problem{Code: app.CodeInterrupted, Message: "the create was interrupted; send it again under the same keys"}
		return out, nil
	}
	switch r.Status {
	case app.StatusError:
		out.Error = r.Problem
	case app.StatusPending, app.StatusPendingRemoval:
		out.RetryAfter = r.RetryAfter
	case app.StatusComplete:
		out.Complete = &app.Complete{}
		if secrets {
			access := c.given
			if access == nil {
				var err error
				if access, err = c.p.open(r.ID, r.Access); err != nil {
					return out, err
				}
			}
			out.Complete = &app.Complete{
				AccessConfiguration: access, ExpiresAt: app.At(r.ExpiresAt), PreviousValidUntil: app.At(r.PreviousValidUntil),
			}
		}
	}
	return out, nil
}

func lockResource(id string) string { return "resource/" + id }

// busy tells whether this process holds the resource.
func (p *Provider) busy(r *resourceRecord) bool {
	if _, free := p.locks.try(lockResource(r.ID)); free {
		p.locks.release(lockResource(r.ID))
		return false
	}
	return true
}

// envelopeOf answers a resource's present state.
func (c *call) envelopeOf(r *resourceRecord) error {
	c.resource = r.ID
	out, err := c.wire(r, true)
	if err != nil {
		return err
	}
	if out.RetryAfter > 0 {
		seconds := max(1, int(out.RetryAfter/time.Second))
		c.w.Header().Set("Retry-After", strconv.Itoa(seconds))
	}
	status := http.StatusOK
	if out.Error != nil {
		c.code = out.Error.Code
		status = (&Error{Code: out.Error.Code}).status()
	}
	return c.answer(status, out)
}

// get reads a resource (12.5). It mints nothing.
func (c *call) get() error {
	if err := c.proofs(); err != nil {
		return err
	}
	record, err := c.scoped()
	if err != nil {
		return err
	}
	if record.Phase == phaseDone && record.Status != app.StatusRemoved && record.Status != app.StatusError {
		if record, err = c.refreshed(record); err != nil {
			return err
		}
	}
	return c.envelopeOf(&record)
}

// refreshed asks the Read hook for the present state and stores what changed. A
// resource that is being worked on is answered as stored.
func (c *call) refreshed(record resourceRecord) (resourceRecord, error) {
	if c.p.cfg.Hooks.Read == nil {
		return record, nil
	}
	lock := lockResource(record.ID)
	if _, free := c.p.locks.try(lock); !free {
		return record, nil
	}
	defer c.p.locks.release(lock)
	record, _, err := c.p.resource(c.ctx, c.account.ID, record.ID) // it may have changed before we held it
	if err != nil {
		return record, err
	}
	before, _ := json.Marshal(record)
	resource, err := c.handed(&record)
	if err != nil {
		return record, err
	}
	out, err := c.p.cfg.Hooks.Read(c.ctx, resource)
	removing := record.Status == app.StatusPendingRemoval
	switch {
	case errors.Is(err, ErrGone) && removing:
		record.Status, record.RemovedAt, record.Access = app.StatusRemoved, c.p.cfg.Now(), nil
	case errors.Is(err, ErrGone):
		return record, Errorf(app.CodeNotFound, "the resource has vanished")
	case err != nil:
		return record, err
	case removing:
		record.RetryAfter = out.RetryAfter
	default:
		if out.ExpiresAt.IsZero() && out.PreviousValidUntil.IsZero() { // reading changes neither
			out.ExpiresAt, out.PreviousValidUntil = record.ExpiresAt, record.PreviousValidUntil
		}
		if err := c.p.settle(&record, out); err != nil {
			return record, err
		}
	}
	if after, _ := json.Marshal(record); bytes.Equal(before, after) {
		return record, nil
	}
	return record, c.p.save(c.ctx, &record)
}
