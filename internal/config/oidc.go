package config

import (
	"net/url"
	"os"
	"strings"

	"github.com/purser-dev/purser"
)

// OIDC is an upstream issuer through which people may sign in.
type OIDC struct {
	Issuer           string   `key:"issuer" help:"Issuer through which people may sign in: https://login.example.org. Empty: none."`
	Name             string   `key:"name" help:"What the button to sign in says. Default: the host of issuer."`
	ClientID         string   `key:"client_id" help:"Name of this server at the issuer; the redirect address there is public_url/sign-in/issuer/callback."`
	ClientSecret     Secret   `key:"client_secret" help:"Its secret there. Better in a file. Empty: a public client."`
	ClientSecretFile string   `key:"client_secret_file" help:"File that holds client_secret."`
	AllowedDomains   []string `key:"allowed_domains" help:"Domains of e-mail addresses that may sign in. Empty: only people who are here already."`
	Provision        string   `key:"provision" default:"none" help:"Who becomes a person by signing in: none, groups (members of a group in roles) or all (of allowed_domains; viewers, or as roles say)."`
	GroupsClaim      string   `key:"groups_claim" default:"groups" help:"The claim of the ID token that lists a person's groups."`
	Roles            []string `key:"roles" help:"What groups give: staff=viewer, finance=approver. No group makes an owner."`
}

// complete reads the secret that is kept in a file of its own.
func (o *OIDC) complete(home string, f *faults) {
	if u, err := url.Parse(o.Issuer); o.Name == "" && err == nil {
		o.Name = u.Host
	}
	if o.ClientSecretFile == "" {
		return
	}
	if o.ClientSecret != "" {
		f.add("settings", "oidc.client_secret and oidc.client_secret_file are both set; one is enough")
		return
	}
	o.ClientSecretFile = absolute(o.ClientSecretFile, home, f)
	text, err := os.ReadFile(o.ClientSecretFile)
	if o.ClientSecret = Secret(strings.TrimRight(string(text), "\r\n")); err != nil || o.ClientSecret == "" {
		f.add("settings", "oidc.client_secret_file: %s cannot be read, or is empty", o.ClientSecretFile)
	}
}

// GroupRoles is Roles by group.
func (o *OIDC) GroupRoles() map[string]purser.Role {
	all := map[string]purser.Role{}
	for _, line := range o.Roles {
		group, role, _ := strings.Cut(line, "=")
		all[strings.TrimSpace(group)] = purser.Role(strings.TrimSpace(role))
	}
	return all
}

// check refuses what would let strangers in, or nobody.
func (o *OIDC) check(f *faults) {
	if o.Issuer == "" {
		if o.ClientID != "" || o.ClientSecret != "" || len(o.Roles) > 0 || o.Provision != "none" {
			f.add("settings", "oidc: issuer is not set, so nobody signs in through it")
		}
		return
	}
	u, err := url.Parse(o.Issuer)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())) {
		f.add("settings", "oidc.issuer: it is not an address like https://login.example.org")
	}
	if o.ClientID == "" {
		f.add("settings", "oidc.client_id: the issuer knows this server by it")
	}
	for group, role := range o.GroupRoles() {
		if group == "" || role != purser.Approver && role != purser.Viewer {
			f.add("settings", "oidc.roles: %q gives %q; a group gives viewer or approver", group, role)
		}
	}
	switch {
	case o.Provision != "none" && o.Provision != "groups" && o.Provision != "all":
		f.add("settings", "oidc.provision: %q is not none, groups or all", o.Provision)
	case o.Provision != "none" && len(o.AllowedDomains) == 0:
		f.add("settings", "oidc.provision: without allowed_domains anybody whom the issuer knows could come in")
	case o.Provision == "groups" && len(o.Roles) == 0:
		f.add("settings", "oidc.provision: groups, and roles names none")
	}
	for _, d := range o.AllowedDomains {
		if d == "" || strings.ContainsAny(d, "@*/: ") {
			f.add("settings", "oidc.allowed_domains: %q is not a domain like example.org", d)
		}
	}
}
