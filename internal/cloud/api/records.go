package api

import (
	"errors"
	"net/http"

	"github.com/purser-dev/purser/internal/cloud/state"
)

// ownZone is the zone of the path, if it is the account's.
func (a *API) ownZone(c call) (state.Zone, error) {
	zones, err := a.o.Store.Zones(c.Context(), c.grant.Account)
	if err != nil {
		return state.Zone{}, err
	}
	for _, z := range zones {
		if z.ID == c.PathValue("zone") {
			return z, nil
		}
	}
	return state.Zone{}, fail(http.StatusNotFound, CodeUnknownRoute, "This zone does not exist on your account.")
}

func recordObject(z state.Zone, r state.Record) object {
	return object{
		"id": r.ID, "zone_id": z.ID, "zone_name": z.Name, "name": r.Name, "type": r.Type, "content": r.Content,
		"ttl": r.TTL, "priority": r.Priority, "proxied": false, "meta": object{"managed": r.Origin == state.OriginPurser},
	}
}

func (a *API) records(c call) (any, error) {
	zone, err := a.ownZone(c)
	if err != nil {
		return nil, err
	}
	records, err := a.o.Store.Records(c.Context(), zone.ID)
	list := []any{}
	for _, r := range records {
		list = append(list, recordObject(zone, r))
	}
	return list, err
}

// postRecord adds a record of the owner's. ttl 1 means "automatic" to clients.
func (a *API) postRecord(c call) (any, error) {
	var in struct {
		Name     string `json:"name"`
		Type     string `json:"type"`
		Content  string `json:"content"`
		TTL      uint32 `json:"ttl"`
		Priority uint32 `json:"priority"`
	}
	if err := decode(c.Request, 1<<16, &in); err != nil {
		return nil, err
	}
	zone, err := a.ownZone(c)
	if err != nil {
		return nil, err
	}
	if in.TTL == 1 {
		in.TTL = 0
	}
	r, err := a.o.Store.AddRecord(c.Context(), c.grant.Account, zone.ID, state.Record{
		Name: in.Name, Type: in.Type, Content: in.Content, TTL: in.TTL, Priority: in.Priority, Origin: "owner",
	})
	if errors.Is(err, state.ErrTaken) {
		return nil, fail(http.StatusConflict, CodeRecordConflict, "%s", err.Error())
	}
	return recordObject(zone, r), err
}

func (a *API) deleteRecord(c call) (any, error) {
	id := c.PathValue("record")
	err := a.o.Store.RemoveRecord(c.Context(), c.grant.Account, c.PathValue("zone"), id)
	if errors.Is(err, state.ErrNotFound) {
		return nil, fail(http.StatusNotFound, CodeUnknownRoute, "This record does not exist in the zone.")
	}
	return object{"id": id}, err
}
