package shop

import (
	"encoding/json"

	"github.com/purser-dev/purser/app"
)

// The services (local-cloud.md 1). What needs a runtime that is not here yet
// (Workers, Postgres) is not listed.
const (
	HostingStatic   = "hosting:static"
	HostingPro      = "hosting:pro"
	RegistrarDomain = "registrar:domain"
	DNSZone         = "dns:zone"
	TLSCertificate  = "tls:certificate"
	MailInbox       = "mail:inbox"
)

// The names under which values are handed over.
const (
	KeyAPIBase   = "CLOUDFLARE_API_BASE_URL"
	KeyAccountID = "CLOUDFLARE_ACCOUNT_ID"
	KeyAPIToken  = "CLOUDFLARE_API_TOKEN"
	KeyMailKey   = "AGENTMAIL_API_KEY"
	KeyMailURL   = "AGENTMAIL_BASE_URL"
	KeyAddress   = "address"
	KeyDomain    = "domain"
	KeyZoneID    = "zone_id"
	KeyServers   = "name_servers"
	KeyZoneToken = "zone_token"
	KeyZoneAPI   = "zone_api_base_url"
	KeyChain     = "certificate_chain"
	KeyRootPEM   = "root_pem"
)

const (
	proPrice    = 500 // minor units a month
	proCurrency = "USD"
)

func services() []app.CatalogService {
	free := app.Pricing{Type: app.PriceFree}
	cloudflare := same(KeyAPIBase, KeyAccountID, KeyAPIToken)
	return []app.CatalogService{
		{
			ID: HostingStatic, Kind: app.KindDeployable, Pricing: free, XEnv: cloudflare, Categories: []string{"compute", "cdn"},
			Description:         "Static files over HTTPS, deployed through a Cloudflare-shaped API. Free, also as part of hosting:pro.",
			ConfigurationSchema: closed(nil),
		},
		{
			ID: HostingPro, Kind: app.KindPlan, Scope: app.ScopeAccount, Categories: []string{"compute"},
			Description: "The paid hosting plan, billed each month in advance.", ConfigurationSchema: closed(nil),
			Constraints: &app.Constraints{Count: &app.CountConstraint{AtMost: 1}},
			Pricing: paid("$5.00 per month", &app.Price{
				Currency: proCurrency, AmountMinor: proPrice, Interval: "month",
			}),
		},
		{
			ID: RegistrarDomain, Kind: app.KindDeployable, Categories: []string{"domains"},
			Description: "One exact domain name, registered for whole years. Final. The price is that of a quote for the name.",
			Pricing:     paid("Priced by quote for the exact name: the first term once, then a renewal each year if auto_renew is on", nil),
			ConfigurationSchema: closed([]string{"domain"},
				property{"domain", app.Property{Type: "string", Description: "the exact name, such as superseal.club", MinLength: length(3), MaxLength: length(253)}},
				property{"years", app.Property{Type: "integer", Description: "length of the first term; absent: the shortest", Minimum: "1", Maximum: "10"}},
				property{"auto_renew", app.Property{Type: "boolean", Description: "renew each year", Default: false}},
				property{"tier", app.Property{Type: "string", Description: "premium names must be asked for as such", Enum: []any{"standard", "premium"}, Default: "standard"}}),
		},
		{
			ID: DNSZone, Kind: app.KindDeployable, Pricing: free, Categories: []string{"domains"},
			Description: "A DNS zone at or below a name that this account registered, or below .test, with a token for it.",
			ConfigurationSchema: closed([]string{"domain"},
				property{"domain", app.Property{Type: "string", Description: "name of the zone", MinLength: length(3), MaxLength: length(253)}}),
		},
		{
			ID: TLSCertificate, Kind: app.KindDeployable, Pricing: free, Categories: []string{"domains"},
			Description: "A certificate of the local authority for a name in a zone of this account. The edge serves it; renewed in time.",
			ConfigurationSchema: closed([]string{"domain"},
				property{"domain", app.Property{Type: "string", Description: "the name to certify", MinLength: length(3), MaxLength: length(253)}}),
		},
		{
			ID: MailInbox, Kind: app.KindDeployable, Pricing: free, Categories: []string{"email", "communications"},
			Description: "A mailbox that takes mail over SMTP and is read over an AgentMail-shaped API.",
			XEnv:        same(KeyMailKey, KeyMailURL),
			ConfigurationSchema: closed(nil,
				property{"username", app.Property{Type: "string", Description: "before the @; absent: chosen", MaxLength: length(64)}},
				property{"domain", app.Property{Type: "string", Description: "a domain of this account; absent: the office's own", MaxLength: length(253)}},
				property{"display_name", app.Property{Type: "string", Description: "shown as sender", MaxLength: length(100)}}),
		},
	}
}

type property struct {
	name string
	app.Property
}

// closed is a schema that refuses keys it does not name.
func closed(required []string, properties ...property) *app.Schema {
	more := false
	s := &app.Schema{Type: "object", Properties: map[string]app.Property{}, Required: required, AdditionalProperties: &more}
	for _, p := range properties {
		s.Properties[p.name] = p.Property
	}
	return s
}

func paid(text string, price *app.Price) app.Pricing {
	return app.Pricing{Type: app.PricePaid, Paid: app.Tiers{{Type: app.PriceFreeform, Freeform: text, IsDefault: true, XPrice: price}}}
}

// same keeps the variable names that the vendors' own tools read.
func same(keys ...string) map[string]string {
	names := map[string]string{}
	for _, k := range keys {
		names[k] = k
	}
	return names
}

func length(n int) *int { return &n }

// text, number and flag read a configuration that was checked against its schema.
func text(configuration map[string]any, key string) string {
	s, _ := configuration[key].(string)
	return s
}

func flag(configuration map[string]any, key string) bool {
	b, _ := configuration[key].(bool)
	return b
}

func number(configuration map[string]any, key string) int {
	switch n := configuration[key].(type) {
	case json.Number:
		i, _ := n.Int64()
		return int(i)
	case float64:
		return int(n)
	case int64:
		return int(n)
	case int:
		return n
	}
	return 0
}
