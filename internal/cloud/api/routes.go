package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/purser-dev/purser/internal/cloud/state"
)

type object map[string]any

const (
	accounts = "/client/v4/accounts/{account}"
	scripts  = accounts + "/workers/scripts/{script}"
	services = accounts + "/workers/services/{script}"
)

// routes is the table of what clients ask (local-cloud.md section 4).
func (a *API) routes() {
	a.route("GET /client/v4/user/tokens/verify", a.verify)
	a.route("GET "+accounts+"/tokens/verify", a.verify)
	a.route("GET /client/v4/user", a.user)
	a.route("GET /client/v4/accounts", a.accounts)
	a.route("GET /client/v4/memberships", a.memberships)
	a.route("GET /client/v4/zones", a.zones)
	a.route("GET /client/v4/zones/{zone}/workers/routes", empty)

	a.route("GET /client/v4/zones/{zone}/dns_records", a.records)
	a.route("POST /client/v4/zones/{zone}/dns_records", a.postRecord)
	a.route("DELETE /client/v4/zones/{zone}/dns_records/{record}", a.deleteRecord)

	a.route("GET "+accounts+"/workers/subdomain", a.accountSubdomain)
	a.route("GET "+accounts+"/workers/workers/{script}", a.worker)
	a.route("GET "+services, a.service)
	a.route("DELETE "+services, a.deleteService)
	a.route("GET "+accounts+"/workers/durable_objects/namespaces", empty)
	a.route("GET "+accounts+"/storage/kv/namespaces", empty)

	a.route("POST "+scripts+"/assets-upload-session", a.openSession)
	a.mux.HandleFunc("POST "+accounts+"/workers/assets/upload", a.upload) // its own token
	a.route("PUT "+scripts, a.putScript)
	a.route("POST "+scripts+"/versions", a.postVersion)
	a.route("GET "+scripts+"/versions", a.versions)
	a.route("GET "+scripts+"/versions/{version}", a.version)
	a.route("GET "+scripts+"/deployments", a.deployments)
	a.route("POST "+scripts+"/deployments", a.postDeployment)
	a.route("GET "+scripts+"/settings", a.settings)
	a.route("PATCH "+scripts+"/script-settings", a.settings)
	a.route("GET "+scripts+"/secrets", a.secrets)
	a.route("GET "+scripts+"/subdomain", a.subdomain)
	a.route("POST "+scripts+"/subdomain", a.postSubdomain)

	a.route("POST "+scripts+"/domains/changeset", a.changeset)
	a.route("PUT "+scripts+"/domains/records", a.putDomains)
	a.route("GET "+accounts+"/workers/domains", a.domains)
	a.route("DELETE "+accounts+"/workers/domains/{domain}", a.deleteDomain)

	a.mux.HandleFunc("/", a.unknown)
}

// unknown signals a client that has changed, so it is logged.
func (a *API) unknown(w http.ResponseWriter, r *http.Request) {
	a.o.Log.WarnContext(r.Context(), "unknown route of the deploy API", "method", r.Method, "path", r.URL.Path)
	a.reply(w, r, 0, nil, fail(http.StatusNotFound, CodeUnknownRoute, "Could not route to %.200s, perhaps your object identifier is invalid?", r.URL.Path))
}

func empty(call) (any, error) { return []any{}, nil }

func (a *API) verify(c call) (any, error) {
	return object{"id": c.grant.TokenID, "status": "active"}, nil
}

func (a *API) user(c call) (any, error) {
	return object{"id": c.grant.Account, "email": c.grant.Account[:8] + "@purser.test"}, nil
}

func (a *API) account(c call) (object, error) {
	account, err := a.o.Store.Account(c.Context(), c.grant.Account)
	return object{"id": account.ID, "name": account.Name, "type": "standard"}, err
}

func (a *API) accounts(c call) (any, error) {
	account, err := a.account(c)
	return []any{account}, err
}

func (a *API) memberships(c call) (any, error) {
	account, err := a.account(c)
	return []any{object{"id": c.grant.TokenID, "status": "accepted", "account": account}}, err
}

func (a *API) zones(c call) (any, error) {
	zones, err := a.o.Store.Zones(c.Context(), c.grant.Account)
	list := []any{}
	for _, z := range zones {
		wanted := strings.ToLower(c.URL.Query().Get("name"))
		if (wanted == "" || wanted == z.Name) && (c.grant.Zone == "" || c.grant.Zone == z.ID) {
			list = append(list, object{"id": z.ID, "name": z.Name, "status": "active", "account": object{"id": z.Account}})
		}
	}
	return list, err
}

func (a *API) accountSubdomain(c call) (any, error) {
	account, err := a.o.Store.Account(c.Context(), c.grant.Account)
	return object{"subdomain": account.Subdomain}, err
}

// serviceMissing gives the "first deploy" answer the services routes have.
func serviceMissing(err error) error {
	if errors.Is(err, state.ErrNotFound) {
		return fail(http.StatusNotFound, CodeServiceNotFound, "workers.api.error.service_not_found")
	}
	return err
}

func (a *API) app(c call) (state.App, error) {
	return a.o.Store.App(c.Context(), c.grant.Account, c.script)
}

func (a *API) service(c call) (any, error) {
	app, err := a.app(c)
	if err != nil {
		return nil, serviceMissing(err)
	}
	script := object{
		"id": app.Name, "tag": app.Tag, "tags": []any{}, "last_deployed_from": "wrangler",
		"created_on": stamp(app.Created), "modified_on": stamp(app.Modified),
	}
	return object{"id": app.Name, "default_environment": object{"environment": "production", "script": script}}, nil
}

func (a *API) deleteService(c call) (any, error) {
	return nil, serviceMissing(a.o.Store.RemoveApp(c.Context(), c.grant.Account, c.script))
}

func (a *API) worker(c call) (any, error) {
	app, err := a.app(c)
	if err != nil {
		return nil, err
	}
	account, err := a.o.Store.Account(c.Context(), c.grant.Account)
	url := "https://" + app.Name + "." + account.SubdomainZone()
	return object{"id": app.Tag, "name": app.Name, "subdomain": object{"enabled": app.Subdomain, "previews_enabled": false, "url": url}}, err
}

func (a *API) settings(c call) (any, error) {
	_, err := a.app(c)
	return object{"bindings": []any{}, "tags": []any{}}, err
}

func (a *API) secrets(c call) (any, error) {
	_, err := a.app(c)
	return []any{}, err
}

func (a *API) subdomain(c call) (any, error) {
	app, err := a.app(c)
	return object{"enabled": app.Subdomain, "previews_enabled": false}, err
}

func (a *API) postSubdomain(c call) (any, error) {
	var in struct {
		Enabled bool `json:"enabled"`
	}
	if err := decode(c.Request, 1<<16, &in); err != nil {
		return nil, err
	}
	err := a.o.Store.SetSubdomain(c.Context(), c.grant.Account, c.script, in.Enabled)
	return object{"enabled": in.Enabled, "previews_enabled": false}, err
}
