package assets

import (
	"strings"
	"testing"
)

func site(c Config, paths ...string) *Site {
	m := Manifest{}
	for _, p := range paths {
		m[p] = File{Hash: fakeHash(p)}
	}
	return NewSite(m, c)
}

// fakeHash makes a name that passes for a hash.
func fakeHash(p string) string { return HashEncoded("", []byte(p)) }

func TestEachModeAddressesHTMLAsTheTableSays(t *testing.T) {
	modes := []string{AutoSlash, ForceSlash, DropSlash}
	for _, tt := range []struct {
		file, request string
		want          [3]string // "" is 200, else where it redirects
	}{
		{"/a.html", "/a", [3]string{"", "/a/", ""}},
		{"/a.html", "/a.html", [3]string{"/a", "/a/", "/a"}},
		{"/a.html", "/a/", [3]string{"/a", "", "/a"}},
		{"/b/index.html", "/b", [3]string{"/b/", "/b/", ""}},
		{"/b/index.html", "/b/", [3]string{"", "", "/b"}},
		{"/b/index.html", "/b/index", [3]string{"/b/", "/b/", "/b"}},
		{"/b/index.html", "/b/index.html", [3]string{"/b/", "/b/", "/b"}},
		{"/index.html", "/", [3]string{"", "", ""}},
		{"/index.html", "/index", [3]string{"/", "/", "/"}},
		{"/index.html", "/index.html", [3]string{"/", "/", "/"}},
		{"/x.css", "/x.css", [3]string{"", "", ""}},
	} {
		for i, mode := range modes {
			a := site(Config{HTMLHandling: mode}, tt.file).resolve("superseal.club", tt.request)
			if a.location != tt.want[i] || (a.location == "" && a.path != tt.file) {
				t.Errorf("%s: %s with %s: got %+v, want location %q", mode, tt.request, tt.file, a, tt.want[i])
			}
		}
	}
}

func TestAPathGetsOneFileAndNoRedirectLoops(t *testing.T) {
	for _, tt := range []struct {
		name, mode string
		files      []string
		request    string
		path       string // served
		location   string // or redirected
	}{
		{"a file without extension wins over a page", "", []string{"/a", "/a.html"}, "/a", "/a", ""},
		{"its page is then served under its own name", "", []string{"/a", "/a.html"}, "/a.html", "/a.html", ""},
		{"a page wins over a folder", "", []string{"/a.html", "/a/index.html"}, "/a", "/a.html", ""},
		{"the folder keeps its slash", "", []string{"/a.html", "/a/index.html"}, "/a/", "/a/index.html", ""},
		{"none serves exact paths", ExactPath, []string{"/a.html"}, "/a.html", "/a.html", ""},
		{"none knows no clean names", ExactPath, []string{"/a.html"}, "/a", "", ""},
		{"none has no folder pages", ExactPath, []string{"/index.html"}, "/", "", ""},
		{"spaces and letters", "", []string{"/ä b.txt"}, "/%C3%A4%20b.txt", "/ä b.txt", ""},
		{"an encoded letter has a plain form", "", []string{"/a.txt"}, "/%61.txt", "", "/a.txt"},
		{"lower-case escapes have an upper-case form", "", []string{"/ä.txt"}, "/%c3%a4.txt", "", "/%C3%A4.txt"},
		{"double slashes are one", "", []string{"/a/b.txt"}, "/a//b.txt", "", "/a/b.txt"},
		{"two slashes never lead to another host", "", []string{"/evil.example/index.html"}, "//evil.example", "", "/evil.example/"},
		{"dots do not climb", "", []string{"/a.txt"}, "/x/../a.txt", "", ""},
		{"nor encoded", "", []string{"/a.txt"}, "/x/%2e%2e/a.txt", "", ""},
		{"an encoded slash is no separator of its own", "", []string{"/a/b.txt"}, "/a%2Fb.txt", "", "/a/b.txt"},
		{"a bad escape is no file", "", []string{"/a.txt"}, "/%zz", "", ""},
		{"NUL is no file", "", []string{"/a.txt"}, "/a.txt%00", "", ""},
		{"index.html of a page's folder", "", []string{"/a.html"}, "/a/index.html", "", "/a"},
		{"force: a folder page asked by the page's name", ForceSlash, []string{"/a/index.html"}, "/a.html", "", "/a/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := site(Config{HTMLHandling: tt.mode}, tt.files...).resolve("superseal.club", tt.request)
			if a.path != tt.path || a.location != tt.location {
				t.Errorf("got %+v, want path %q, location %q", a, tt.path, tt.location)
			}
		})
	}
}

func TestAMissingPathGetsWhatTheSiteChose(t *testing.T) {
	files := []string{"/index.html", "/404.html", "/docs/404.html", "/docs/index.html"}
	for _, tt := range []struct {
		mode, request string
		status        int
		path          string
	}{
		{"", "/x", 404, ""},
		{Plain404, "/docs/x", 404, ""},
		{Page404, "/x", 404, "/404.html"},
		{Page404, "/docs/deep/er/x", 404, "/docs/404.html"},
		{Page404, "/docs/x/", 404, "/docs/404.html"},
		{SinglePage, "/any/route", 200, "/index.html"},
	} {
		a := site(Config{NotFoundHandling: tt.mode}, files...).resolve("superseal.club", tt.request)
		if a.status != tt.status || a.path != tt.path {
			t.Errorf("%s %s: got %+v, want %d %q", tt.mode, tt.request, a, tt.status, tt.path)
		}
	}
}

// Whatever is asked of whatever site, a redirect leads within two steps to a file.
func FuzzRedirectsEnd(f *testing.F) {
	f.Add("/a", "/a.html", "/a/index.html", 0)
	f.Add("/b/index/", "/b/index.html", "/b", 2)
	f.Add("/a%20b//", "/a b.html", "/a b", 1)
	f.Fuzz(func(t *testing.T, request, one, two string, mode int) {
		if CheckPath(one) != nil || CheckPath(two) != nil || !strings.HasPrefix(request, "/") {
			return
		}
		s := site(Config{HTMLHandling: []string{AutoSlash, ForceSlash, DropSlash, ExactPath}[mode&3]}, one, two)
		for range 3 {
			a := s.resolve("", request)
			if a.location == "" {
				return
			}
			if strings.HasPrefix(a.location, "//") || !strings.HasPrefix(a.location, "/") {
				t.Fatalf("%q leads off the host to %q", request, a.location)
			}
			request = a.location
		}
		t.Fatalf("still redirecting to %q", request)
	})
}

func TestAManifestNamesNothingOutsideTheSite(t *testing.T) {
	good := File{Hash: fakeHash("x"), Size: 1}
	for path, allowed := range map[string]bool{
		"/index.html": true, "/ä b/c.txt": true, "/.well-known/x": true, "/a..b": true,
		"": false, "index.html": false, "/../x": false, "/a/../x": false, "/a/./x": false, "/a//x": false,
		"/a/": false, `/a\b`: false, "/a\x00": false, "/\xff": false,
		"/" + strings.Repeat("x", 5000): false,
	} {
		if err := (Manifest{path: good}).Check(); (err == nil) != allowed {
			t.Errorf("%.30q: error = %v, want allowed %v", path, err, allowed)
		}
	}
	for _, bad := range []File{{Hash: "../../etc/passwd", Size: 1}, {Hash: fakeHash("x"), Size: -1}, {Hash: fakeHash("x"), Size: MaxFileSize + 1}} {
		if (Manifest{"/x": bad}).Check() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

func TestHashesAreThoseOfTheDeployClients(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"style.css", "h1{color:teal}\n", "64ab3fde983c2cbe4ccdd7b979f57309"},
		{
			"index.html", "<!doctype html><title>superseal</title><h1>Superseal</h1><link rel=stylesheet href=/style.css>\n",
			"7634611b93e8e343603fc023cd8aa284",
		},
	} {
		got, n, err := Hash(tt.name, strings.NewReader(tt.text))
		if err != nil || got != tt.want || n != int64(len(tt.text)) {
			t.Errorf("%s: %s, %d, %v; want %s", tt.name, got, n, err, tt.want)
		}
	}
	for name, want := range map[string]string{
		".env": "", "a": "", "a.b.c": ".c", "/x.d/file": "", "a.": ".", "..": "", "/.a.b": ".b",
	} {
		if got := Extension(name); got != want {
			t.Errorf("extension of %q = %q, want %q", name, got, want)
		}
	}
}
