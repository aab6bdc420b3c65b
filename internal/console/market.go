package console

import (
	"net/url"

	"github.com/purser-dev/purser"
)

// catalog searches what can be bought. Nothing is bought here.
func (c *Console) catalog(v *visit) (page, error) {
	in := purser.Search{Words: v.query("words"), MaxMonthly: v.query("max_monthly"), Category: v.query("category"), Page: purser.Page{Cursor: v.query("cursor"), Limit: 30}}
	found, err := do[purser.List[purser.Service]](v, "search", in)
	if err != nil {
		return page{}, err
	}
	next := ""
	if found.NextCursor != "" {
		next = "/catalog?" + url.Values{"words": {in.Words}, "max_monthly": {in.MaxMonthly}, "category": {in.Category}, "cursor": {found.NextCursor}}.Encode()
	}
	return page{title: "Catalog", parts: []part{
		{id: "search", label: "Search", body: searchPart(in)},
		{id: "found", label: "Services", body: servicesPart(in, found.Items)},
		{id: "older", body: more(next)},
	}}, nil
}

// providers lists who sells.
func (c *Console) providers(v *visit) (page, error) {
	list, err := do[purser.List[purser.ProviderInfo]](v, "list_providers", purser.None{})
	if err != nil {
		return page{}, err
	}
	return page{title: "Providers", parts: []part{
		{id: "providers", live: true, label: "Providers", body: providersPart(v, list.Items)},
		{id: "new", body: newProvider(v)},
	}}, nil
}

// provider is one seller, with the result of its last conformance run.
func (c *Console) provider(v *visit) (page, error) {
	p, err := do[purser.ProviderInfo](v, "show_provider", purser.ProviderRef{Provider: v.r.PathValue("provider")})
	if err != nil {
		return page{}, err
	}
	return page{title: p.Name, above: "Providers", abovePath: "/providers", side: stopForm(v, "provider", p.Name, "this provider"), parts: []part{
		{id: "provider", live: true, label: "The provider", body: providerPart(v, p)},
		{id: "conformance", body: conformancePart(v, p)},
	}}, nil
}
