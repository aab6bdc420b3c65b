package config

import (
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser"
)

var update = flag.Bool("update", false, "write docs/purser.example.yaml")

const exampleFile = "../../docs/purser.example.yaml"

func home(t *testing.T) []string { t.Helper(); return []string{"HOME=" + t.TempDir()} }

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "purser.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, from Sources) Config {
	t.Helper()
	c, err := Load(from)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWithoutSourcesTheDefaultsHold(t *testing.T) {
	home := t.TempDir()
	c := load(t, Sources{Environ: []string{"HOME=" + home}})
	dir := filepath.Join(home, ".local/share/purser")
	usd := func(n int64) purser.Money { return purser.Money{Amount: n, Currency: "USD"} }
	want := Config{
		Dir: dir, Listen: "127.0.0.1:7627", PublicURL: "http://localhost:7627",
		Database: Database("sqlite:" + dir + "/purser.db"), KeyFile: dir + "/key",
		Log: Log{slog.LevelInfo, "text"},
		Cloud: Cloud{
			Enabled: true, Dir: dir + "/cloud", API: "127.0.0.1:7700", HTTPS: "127.0.0.1:7743",
			HTTP: "127.0.0.1:7780", DNS: "127.0.0.1:7753", SMTP: "127.0.0.1:7725",
		},
		Defaults: Defaults{usd(2000), usd(1000), usd(10000), 5},
		Approval: Approval{24 * time.Hour, 10 * time.Minute},
		Session:  Session{12 * time.Hour, 7 * 24 * time.Hour},
		Retire:   Retire{168 * time.Hour}, Stop: Stop{10 * time.Second}, OIDC: OIDC{Provision: "none", GroupsClaim: "groups"},
		Notices: Notices{Reminder: 2 * time.Hour, Keep: 90 * 24 * time.Hour, SMTP: SMTP{Port: 587, TLS: "starttls"}},
	}
	c.explained = nil
	if d := cmp.Diff(want, c, cmp.AllowUnexported(Config{})); d != "" {
		t.Error(d)
	}
}

func TestTheStrongerSourceWins(t *testing.T) {
	file := write(t, "listen: 127.0.0.1:1001\nlog:\n  level: warn\n  format: json\n")
	environ := append(home(t), "PURSER_LISTEN=127.0.0.1:1002", "PURSER_LOG_LEVEL=error", "PURSER_METRICS=")
	c := load(t, Sources{File: file, Environ: environ, Flags: map[string]any{"listen": "[::1]:1003", "allowed_hosts": "a, b"}})
	if c.Listen != "[::1]:1003" || c.Log.Level != slog.LevelError || c.Log.Format != "json" || c.Metrics {
		t.Errorf("flag %s, environment %v, file %s, empty variable %v", c.Listen, c.Log.Level, c.Log.Format, c.Metrics)
	}
	if c.PublicURL != "http://localhost:1003" {
		t.Errorf("public_url is %s, not derived from the flag", c.PublicURL)
	}
	got := map[string]string{}
	for _, e := range c.Explain() {
		got[e.Key] = e.Value + " from " + e.Source
	}
	for key, want := range map[string]string{
		"listen":              "[::1]:1003 from flags",
		"allowed_hosts":       "a, b from flags",
		"log.level":           "ERROR from environment (PURSER_LOG_LEVEL)",
		"log.format":          "json from file " + file,
		"defaults.run_budget": "20.00 USD from default",
	} {
		if got[key] != want {
			t.Errorf("%s is explained as %q, want %q", key, got[key], want)
		}
	}
}

func TestAFaultIsNamedWithItsSourceAndTheWayOut(t *testing.T) {
	for _, c := range []struct {
		name, file string
		environ    []string
		flags      map[string]any
		want       string
	}{
		{"a misspelt key", "lisen: 127.0.0.1:1", nil, nil, "lisen is not a setting; the nearest is listen"},
		{"a misspelt key in a group", "log:\n  levle: info", nil, nil, "log.levle is not a setting; the nearest is log.level"},
		{"a misspelt variable", "", []string{"PURSER_LISTN=x"}, nil, "environment: PURSER_LISTN is not a setting; the nearest is PURSER_LISTEN"},
		{"a misspelt flag", "", nil, map[string]any{"log.levels": "info"}, "flags: log.levels is not a setting; the nearest is log.level"},
		{"a group with one value", "log: debug", nil, nil, "log is a group of settings: log.level, log.format"},
		{"a setting as a group", "listen:\n  port: 1", nil, nil, "listen.port is not a setting; the nearest is listen"},
		{"a setting without a value", "key_file:", nil, nil, "key_file: it is empty; remove the line"},
		{"YAML that is none", "listen: [", nil, nil, "yaml"},
		{"a list instead of settings", "- listen", nil, nil, "cannot unmarshal"},
		{"a key twice", "listen: a\nlisten: b", nil, nil, "already defined"},
		{"money without its currency", "", []string{"PURSER_DEFAULTS_RUN_BUDGET=20.00"}, nil, `"20.00" has no currency; write it like 20.00 USD`},
		{"money as a fraction", "defaults:\n  run_budget: 20.5", nil, nil, "put the value in quotes"},
		{"money with too many decimals", "defaults:\n  run_budget: 20.001 USD", nil, nil, "is not an amount in USD"},
		{"money below nothing", "defaults:\n  threshold: -1 USD", nil, nil, "is not an amount in USD"},
		{"a budget of nothing", "defaults:\n  run_budget: 0 USD", nil, nil, "a budget of nothing buys nothing"},
		{"two currencies", "defaults:\n  threshold: 5 EUR", nil, nil, "must be in one currency, not USD, EUR and USD"},
		{"a duration without a unit", "stop:\n  deadline: 15", nil, nil, `stop.deadline: "15" is not a duration like`},
		{"a duration below nothing", "stop:\n  deadline: -15m", nil, nil, "not longer than nothing"},
		{"a duration beyond reason", "stop:\n  deadline: 999999999d", nil, nil, "longer than 3650d"},
		{"a signed approval that outlives its request", "approval:\n  sign_ttl: 25h", nil, nil, "longer than approval.request_ttl"},
		{"a stop that waits for hours", "stop:\n  deadline: 2h", nil, nil, "longer than 1m"},
		{"a count of nothing", "defaults:\n  orders_per_hour: 0", nil, nil, "not a whole number above 0"},
		{"neither true nor false", "metrics: perhaps", nil, nil, "neither true nor false"},
		{"an unknown log level", "log:\n  level: loud", nil, nil, "not debug, info, warn or error"},
		{"an unknown log format", "log:\n  format: xml", nil, nil, "not text or json"},
		{"an address without a port", "listen: localhost", nil, nil, "not an address like"},
		{"a port beyond the last", "listen: 127.0.0.1:65536", nil, nil, "not an address like"},
		{"two listeners on one address", "listen: 127.0.0.1:7700", nil, nil, "listen and cloud.api are both 127.0.0.1:7700"},
		{"a wildcard for the local cloud", "cloud:\n  dns: 0.0.0.0:53", nil, nil, "cloud.dns: \"0.0.0.0:53\" is not a loopback address"},
		{"no host for the local cloud", "cloud:\n  dns: ':53'", nil, nil, "not a loopback address"},
		{"a public URL with a path", "public_url: https://example.org/x", nil, nil, "public_url"},
		{"a public URL of another kind", "public_url: ftp://example.org", nil, nil, "public_url"},
		{"a proxy range that is everybody", "trusted_proxies: [0.0.0.0/0]", nil, nil, "would believe everybody"},
		{"a proxy that is a name", "trusted_proxies: proxy", nil, nil, "not an address or a range"},
		{"a host with a port", "allowed_hosts: ['a:1']", nil, nil, "not a host name"},
		{"an endpoint that is no URL", "tracing:\n  endpoint: here", nil, nil, "tracing.endpoint"},
		{"an unknown database", "database: mysql://x/y", nil, nil, "database: it is not sqlite"},
		{"a server without a database", "database: postgres://h/", nil, nil, "names no database"},
		{"a witness that is no URL", "audit:\n  witness:\n    url: there", nil, nil, "audit.witness.url: it is not an address like"},
		{"a witness in the clear", "audit:\n  witness:\n    url: http://witness.example/x", nil, nil, "http goes to this machine only"},
		{"a witness's password in its address", "audit:\n  witness:\n    url: https://me:hunter2@witness.example/", nil, nil, "it holds a password"},
		{"a witness's secret that is not there", "audit:\n  witness:\n    url: https://w.example/\n    secret_file: /nowhere/secret", nil, nil, "cannot be read"},
		{"a group within a group, misspelt", "audit:\n  witnes:\n    file: x", nil, nil, "audit.witnes.file is not a setting; the nearest is audit.witness.file"},
		{"an issuer in the clear", "oidc:\n  issuer: http://login.example.org\n  client_id: x", nil, nil, "oidc.issuer: it is not an address"},
		{"an issuer that knows us by no name", "oidc:\n  issuer: https://login.example.org", nil, nil, "oidc.client_id"},
		{"everybody whom an issuer knows", "oidc:\n  issuer: https://login.example.org\n  client_id: x\n  provision: all", nil, nil, "without allowed_domains"},
		{"a group of owners", "oidc:\n  issuer: https://login.example.org\n  client_id: x\n  roles: [boss=owner]", nil, nil, "a group gives viewer or approver"},
		{"a client without an issuer", "oidc:\n  client_id: x", nil, nil, "oidc: issuer is not set"},
		{"an issuer's secret that is not there", "oidc:\n  issuer: https://login.example.org\n  client_id: x\n  client_secret_file: /nowhere/secret", nil, nil, "cannot be read"},
		{"mail without a sender", "notices:\n  smtp:\n    host: mail.example", nil, nil, "notices.smtp.from"},
		{"mail in the clear over the network", "notices:\n  smtp: {host: mail.example, tls: none, from: a@b.example}", nil, nil, "none is for this machine only"},
		{"a mail server with its port", "notices:\n  smtp: {host: 'mail.example:25', from: a@b.example}", nil, nil, "the port has a setting of its own"},
		{"a mail user without a password", "notices:\n  smtp: {host: mail.example, user: a, from: a@b.example}", nil, nil, "user and password belong together"},
		{"an unknown kind of TLS", "notices:\n  smtp: {host: mail.example, tls: ssl, from: a@b.example}", nil, nil, "not starttls, tls or none"},
		{"a sender and no mail server", "notices:\n  smtp: {from: a@b.example}", nil, nil, "host is not set"},
		{"a password twice", "notices:\n  smtp: {host: m.example, from: a@b.example, user: a, password: x, password_file: y}", nil, nil, "are both set"},
		{"a password that is not there", "notices:\n  smtp: {host: m.example, from: a@b.example, user: a, password_file: /nowhere/x}", nil, nil, "notices.smtp.password_file"},
		{"a webhook that is no URL", "notices:\n  webhook: {url: hooks.example}", nil, nil, "notices.webhook.url: it is not a URL"},
		{"a secret and no webhook", "notices:\n  webhook: {secret: x}", nil, nil, "url is not set"},
		{"no home", "", []string{"HOME="}, nil, "neither HOME nor XDG_DATA_HOME"},
	} {
		t.Run(c.name, func(t *testing.T) {
			from := Sources{Environ: append(home(t), c.environ...), Flags: c.flags}
			if c.file != "" {
				from.File = write(t, c.file)
			}
			_, err := Load(from)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("the error is %v, want it to say %q", err, c.want)
			}
			if code := purser.CodeOf(err); code != purser.InvalidRequest {
				t.Errorf("its code is %s, want %s", code, purser.InvalidRequest)
			}
		})
	}
}

func TestAllFaultsOfAllSourcesAreNamedAtOnce(t *testing.T) {
	_, err := Load(Sources{
		File:    write(t, "lisen: x\nstop:\n  deadline: soon\n"),
		Environ: append(home(t), "PURSER_METRICS=perhaps"),
		Flags:   map[string]any{"log.level": "loud"},
	})
	if err == nil {
		t.Fatal("there is no error")
	}
	for _, want := range []string{"4 faults", "lisen", "stop.deadline", "environment (PURSER_METRICS)", "flags: log.level"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
}

func TestAFileThatIsNotThereIsAFault(t *testing.T) {
	_, err := Load(Sources{File: filepath.Join(t.TempDir(), "none.yaml"), Environ: home(t)})
	if err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("the error is %v", err)
	}
}

func TestVariablesThatAreNoSettingsAreLeftAlone(t *testing.T) {
	load(t, Sources{Environ: append(home(t), "PURSER_TOKEN=x", "PURSER_TEST_ANYTHING=x", "PURSER_REQUIRE=x", "OTHER=x", "PURSERS=x")})
}

func TestGroupsOfCommentsAndListsAndDaysAreRead(t *testing.T) {
	file := write(t, "log:\n  #level: debug\nretire:\n  grace: 14d\ntrusted_proxies: [10.0.0.1/8, '::1']\nallowed_hosts: [a.example, b.example]\n")
	c := load(t, Sources{File: file, Environ: home(t)})
	if c.Retire.Grace != 14*24*time.Hour {
		t.Errorf("14d is %v", c.Retire.Grace)
	}
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	if d := cmp.Diff(fmt.Sprint(proxies), fmt.Sprint(c.TrustedProxies)); d != "" {
		t.Error(d)
	}
	want := []string{"127.0.0.1", "::1", "a.example", "b.example", "localhost"}
	if d := cmp.Diff(want, c.Hosts()); d != "" {
		t.Error(d)
	}
	c = load(t, Sources{Environ: append(home(t), "PURSER_ALLOWED_HOSTS=a.example, b.example", "PURSER_PUBLIC_URL=https://c.example/")})
	if d := cmp.Diff(append(want[:4:4], "c.example", "localhost"), c.Hosts()); d != "" {
		t.Error(d)
	}
}

func TestAFreePortLeavesThePublicURLOpen(t *testing.T) {
	if c := load(t, Sources{Environ: home(t), Flags: map[string]any{"listen": "127.0.0.1:0"}}); c.PublicURL != "" {
		t.Errorf("public_url is %q before the port is known", c.PublicURL)
	}
}

func TestPathsAreAbsoluteAndMayBeginAtHome(t *testing.T) {
	home := t.TempDir()
	c := load(t, Sources{Environ: []string{"HOME=" + home, "PURSER_DIR=~/data", "PURSER_KEY_FILE=relative,with comma", "PURSER_DATABASE=sqlite:~/x.db"}})
	if c.Dir != home+"/data" || !filepath.IsAbs(c.KeyFile) || filepath.Base(c.KeyFile) != "relative,with comma" {
		t.Errorf("dir %s, key_file %s", c.Dir, c.KeyFile)
	}
	if want := "sqlite:" + home + "/x.db"; c.Database.Reveal() != want || c.Database.Postgres() {
		t.Errorf("database %s, want %s", c.Database, want)
	}
	c = load(t, Sources{Environ: []string{"HOME=" + home, "XDG_DATA_HOME=" + home + "/xdg"}})
	if c.Dir != home+"/xdg/purser" {
		t.Errorf("dir %s is not below XDG_DATA_HOME", c.Dir)
	}
}

func TestNothingShowsThePasswordOfTheDatabase(t *testing.T) {
	for _, dsn := range []string{
		"postgres://me:hunter2@db.example/purser", "postgres://db.example/purser?user=me&password=hunter2",
		"postgres://me:hunter2@db.example/", "postgres://me:hunter2/@db.example/x", "mysql://me:hunter2@x/y", "hunter2",
	} {
		var shown strings.Builder
		c, err := Load(Sources{Environ: append(home(t), "PURSER_DATABASE="+dsn)})
		log := slog.New(slog.NewJSONHandler(&shown, nil))
		log.Info("x", "config", c, "database", c.Database, "err", err)
		fmt.Fprintf(&shown, "%v %+v %#v %s %v %v", c, c, c, c.Database, err, c.Explain())
		if strings.Contains(shown.String(), "hunter2") {
			t.Errorf("%s is shown in %s", dsn, shown.String())
		}
		if err == nil && c.Database.Reveal() != dsn {
			t.Errorf("Reveal gives %s, want %s", c.Database.Reveal(), dsn)
		}
	}
}

func TestSecretsThatOthersCanReadAreWarnedOf(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	file := write(t, "database: postgres://me:secret@db.example/purser\n")
	from := Sources{File: file, Environ: []string{"HOME=" + dir, "PURSER_DIR=" + dir}}
	if c := load(t, from); len(c.Warnings) != 0 {
		t.Errorf("warnings without a reason: %q", c.Warnings)
	}
	for _, path := range []string{dir, key, file} {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if c := load(t, from); len(c.Warnings) != 3 {
		t.Errorf("%d warnings, want one for dir, key and file: %q", len(c.Warnings), c.Warnings)
	}
}

func TestAServerOpenToOthersIsWarnedOf(t *testing.T) {
	for _, c := range []struct {
		name, listen, url string
		warnings          int
	}{
		{"on this machine", "127.0.0.1:80", "", 0},
		{"behind a proxy", "0.0.0.0:80", "https://purser.example", 0},
		{"without TLS", "0.0.0.0:80", "", 1},
		{"without TLS under a name", "0.0.0.0:80", "http://purser.example", 2},
		{"under an IP address", "127.0.0.1:80", "https://192.0.2.1", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := load(t, Sources{Environ: append(home(t), "PURSER_LISTEN="+c.listen, "PURSER_PUBLIC_URL="+c.url)})
			if len(got.Warnings) != c.warnings {
				t.Errorf("%d warnings, want %d: %q", len(got.Warnings), c.warnings, got.Warnings)
			}
		})
	}
}

func TestTheExampleFileIsTheStruct(t *testing.T) {
	if *update {
		if err := os.WriteFile(exampleFile, []byte(Example()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Example(), string(committed)); d != "" {
		t.Errorf("run make generate: %s", d)
	}
}

// Each line without its # must be a setting that can be read: an example that
// fails when used is worse than none.
func TestEveryDefaultOfTheExampleFileCanBeSwitchedOn(t *testing.T) {
	var lines []string
	for line := range strings.Lines(Example()) {
		text := strings.TrimSpace(line)
		if strings.HasPrefix(text, "#") && !strings.HasPrefix(text, "# ") {
			if strings.HasSuffix(text, ":") {
				continue // no default: its value is derived
			}
			line = strings.Replace(line, "#", "", 1)
		}
		lines = append(lines, line)
	}
	from := Sources{Environ: home(t)}
	plain := load(t, from)
	from.File = write(t, strings.Join(lines, ""))
	full := load(t, from)
	plain.explained, full.explained = nil, nil
	if d := cmp.Diff(plain, full, cmp.AllowUnexported(Config{})); d != "" {
		t.Error(d)
	}
}
