// Package config reads the settings: defaults, then a file, then the environment, then flags, and names all faults at once.
package config

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/purser-dev/purser"
)

// Config is the one struct of settings. A tag `key` names a setting in the file
// (YAML), `default` is its text there, `help` its line in the example file and
// in doctor. A setting without a default, or with an empty one, is derived from
// others, or off; its help says which.
type Config struct {
	Dir            string         `key:"dir" help:"Data folder. Default: $XDG_DATA_HOME/purser, or ~/.local/share/purser."`
	Listen         string         `key:"listen" default:"127.0.0.1:7627" help:"Address of the API, MCP and the console. Port 0 takes a free one."`
	PublicURL      string         `key:"public_url" help:"What browsers and agents call this server. Default: http://localhost:PORT. Passkeys are bound to its host."`
	AllowedHosts   []string       `key:"allowed_hosts" help:"Host names that requests may ask for, beside that of public_url and this machine's own."`
	TrustedProxies []netip.Prefix `key:"trusted_proxies" help:"Addresses of reverse proxies (10.0.0.0/8) whose X-Forwarded headers are believed."`
	Database       Database       `key:"database" default:"sqlite" help:"sqlite (a file in dir), sqlite:FILE, or postgres://USER:PASSWORD@HOST/NAME."`
	KeyFile        string         `key:"key_file" help:"The key that seals secrets at rest; keep it apart from backups. Default: key in dir."`
	Metrics        bool           `key:"metrics" default:"false" help:"Serve Prometheus metrics at /metrics."`

	Log      Log      `key:"log"`
	Tracing  Tracing  `key:"tracing"`
	Cloud    Cloud    `key:"cloud"`
	Defaults Defaults `key:"defaults"`
	Approval Approval `key:"approval"`
	Session  Session  `key:"session"`
	Retire   Retire   `key:"retire"`
	Stop     Stop     `key:"stop"`
	Clients  Clients  `key:"clients"`
	OIDC     OIDC     `key:"oidc"`
	Audit    Audit    `key:"audit"`
	Notices  Notices  `key:"notices"`

	// Warnings are not faults, but worth a line at start and in doctor.
	Warnings []string

	explained []Explained
}

// Log says how the server writes its log.
type Log struct {
	Level  slog.Level `key:"level" default:"info" help:"debug, info, warn or error."`
	Format string     `key:"format" default:"text" help:"text or json."`
}

// Tracing says where OpenTelemetry traces go.
type Tracing struct {
	Endpoint string `key:"endpoint" help:"OTLP/HTTP URL that takes traces. Empty: no traces."`
}

// Cloud is the local cloud: what it listens on and where it keeps its things.
// Its addresses are never wildcards: it sells pretended services, to this machine only.
type Cloud struct {
	Enabled bool   `key:"enabled" default:"true" help:"Start the local cloud with the server."`
	Dir     string `key:"dir" help:"Folder of the local cloud. Default: cloud in dir."`
	API     string `key:"api" default:"127.0.0.1:7700" help:"Its API and provider."`
	HTTPS   string `key:"https" default:"127.0.0.1:7743" help:"The sites it serves, over TLS."`
	HTTP    string `key:"http" default:"127.0.0.1:7780" help:"Redirects to HTTPS, and certificate challenges."`
	DNS     string `key:"dns" default:"127.0.0.1:7753" help:"Its name server, UDP and TCP."`
	SMTP    string `key:"smtp" default:"127.0.0.1:7725" help:"Its mail server."`
}

// Defaults are the limits of what is created without limits of its own. A person
// may set others; an agent may not.
type Defaults struct {
	RunBudget     purser.Money `key:"run_budget" default:"20.00 USD" help:"Budget of a run."`
	Threshold     purser.Money `key:"threshold" default:"10.00 USD" help:"A price above this needs a person."`
	ProviderMonth purser.Money `key:"provider_month" default:"100.00 USD" help:"Budget of one provider in one month."`
	OrdersPerHour int          `key:"orders_per_hour" default:"5" help:"An agent that orders faster, over all its runs, needs a person."`
}

// Approval holds the clocks of RULES 12.
type Approval struct {
	RequestTTL time.Duration `key:"request_ttl" default:"24h" help:"How long a request waits for a person."`
	SignTTL    time.Duration `key:"sign_ttl" default:"10m" help:"How long a signed approval may wait to be applied."`
}

// Session says how long a browser stays signed in. It can read, propose and reduce;
// whatever loosens a control asks for the passkey again.
type Session struct {
	Idle time.Duration `key:"idle" default:"12h" help:"A browser that was not used for so long is signed out."`
	Life time.Duration `key:"life" default:"7d" help:"A browser is signed out after so long in any case."`
}

// Retire says how long a retired resource can be restored.
type Retire struct {
	Grace time.Duration `key:"grace" default:"7d" help:"How long a retired resource can be restored before it is deleted."`
}

// Stop says how long a stop tries to revoke what is out in the world.
type Stop struct {
	Deadline time.Duration `key:"deadline" default:"10s" help:"How long each revocation of a stop may take before it counts as unknown."`
}

// Clients says which programs may ask to be connected.
type Clients struct {
	LocalDocuments bool `key:"local_documents" default:"false" help:"Read the document of a client also from this machine, over http. For trials."`
}

// Notices says by which ways people are told what happens.
type Notices struct {
	Reminder time.Duration `key:"reminder" default:"2h" help:"How long before its end a request that nobody decided is told of again."`
	Keep     time.Duration `key:"keep" default:"90d" help:"How long what was told is kept in the list. The log keeps what happened."`
	SMTP     SMTP          `key:"smtp"`
	Webhook  Webhook       `key:"webhook"`
}

// SMTP is the mail server that carries notices.
type SMTP struct {
	Host         string `key:"host" help:"Mail server that carries notices to people. Empty: no mail."`
	Port         int    `key:"port" default:"587" help:"Its port: 587 for starttls, 465 for tls."`
	TLS          string `key:"tls" default:"starttls" help:"starttls, tls, or none (this machine only)."`
	User         string `key:"user" help:"Name to sign in with. Empty: none."`
	Password     Secret `key:"password" help:"Its password; better in the environment, or in password_file."`
	PasswordFile string `key:"password_file" help:"File with the password."`
	From         string `key:"from" help:"Sender: Purser <purser@example.org>."`
}

// Webhook is an address that every notice is posted to.
type Webhook struct {
	URL        Secret `key:"url" help:"Address that notices are posted to, Slack's incoming webhooks too. Empty: none."`
	Secret     Secret `key:"secret" help:"Signs each post (HMAC-SHA256); better in the environment, or in secret_file."`
	SecretFile string `key:"secret_file" help:"File with the secret."`
}

// Secret is a setting that is never shown.
type Secret string

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "[secret]"
}

// Reveal is the secret itself.
func (s Secret) Reveal() string { return string(s) }

// Sources are the places settings come from, the later before the earlier.
type Sources struct {
	File    string         // path of a YAML file, or "" for none; a file that is not there is a fault
	Environ []string       // KEY=value, as os.Environ gives it; PURSER_LOG_LEVEL is log.level; empty values count as not set
	Flags   map[string]any // by key: "log.level"; texts, or values of the setting's own kind
}

// Load joins the sources. Its error is a *purser.Error of the code
// invalid_request that lists every fault of every source.
func Load(from Sources) (Config, error) {
	var c Config
	var faults faults
	layers := read(from, &faults)
	for _, s := range settings(&c) {
		c.explained = append(c.explained, s.decode(layers, &faults))
	}
	if len(faults) == 0 {
		c.complete(from.Environ, &faults)
	}
	if len(faults) == 0 {
		c.check(&faults)
	}
	if len(faults) > 0 {
		return Config{}, faults.err()
	}
	c.Warnings = c.warnings(from.File)
	c.show()
	return c, nil
}
