package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/purser-dev/purser"
)

// err is one error for all faults. The text shows no secret: values of
// `database` are never quoted.
func (f faults) err() error {
	if len(f) == 1 {
		return purser.Errorf(purser.InvalidRequest, "the configuration has a fault: %s", f[0]).WithHint("%s", hint)
	}
	return purser.Errorf(purser.InvalidRequest, "the configuration has %d faults:\n  %s", len(f), strings.Join(f, "\n  ")).WithHint("%s", hint)
}

const hint = "docs/purser.example.yaml lists every setting"

// complete derives what was left open from what was said.
func (c *Config) complete(environ []string, f *faults) {
	home := variable(environ, "HOME")
	if c.Dir == "" {
		c.Dir = dataFolder(environ, home)
	}
	if c.Dir == "" {
		f.add("default", "dir: neither HOME nor XDG_DATA_HOME is set, so there is no default")
		return
	}
	c.Dir = absolute(c.Dir, home, f)
	for _, p := range []struct {
		path *string
		name string
	}{{&c.KeyFile, "key"}, {&c.Cloud.Dir, "cloud"}} {
		if *p.path == "" {
			*p.path = filepath.Join(c.Dir, p.name)
		}
		*p.path = absolute(*p.path, home, f)
	}
	c.Audit.Witness.complete(home, f)
	c.Notices.complete(home, f)
	c.OIDC.complete(home, f)
	if file, ok := c.Database.file(); ok {
		if file == "" {
			file = filepath.Join(c.Dir, "purser.db")
		}
		c.Database = Database(sqlite + ":" + absolute(file, home, f))
	}
	if _, port, err := net.SplitHostPort(c.Listen); c.PublicURL == "" && err == nil && port != "0" {
		c.PublicURL = "http://localhost:" + port
	}
	c.PublicURL = strings.TrimSuffix(c.PublicURL, "/")
}

// dataFolder follows the XDG base directory specification, which ignores a
// relative XDG_DATA_HOME.
func dataFolder(environ []string, home string) string {
	if x := variable(environ, "XDG_DATA_HOME"); filepath.IsAbs(x) {
		return filepath.Join(x, "purser")
	}
	if home == "" {
		return ""
	}
	return filepath.Join(home, ".local", "share", "purser")
}

// absolute makes a path that does not depend on where the server is started
// from; ~/ is the home folder, also where no shell has replaced it.
func absolute(path, home string, f *faults) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok && home != "" {
		path = filepath.Join(home, rest)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		f.add("default", "%s has no absolute path: %v", path, err)
	}
	return abs
}

func variable(environ []string, name string) string {
	for _, e := range slices.Backward(environ) { // the last one counts, as in os/exec
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value
		}
	}
	return ""
}

// check finds what is wrong with values that can each be read.
func (c *Config) check(f *faults) {
	c.checkAddresses(f)
	c.checkURLs(f)
	c.checkLimits(f)
	c.Audit.Witness.check(f)
	c.Notices.check(f)
	c.OIDC.check(f)
	if err := c.Database.check(); err != nil {
		f.add("settings", "database: %v", err)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		f.add("settings", "log.format: %q is not text or json", c.Log.Format)
	}
	for _, h := range c.AllowedHosts {
		if h == "" || strings.ContainsAny(h, "/:*@ ") {
			f.add("settings", "allowed_hosts: %q is not a host name (no scheme, port or *)", h)
		}
	}
}

type address struct{ key, at string }

func (c *Config) addresses() []address {
	all := []address{{"listen", c.Listen}}
	if c.Cloud.Enabled {
		all = append(all, address{"cloud.api", c.Cloud.API}, address{"cloud.https", c.Cloud.HTTPS},
			address{"cloud.http", c.Cloud.HTTP}, address{"cloud.dns", c.Cloud.DNS}, address{"cloud.smtp", c.Cloud.SMTP})
	}
	return all
}

func (c *Config) checkAddresses(f *faults) {
	taken := map[string]string{}
	for _, a := range c.addresses() {
		host, port, err := net.SplitHostPort(a.at)
		n, perr := strconv.ParseUint(port, 10, 16)
		switch {
		case err != nil || perr != nil:
			f.add("settings", "%s: %q is not an address like 127.0.0.1:7627", a.key, a.at)
			continue
		case a.key != "listen" && !loopback(host):
			f.add("settings", "%s: %q is not a loopback address; the local cloud is for this machine only", a.key, a.at)
		}
		if other, ok := taken[a.at]; ok && n != 0 {
			f.add("settings", "%s and %s are both %s", other, a.key, a.at)
		}
		taken[a.at] = a.key
	}
}

func (c *Config) checkURLs(f *faults) {
	if c.PublicURL != "" { // empty only while the port is not known
		u, err := url.Parse(c.PublicURL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
			f.add("settings", "public_url: %q is not like https://purser.example.org (scheme, host, port if any)", c.PublicURL)
		}
	}
	if c.Tracing.Endpoint != "" {
		u, err := url.Parse(c.Tracing.Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
			f.add("settings", "tracing.endpoint: it is not a URL like http://127.0.0.1:4318/v1/traces")
		}
	}
}

func (c *Config) checkLimits(f *faults) {
	d := c.Defaults
	if d.RunBudget.Amount == 0 || d.ProviderMonth.Amount == 0 {
		f.add("settings", "defaults: a budget of nothing buys nothing; run_budget and provider_month must be above 0")
	}
	if d.Threshold.Currency != d.RunBudget.Currency || d.ProviderMonth.Currency != d.RunBudget.Currency {
		f.add("settings", "defaults: run_budget, threshold and provider_month must be in one currency, not %s, %s and %s",
			d.RunBudget.Currency, d.Threshold.Currency, d.ProviderMonth.Currency)
	}
	if c.Approval.SignTTL > c.Approval.RequestTTL {
		f.add("settings", "approval.sign_ttl (%v) is longer than approval.request_ttl (%v)", c.Approval.SignTTL, c.Approval.RequestTTL)
	}
	if c.Stop.Deadline > time.Minute {
		f.add("settings", "stop.deadline: %v is longer than 1m; whoever stops waits for the answer", c.Stop.Deadline)
	}
}

// Hosts are the names that a request's Host header may carry: a guard against
// DNS rebinding. They are without a port.
func (c *Config) Hosts() []string {
	hosts := append([]string{"localhost", "127.0.0.1", "::1"}, c.AllowedHosts...)
	if u, err := url.Parse(c.PublicURL); err == nil && u.Hostname() != "" {
		hosts = append(hosts, u.Hostname())
	}
	if host, _, err := net.SplitHostPort(c.Listen); err == nil && host != "" {
		if a, err := netip.ParseAddr(host); err != nil || !a.IsUnspecified() {
			hosts = append(hosts, host)
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// warnings look at the files too: a secret that others can read is none.
func (c *Config) warnings(file string) []string {
	var all []string
	warn := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if open(c.KeyFile) {
		warn("key_file %s can be read by others; chmod 600 it", c.KeyFile)
	}
	if open(c.Dir) {
		warn("dir %s can be read by others; chmod 700 it", c.Dir)
	}
	if c.Database.hasPassword() && file != "" && open(file) {
		warn("%s can be read by others; if the database's password is in it, chmod 600 it", file)
	}
	for _, s := range []struct {
		key   string
		value Secret
		path  string
	}{
		{"notices.smtp.password", c.Notices.SMTP.Password, c.Notices.SMTP.PasswordFile},
		{"notices.webhook.secret", c.Notices.Webhook.Secret, c.Notices.Webhook.SecretFile},
	} {
		if s.path != "" && open(s.path) {
			warn("%s_file %s can be read by others; chmod 600 it", s.key, s.path)
		}
	}
	all = append(all, c.Notices.warnings()...)
	if u, err := url.Parse(c.PublicURL); err == nil && u.Hostname() != "" {
		if _, err := netip.ParseAddr(u.Hostname()); err == nil {
			warn("public_url %s has an IP address; passkeys need a name", c.PublicURL)
		} else if u.Scheme == "http" && u.Hostname() != "localhost" {
			warn("public_url %s is not https; passkeys and passwords need it beyond this machine", c.PublicURL)
		}
	}
	if host, _, err := net.SplitHostPort(c.Listen); err == nil && !loopback(host) && !strings.HasPrefix(c.PublicURL, "https:") {
		warn("listen %s is open to other machines without TLS; set public_url to https and put a proxy in front", c.Listen)
	}
	return all
}

func open(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o077 != 0
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}
