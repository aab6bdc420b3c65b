package provider

import (
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/purser-dev/purser/app"
)

// pageSize is the number of resources of one page.
const pageSize = 50

// list answers resources:find (19): one by the orchestrator's id, or all, paged,
// removed ones for 30 days. It never shows a secret.
func (c *call) list() error {
	if err := c.proofs(); err != nil {
		return err
	}
	if !c.p.cfg.Manifest.Can(app.CapFind) {
		return Errorf(app.CodeNotFound, "no such path")
	}
	query := c.r.URL.Query()
	if query.Has("orchestrator_resource_id") {
		return c.lookUp(query.Get("orchestrator_resource_id"))
	}
	after, err := c.after(query.Get("cursor"))
	if err != nil {
		return err
	}
	records, next, err := c.p.page(c.ctx, c.account.ID, after, pageSize)
	if err != nil {
		return err
	}
	page := app.ResourcePage{Data: []app.Resource{}}
	if next != "" {
		page.NextCursor = base64.RawURLEncoding.EncodeToString([]byte(strings.TrimPrefix(next, prefixResources(c.account.ID))))
	}
	for _, record := range records {
		if page.Data, err = c.listed(page.Data, record); err != nil {
			return err
		}
	}
	return c.answer(http.StatusOK, page)
}

func (c *call) after(cursor string) (string, error) {
	if cursor == "" {
		return "", nil
	}
	id, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || !validID(string(id)) {
		return "", Errorf(app.CodeInvalidRequest, "cursor is not one of ours")
	}
	return keyResource(c.account.ID, string(id)), nil
}

func (c *call) lookUp(orchestratorResourceID string) error {
	page := app.ResourcePage{Data: []app.Resource{}}
	var record resourceRecord
	found := false
	err := c.p.cfg.Store.View(c.ctx, func(tx Tx) error {
		var p pointer
		ok, err := get(tx, keyOrchestratorResource(c.tenant(), orchestratorResourceID), &p)
		if err != nil || !ok {
			return err
		}
		found, err = get(tx, keyResource(c.account.ID, p.ID), &record)
		return err
	})
	if err != nil {
		return err
	}
	if found {
		if page.Data, err = c.listed(page.Data, record); err != nil {
			return err
		}
	}
	return c.answer(http.StatusOK, page)
}

func (c *call) listed(data []app.Resource, record resourceRecord) ([]app.Resource, error) {
	if record.Orchestrator != c.orch.Name {
		return data, nil
	}
	if record.Status == app.StatusRemoved && c.p.cfg.Now().Sub(record.RemovedAt) >= tombstone {
		return data, nil
	}
	out, err := c.wire(&record, false)
	out.OrchestratorResourceID = record.OrchestratorResourceID
	return append(data, out), err
}
