package purser_test

import (
	"go/ast"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

// allowed says which packages of this module a package may import outside its
// tests; "." is the root package, the contract. A name that ends with /... stands
// for a package and all below it. A new package needs a line here: think what it
// should know, and above all what it should not. The reasons are in
// docs/ARCHITECTURE.md; in short: the pure know only words and each other, the
// store does not know the office, the office knows no door and no network, doors
// do not know the store, and the local cloud knows nothing of Purser but its wire.
var allowed = map[string]string{
	// Public.
	".":                     "",
	"app":                   "",
	"provider":              "app",
	"provider/providertest": "app provider",
	"provider/sqlstore":     "provider",
	"client":                ".",
	"cmd/purser":            "internal/cli",
	"examples/notes":        "app provider",

	// Pure: no I/O, see pure below.
	"internal/act":        ". internal/canonical",
	"internal/audit":      ". internal/act internal/canonical",
	"internal/canonical":  "",
	"internal/catalog":    ". app internal/canonical",
	"internal/consent":    ". internal/act internal/canonical",
	"internal/domainname": "internal/edit",
	"internal/edit":       "",
	"internal/guard":      ".",
	"internal/ledger":     ".",
	"internal/notice":     ". internal/catalog",
	"internal/rail":       ". internal/guard",
	"internal/question":   ". app internal/catalog",
	"internal/review":     ". internal/domainname",

	// The middle.
	"internal/seal":     "",
	"internal/spend":    ". internal/audit internal/guard internal/ledger",
	"internal/store":    ". internal/spend internal/notice internal/store/db internal/audit internal/canonical internal/guard internal/ledger internal/seal",
	"internal/store/db": "",
	"internal/office": ". app internal/act internal/audit internal/canonical internal/catalog internal/consent internal/domainname internal/guard " +
		"internal/identity internal/ledger internal/notice internal/oauth internal/question internal/rail internal/review internal/seal internal/spend internal/store internal/store/db",
	"internal/courier":  "internal/notice",
	"internal/witness":  "internal/notice",
	"internal/identity": ". internal/act",
	"internal/seller":   ". app internal/catalog internal/canonical internal/office internal/seal",
	"internal/blob":     ".",
	"internal/backup":   ". internal/seal internal/store",
	// The shape of static assets is Cloudflare's; the local cloud and the bridge share it.
	"internal/bridge/...": "app provider internal/domainname internal/cloud/assets internal/bridge/...",

	// Doors.
	"internal/form":     ". internal/canonical internal/edit",
	"internal/gate":     ".",
	"internal/httpapi":  ". internal/form internal/gate internal/office",
	"internal/mcpapi":   ". internal/form internal/gate internal/office",
	"internal/oauth":    "",
	"internal/issuer":   ". internal/gate internal/office internal/seal",
	"internal/oauthapi": ". internal/gate internal/oauth internal/office internal/seal",
	"internal/appapi":   ". app internal/gate internal/office internal/seal internal/seller",
	"internal/console":  ". internal/consent internal/form internal/gate internal/office",
	"internal/cli": ". app client internal/act internal/audit internal/canonical internal/child internal/cloud internal/config internal/consent " +
		"internal/backup internal/bench internal/demo internal/folder internal/ledger internal/question internal/seal internal/server provider/providertest",

	// What joins them, and what stands apart.
	"internal/bench":  ". client internal/act internal/audit internal/child internal/consent internal/office internal/seal internal/store internal/store/db",
	"internal/child":  "",
	"internal/demo":   ". client internal/act internal/audit internal/child internal/consent internal/folder",
	"internal/folder": ".",
	"internal/config": ". internal/edit",
	"internal/server": ". app client internal/act internal/audit internal/bridge/... internal/canonical internal/catalog internal/config internal/consent " +
		"internal/courier internal/notice internal/witness internal/issuer internal/oauth internal/oauthapi internal/appapi internal/domainname internal/guard internal/httpapi internal/identity internal/ledger internal/mcpapi internal/console internal/gate internal/form " +
		"internal/backup internal/blob internal/office internal/rail internal/seal internal/seller internal/store internal/store/db",
	"internal/cloud/...": "app provider internal/domainname internal/cloud/...",

	// For tests only, see testOnly below.
	"internal/cloud/till/railtest":   "",
	"internal/doortest":              ". client internal/form internal/gate internal/httpapi internal/mcpapi internal/office",
	"internal/identity/identitytest": ". internal/canonical",
	"internal/issuer/issuertest":     "",
	"internal/seller/fakes":          "app provider",
	"internal/spend/spendtest":       ". internal/audit internal/guard internal/ledger internal/spend",
	"internal/testneed":              "",
	"internal/testpg":                "internal/testneed",
	"internal/testpg/withpg":         "internal/testpg",
	"test/...":                       ". client internal/testneed internal/testpg test/...",
}

var (
	// standardOnly are the packages that others build on: no module but Go itself.
	standardOnly = []string{".", "app", "provider", "provider/providertest", "provider/sqlstore", "client"}

	// pure packages compute; whoever calls them reads and writes.
	pure   = []string{".", "internal/act", "internal/audit", "internal/canonical", "internal/catalog", "internal/consent", "internal/domainname", "internal/edit", "internal/guard", "internal/ledger", "internal/notice", "internal/oauth", "internal/rail", "internal/review", "internal/spend"}
	noPure = []string{"os", "os/exec", "os/signal", "net", "net/http", "database/sql", "log", "log/slog", "syscall"}

	// forbidden are imports that would tie a room to what it must not know.
	forbidden = map[string][]string{
		"internal/office":   {"net/http", "net", "os/exec"},
		"internal/store":    {"net/http"},
		"internal/httpapi":  {"database/sql"},
		"internal/mcpapi":   {"database/sql"},
		"internal/oauthapi": {"database/sql"},
		"internal/appapi":   {"database/sql"},
		"internal/console":  {"database/sql"},
		"internal/cli":      {"database/sql"},
	}

	// testOnly may be imported by tests, and by each other, never by the product.
	testOnly = []string{
		"internal/doortest", "internal/identity/identitytest", "internal/issuer/issuertest", "internal/seller/fakes", "internal/spend/spendtest", "internal/testneed", "internal/testpg", "internal/cloud/till/railtest",
		"github.com/letsencrypt/pebble", "github.com/luikyv/go-oidc", "pgregory.net/rapid", "github.com/anishathalye/porcupine", "github.com/google/go-cmp",
		"go.uber.org/goleak", "github.com/rogpeppe/go-internal", "github.com/creack/pty", "github.com/chromedp/chromedp", "github.com/chromedp/cdproto", "testing", "net/http/httptest",
	}

	// only says which files of a package may import a package: the command line
	// works over the client, and starts a server or a local cloud from these alone.
	only = map[[2]string][]string{
		{"internal/cli", "internal/server"}: {"up.go", "backup.go"},
		{"internal/cli", "internal/cloud"}:  {"cloud.go", "localcloud.go"},
		{"internal/cli", "internal/bench"}:  {"bench.go"},
	}
)

func TestEachPackageImportsOnlyWhatItMayKnow(t *testing.T) {
	for _, s := range goFiles(t) {
		line, ok := lineFor(s.dir)
		if !ok {
			t.Errorf("%s: package %s has no line in the table `allowed` of repo_imports_test.go: add one that names what it may import", s.path, s.dir)
			continue
		}
		if s.test {
			continue
		}
		ours, _ := s.imports()
		for _, p := range ours {
			if !covers(strings.Fields(line), p) {
				t.Errorf("%s imports %s, which %s may not know (it may import: %s). Declare a small interface, or move the code; only then change the table", s.path, p, s.dir, line)
			}
			if files, ok := only[[2]string{s.dir, p}]; ok && !slices.Contains(files, path.Base(s.path)) {
				t.Errorf("%s imports %s, which only %s may", s.path, p, strings.Join(files, " and "))
			}
		}
	}
}

func TestTheFoundationsNeedNoOtherModule(t *testing.T) {
	for _, s := range goFiles(t) {
		_, others := s.imports()
		for _, p := range others {
			if slices.Contains(standardOnly, s.dir) && !s.test && !standard(p) {
				t.Errorf("%s imports %s; package %s uses the standard library only", s.path, p, s.dir)
			}
		}
	}
}

func TestPurePackagesDoNoInputOrOutput(t *testing.T) {
	for _, s := range goFiles(t) {
		_, others := s.imports()
		for _, p := range others {
			if !s.test && (slices.Contains(pure, s.dir) && slices.Contains(noPure, p) || slices.Contains(forbidden[s.dir], p)) {
				t.Errorf("%s imports %s; package %s must not know it: let the caller pass what is needed", s.path, p, s.dir)
			}
		}
	}
}

func TestTheProductLinksNothingThatIsForTests(t *testing.T) {
	for _, s := range goFiles(t) {
		if s.test || isTestOnly(s.dir) || s.dir == "provider/providertest" || strings.HasPrefix(s.dir, "test/") {
			continue
		}
		ours, others := s.imports()
		for _, p := range slices.Concat(ours, others) {
			if isTestOnly(p) {
				t.Errorf("%s imports %s, which is for tests only", s.path, p)
			}
		}
	}
}

// An organization keeps its own months on a machine without zoneinfo too.
func TestTheProductBringsItsTimeZones(t *testing.T) {
	for _, s := range goFiles(t) {
		brings := func(i *ast.ImportSpec) bool { return i.Path.Value == `"time/tzdata"` }
		if s.dir == "cmd/purser" && !s.test && slices.ContainsFunc(s.file.Imports, brings) {
			return
		}
	}
	t.Error("cmd/purser does not import time/tzdata")
}

func TestNoPackageIsARoomForEverything(t *testing.T) {
	for _, s := range goFiles(t) {
		if slices.Contains([]string{"util", "utils", "common", "shared", "helper", "helpers", "types", "misc"}, path.Base(s.dir)) {
			t.Errorf("%s: a package is one noun; %s is none", s.path, path.Base(s.dir))
		}
	}
}

// A registration by init makes what a program does depend on what it links.
func TestNoPackageRegistersByInit(t *testing.T) {
	for _, s := range goFiles(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has a func init; call it from where it is needed", s.path)
			}
		}
	}
}

// The table itself can be wrong: a line that names what it does not have a line
// for would allow nothing, silently.
func TestTheTableOfImportsNamesOnlyWhatItHasLinesFor(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(allowed)) {
		for _, p := range strings.Fields(allowed[name]) {
			if _, ok := lineFor(strings.TrimSuffix(p, "/...")); !ok {
				t.Errorf("the line of %s names %s, which has no line", name, p)
			}
		}
	}
}

// lineFor finds the line of a folder: its own, else the nearest /... above it.
func lineFor(dir string) (string, bool) {
	if line, ok := allowed[dir]; ok {
		return line, true
	}
	for at := dir; at != "."; at = path.Dir(at) {
		if line, ok := allowed[at+"/..."]; ok {
			return line, true
		}
	}
	return "", false
}

func covers(line []string, p string) bool {
	return slices.ContainsFunc(line, func(a string) bool {
		above, all := strings.CutSuffix(a, "/...")
		return a == p || all && (p == above || strings.HasPrefix(p, above+"/"))
	})
}

func isTestOnly(p string) bool {
	return slices.ContainsFunc(testOnly, func(only string) bool { return p == only || strings.HasPrefix(p, only+"/") })
}
