package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/purser-dev/purser/internal/cloud/state"
)

func (a *API) author(c call) string { return c.grant.Account[:8] + "@purser.test" }

func (a *API) versionObject(c call, v state.Version) object {
	annotations := object{"workers/triggered_by": "upload"}
	if v.Tag != "" {
		annotations["workers/tag"] = v.Tag
	}
	if v.Message != "" {
		annotations["workers/message"] = v.Message
	}
	return object{
		"id": v.ID, "number": v.Number, "annotations": annotations,
		"metadata": object{
			"source": "api", "author_email": a.author(c), "has_preview": false,
			"created_on": stamp(v.Created), "modified_on": stamp(v.Created),
		},
		"resources": object{"bindings": []any{}, "script": object{"etag": v.Digest[:32]}, "script_runtime": object{}},
	}
}

func (a *API) version(c call) (any, error) {
	v, err := a.o.Store.Version(c.Context(), c.grant.Account, c.script, c.PathValue("version"))
	if err != nil {
		return nil, err
	}
	return a.versionObject(c, v), nil
}

func (a *API) versions(c call) (any, error) {
	if _, err := a.app(c); err != nil {
		return nil, err
	}
	versions, err := a.o.Store.Versions(c.Context(), c.grant.Account, c.script)
	items := []any{}
	for _, v := range versions {
		items = append(items, a.versionObject(c, v))
	}
	return object{"items": items}, err
}

// deployments lists newest first: clients roll back to the second.
func (a *API) deployments(c call) (any, error) {
	if _, err := a.app(c); err != nil {
		return nil, err
	}
	deployments, err := a.o.Store.Deployments(c.Context(), c.grant.Account, c.script)
	list := []any{}
	for _, d := range deployments {
		entry := object{
			"id": d.ID, "source": "api", "strategy": "percentage", "author_email": a.author(c), "created_on": stamp(d.Created),
			"versions": []any{object{"version_id": d.Version, "percentage": 100}},
		}
		if d.Message != "" {
			entry["annotations"] = object{"workers/message": d.Message}
		}
		list = append(list, entry)
	}
	return object{"deployments": list}, err
}

func (a *API) postDeployment(c call) (any, error) {
	var in struct {
		Versions []struct {
			ID         string  `json:"version_id"`
			Percentage float64 `json:"percentage"`
		} `json:"versions"`
		Annotations map[string]string `json:"annotations"`
	}
	if err := decode(c.Request, 1<<20, &in); err != nil {
		return nil, err
	}
	if len(in.Versions) != 1 || in.Versions[0].Percentage != 100 {
		return nil, fail(http.StatusBadRequest, CodeBadRequest, "a deployment has one version at 100 percent: gradual deployments are not supported")
	}
	id, err := a.o.Store.Activate(c.Context(), c.grant, c.script, in.Versions[0].ID, in.Annotations["workers/message"])
	return object{"id": id}, err
}

type origin struct {
	Hostname string `json:"hostname"`
}

func domainObject(d state.Domain) object {
	return object{
		"id": d.ID, "hostname": d.Hostname, "service": d.App, "environment": "production",
		"zone_id": d.Zone, "zone_name": d.ZoneName, "enabled": true, "previews_enabled": false,
	}
}

// changeset says what putDomains would do.
func (a *API) changeset(c call) (any, error) {
	var origins []origin
	if err := decode(c.Request, 1<<20, &origins); err != nil {
		return nil, err
	}
	if _, err := a.app(c); err != nil {
		return nil, err
	}
	added, conflicting := []any{}, []any{}
	for _, o := range origins {
		host := strings.ToLower(o.Hostname)
		err := a.o.Store.Claim(c.Context(), c.grant, c.script, host)
		var taken *state.TakenError
		switch {
		case errors.As(err, &taken):
			conflicting = append(conflicting, object{"hostname": host, "external_dns_record_id": "", "message": taken.Error()})
			continue
		case err != nil:
			return nil, zoneMissing(err, host)
		}
		if _, err := a.o.Store.DomainByHost(c.Context(), c.grant.Account, host); errors.Is(err, state.ErrNotFound) {
			added = append(added, object{"id": "", "hostname": host})
		}
	}
	return object{"added": added, "removed": []any{}, "updated": []any{}, "conflicting": conflicting}, nil
}

// putDomains attaches hostnames to a script. It only ever adds: hostnames leave by
// DELETE. The client's override flags are no permission, since clients without a
// terminal always set them (local-cloud.md section 4.7). All hostnames are checked
// before the first is attached.
func (a *API) putDomains(c call) (any, error) {
	var in struct {
		Origins []origin `json:"origins"`
	}
	if err := decode(c.Request, 1<<20, &in); err != nil {
		return nil, err
	}
	if _, err := a.app(c); err != nil {
		return nil, err
	}
	for _, o := range in.Origins {
		if err := a.o.Store.Claim(c.Context(), c.grant, c.script, o.Hostname); err != nil {
			return nil, zoneMissing(err, o.Hostname)
		}
	}
	list := []any{}
	for _, o := range in.Origins {
		d, err := a.o.Store.AttachDomain(c.Context(), c.grant, c.script, o.Hostname)
		if err != nil {
			return nil, zoneMissing(err, o.Hostname)
		}
		list = append(list, domainObject(d))
	}
	return list, nil
}

func zoneMissing(err error, host string) error {
	if errors.Is(err, state.ErrNotFound) {
		return fail(http.StatusBadRequest, CodeZoneNotOurs, "The zone of %.253q is not in this account.", host)
	}
	return err
}

func (a *API) domains(c call) (any, error) {
	domains, err := a.o.Store.Domains(c.Context(), c.grant.Account, c.URL.Query().Get("service"))
	wanted := strings.ToLower(c.URL.Query().Get("hostname"))
	list := []any{}
	for _, d := range domains {
		if wanted == "" || wanted == d.Hostname {
			list = append(list, domainObject(d))
		}
	}
	return list, err
}

func (a *API) deleteDomain(c call) (any, error) {
	if c.grant.Script != "" {
		domains, err := a.o.Store.Domains(c.Context(), c.grant.Account, c.grant.Script)
		if err != nil {
			return nil, err
		}
		if !holds(domains, c.PathValue("domain")) {
			return nil, fail(http.StatusForbidden, CodeUnauthorized, "Authentication error: the token is for another script")
		}
	}
	return nil, a.o.Store.DetachDomain(c.Context(), c.grant.Account, c.PathValue("domain"))
}

func holds(domains []state.Domain, id string) bool {
	for _, d := range domains {
		if d.ID == id {
			return true
		}
	}
	return false
}
