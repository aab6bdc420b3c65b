package assets

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shelf is a store with a site of the given files.
func shelf(t *testing.T, config Config, content map[string]string) (*Site, *Store) {
	t.Helper()
	store, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return NewSite(put(t, store, content), config), store
}

func put(t *testing.T, store *Store, content map[string]string) Manifest {
	t.Helper()
	batch, err := store.NewBatch(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m := Manifest{}
	for path, text := range content {
		hash, size, err := Hash(path, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := batch.Add(hash, []byte(text)); err != nil {
			t.Fatal(err)
		}
		m[path] = File{Hash: hash, Size: size, Type: ContentType(path)}
	}
	if err := batch.Commit(); err != nil {
		t.Fatal(err)
	}
	return m
}

func ask(t *testing.T, site *Site, store *Store, method, target string, headers ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	if err := Serve(w, r, site, store); err != nil {
		t.Fatal(err)
	}
	return w.Result()
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var long = strings.Repeat("compressible text. ", 200)

func TestAFileIsServedWithItsTypeAndCacheRules(t *testing.T) {
	site, store := shelf(t, Config{}, map[string]string{
		"/index.html": "<p>", "/a.css": "b{}", "/a.js": "1", "/a.svg": "<svg/>", "/a.json": "{}", "/LICENSE": "free", "/a.woff2": "x", "/A.PNG": "x",
	})
	for path, want := range map[string]string{
		"/": "text/html; charset=utf-8", "/a.css": "text/css; charset=utf-8", "/a.js": "text/javascript; charset=utf-8",
		"/a.svg": "image/svg+xml", "/a.json": "application/json", "/LICENSE": "", "/a.woff2": "font/woff2", "/A.PNG": "image/png",
	} {
		r := ask(t, site, store, "GET", path)
		if got := r.Header.Get("Content-Type"); r.StatusCode != 200 || got != want {
			t.Errorf("%s: %d %q, want 200 %q", path, r.StatusCode, got, want)
		}
		if got := r.Header.Get("Cache-Control"); got != "public, max-age=0, must-revalidate" {
			t.Errorf("%s: Cache-Control %q", path, got)
		}
	}
	for _, header := range []string{"Authorization", "Range"} {
		if got := ask(t, site, store, "GET", "/a.css", header, "bytes=0-1").Header.Get("Cache-Control"); got != "" {
			t.Errorf("with %s: Cache-Control %q", header, got)
		}
	}
}

func TestAKnownFileIsNotSentAgain(t *testing.T) {
	site, store := shelf(t, Config{}, map[string]string{"/a.css": long})
	plain := ask(t, site, store, "GET", "/a.css").Header.Get("ETag")
	zipped := ask(t, site, store, "GET", "/a.css", "Accept-Encoding", "gzip").Header.Get("ETag")
	if plain == "" || zipped == "" || plain == zipped {
		t.Fatalf("tags %q and %q must differ", plain, zipped)
	}
	for _, tt := range []struct {
		match, accept string
		want          int
	}{
		{plain, "", 304},
		{"W/" + plain, "", 304},
		{`"other", ` + plain, "", 304},
		{"*", "", 304},
		{zipped, "gzip", 304},
		{"W/" + zipped, "gzip", 304},
		{plain, "gzip", 304},
		{zipped, "", 200},
		{`"other"`, "", 200},
		{`"other"`, "gzip", 200},
	} {
		r := ask(t, site, store, "GET", "/a.css", "If-None-Match", tt.match, "Accept-Encoding", tt.accept)
		if r.StatusCode != tt.want {
			t.Errorf("If-None-Match %s, Accept-Encoding %q: %d, want %d", tt.match, tt.accept, r.StatusCode, tt.want)
		}
		if body := text(t, r); tt.want == 304 && body != "" {
			t.Errorf("304 with a body of %d bytes", len(body))
		}
	}
}

func TestGzipIsSentWhenAcceptedAndWorthIt(t *testing.T) {
	noise := make([]byte, 4096)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	site, store := shelf(t, Config{}, map[string]string{"/a.css": long, "/a.png": long, "/noise.txt": string(noise), "/empty.css": ""})
	for _, tt := range []struct {
		path, accept string
		zipped, vary bool
	}{
		{"/a.css", "gzip", true, true},
		{"/a.css", "br, gzip;q=0.5", true, true},
		{"/a.css", "*", true, true},
		{"/a.css", "gzip;q=0", false, true},
		{"/a.css", "*, gzip; q=0.0", false, true},
		{"/a.css", "br", false, true},
		{"/a.css", "", false, true},
		{"/a.png", "gzip", false, false},
		{"/noise.txt", "gzip", false, true},
		{"/empty.css", "gzip", false, true},
	} {
		for range 2 { // the second time from the kept copy
			r := ask(t, site, store, "GET", tt.path, "Accept-Encoding", tt.accept)
			if got := r.Header.Get("Content-Encoding") == "gzip"; got != tt.zipped || (r.Header.Get("Vary") != "") != tt.vary {
				t.Errorf("%s %q: %v", tt.path, tt.accept, r.Header)
			}
			if tt.zipped {
				z, err := gzip.NewReader(r.Body)
				if err != nil {
					t.Fatal(err)
				}
				if data, err := io.ReadAll(z); err != nil || string(data) != long {
					t.Errorf("%s %q: unzipped to %d bytes, %v", tt.path, tt.accept, len(data), err)
				}
			}
		}
	}
}

func TestRangesAreOfThePlainBytes(t *testing.T) {
	site, store := shelf(t, Config{}, map[string]string{"/a.txt": "0123456789" + long})
	tag := ask(t, site, store, "GET", "/a.txt").Header.Get("ETag")
	for _, tt := range []struct {
		ranges, ifRange string
		status          int
		body            string
	}{
		{"bytes=2-4", "", 206, "234"},
		{"bytes=0-0", "", 206, "0"},
		{"bytes=-3", "", 206, "t. "},
		{"bytes=2-4", tag, 206, "234"},
		{"bytes=2-4", `"other"`, 200, "0123456789" + long},
		{"bytes=99999-", "", 416, ""},
	} {
		r := ask(t, site, store, "GET", "/a.txt", "Range", tt.ranges, "If-Range", tt.ifRange, "Accept-Encoding", "gzip")
		if body := text(t, r); r.StatusCode != tt.status || (tt.status != 416 && body != tt.body) {
			t.Errorf("%s if %q: %d %.20q, want %d %.20q", tt.ranges, tt.ifRange, r.StatusCode, body, tt.status, tt.body)
		}
		if r.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: encoded", tt.ranges)
		}
	}
}

func TestMethodsRedirectsAndTheSitesOwn404(t *testing.T) {
	site, store := shelf(t, Config{NotFoundHandling: Page404}, map[string]string{"/index.html": "home", "/404.html": "lost"})
	head := ask(t, site, store, "HEAD", "/")
	if head.StatusCode != 200 || text(t, head) != "" || head.Header.Get("Content-Length") != "4" {
		t.Errorf("HEAD: %d %v", head.StatusCode, head.Header)
	}
	post := ask(t, site, store, "POST", "/")
	if post.StatusCode != 405 || post.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d, Allow %q", post.StatusCode, post.Header.Get("Allow"))
	}
	moved := ask(t, site, store, "GET", "/index.html?a=1&b=%20")
	if moved.StatusCode != 307 || moved.Header.Get("Location") != "/?a=1&b=%20" {
		t.Errorf("redirect: %d to %q", moved.StatusCode, moved.Header.Get("Location"))
	}
	lost := ask(t, site, store, "GET", "/nowhere", "Range", "bytes=0-1")
	if lost.StatusCode != 404 || text(t, lost) != "lost" || lost.Header.Get("ETag") != "" {
		t.Errorf("404 page: %d, %v", lost.StatusCode, lost.Header)
	}
	if lost := ask(t, site, store, "HEAD", "/nowhere"); lost.StatusCode != 404 || text(t, lost) != "" {
		t.Errorf("HEAD of a missing page: %d", lost.StatusCode)
	}
}

func TestAStoreKeepsWhatWasCommittedAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	open := func() *Store {
		store, err := OpenStore(dir)
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	store := open()
	kept := put(t, store, map[string]string{"/a": "first", "/b": "second", "/empty": ""})
	unfinished, err := store.NewBatch(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := unfinished.Add(fakeHash("lost"), bytes.Repeat([]byte("x"), 1<<20)); err != nil {
		t.Fatal(err)
	}
	if _, have := store.Size(fakeHash("lost")); have {
		t.Error("a blob is visible before Commit")
	}
	store = open() // as after a crash
	for path, want := range map[string]string{"/a": "first", "/b": "second", "/empty": ""} {
		blob, err := store.Open(kept[path].Hash)
		if err != nil {
			t.Fatal(err)
		}
		if data, err := io.ReadAll(blob); err != nil || string(data) != want {
			t.Errorf("%s = %q, %v", path, data, err)
		}
		blob.Close()
	}
	if _, err := store.Open(fakeHash("lost")); err != ErrMissing {
		t.Errorf("the unfinished blob: %v", err)
	}
	if left, _ := filepath.Glob(dir + "/" + temporary + "*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSweepDropsAndRepacks(t *testing.T) {
	dir := t.TempDir()
	store, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := put(t, store, map[string]string{"/keep": "keep", "/drop": strings.Repeat("drop", 100)})
	put(t, store, map[string]string{"/gone": "gone"})
	if err := store.Sweep(rand.Reader, func(hash string) bool { return hash == m["/keep"].Hash }); err != nil {
		t.Fatal(err)
	}
	packs, _ := filepath.Glob(dir + "/*" + packSuffix)
	if len(packs) != 1 {
		t.Fatalf("%d packs are left", len(packs))
	}
	if info, err := os.Stat(packs[0]); err != nil || info.Size() > 200 {
		t.Errorf("the pack has %d bytes, %v", info.Size(), err)
	}
	if store, err = OpenStore(dir); err != nil {
		t.Fatal(err)
	}
	if _, have := store.Size(m["/drop"].Hash); have {
		t.Error("a dropped blob is back after a restart")
	}
	blob, err := store.Open(m["/keep"].Hash)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	if data, _ := io.ReadAll(blob); string(data) != "keep" {
		t.Errorf("kept blob = %q", data)
	}
}

func TestADamagedPackIsAnErrorNotAWrongFile(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"cut off":     func(b []byte) []byte { return b[:len(b)-5] },
		"empty":       func([]byte) []byte { return nil },
		"wild offset": func(b []byte) []byte { b[len(b)-12] = 0xff; return b },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			store, err := OpenStore(dir)
			if err != nil {
				t.Fatal(err)
			}
			put(t, store, map[string]string{"/a": "first"})
			packs, _ := filepath.Glob(dir + "/*" + packSuffix)
			data, err := os.ReadFile(packs[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(packs[0], damage(data), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenStore(dir); err == nil {
				t.Error("the store opens")
			}
		})
	}
}
