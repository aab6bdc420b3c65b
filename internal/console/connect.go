package console

import (
	"net/url"
	"strings"

	"github.com/purser-dev/purser"
)

// asked is what a client asks for, and what it can be given.
type asked struct {
	purser.Authorization
	scopes    []string // as asked, and less of it
	projects  []purser.Project
	providers []purser.ProviderInfo
	currency  string
}

// lives are how long a run can be made for on the page.
var lives = []struct{ value, text string }{
	{"1h", "1 hour"}, {"2h", "2 hours"}, {"8h", "8 hours"}, {"24h", "1 day"}, {"168h", "7 days"}, {"720h", "30 days"},
}

// connect is the page on which a person connects a client, or does not.
func (c *Console) connect(v *visit) (page, error) {
	a, err := do[purser.Authorization](v, "show_authorization", purser.AuthorizationRef{Authorization: v.r.PathValue("authorization")})
	if err != nil {
		return page{}, err
	}
	p := asked{Authorization: a, scopes: []string{a.Scope}, currency: "USD"}
	if a.Scope != "read" && strings.Contains(a.Scope, "read") {
		p.scopes = append(p.scopes, "read")
	}
	projects, err := do[purser.List[purser.Project]](v, "list_projects", purser.Page{Limit: 200})
	if err != nil {
		return page{}, err
	}
	p.projects = projects.Items
	providers, err := do[purser.List[purser.ProviderInfo]](v, "list_providers", purser.None{})
	if err != nil {
		return page{}, err
	}
	p.providers = providers.Items
	if given := v.r.URL.Query().Get("currency"); purser.ValidCurrency(given) {
		p.currency = given
	}
	title := "Connect a program?"
	if a.State != "waiting" {
		title = "This request is over"
	}
	return page{title: title, parts: []part{{id: "asked", body: askedPart(v, p)}, {id: "grant", body: grantPart(v, p)}}}, nil
}

// host is where an address leads, without what else is in it.
func host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	if u.Host == "" {
		return u.Scheme + ":"
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return u.Scheme + "://" + u.Host
	}
	return u.Host
}

// exponent is how many decimals an amount has on the page.
func exponent(currency string) string {
	text := purser.Money{Amount: 0, Currency: currency}.String()
	number, _, _ := strings.Cut(text, " ")
	_, decimals, _ := strings.Cut(number, ".")
	return string(rune('0' + len(decimals)))
}

// device is the page on which a person signs in a device by its code.
func (c *Console) device(v *visit) (page, error) {
	code := v.r.URL.Query().Get("code")
	if code == "" {
		return page{title: "Sign in a device", parts: []part{{id: "device", body: codeForm()}}}, nil
	}
	d, err := do[purser.Device](v, "show_device", purser.DeviceRef{Code: code})
	if err != nil {
		return page{}, err
	}
	return page{title: "Sign in a device", parts: []part{{id: "device", body: devicePart(v, d)}}}, nil
}
