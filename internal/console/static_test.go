package console

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestVendoredFilesAreTheOnesNamed(t *testing.T) {
	text, err := files.ReadFile("static/vendor.txt")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]string{"LICENSES.txt": ""}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 4 && !strings.HasPrefix(line, "#") {
			named[f[0]] = f[3]
		}
	}
	there, err := fs.ReadDir(files, "static/vendor")
	if err != nil || len(there) != len(named) {
		t.Errorf("%d files are vendored and %d are named (%v)", len(there), len(named), err)
	}
	for _, f := range there {
		content, err := files.ReadFile("static/vendor/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(content)
		if want, ok := named[f.Name()]; !ok || want != "" && hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s has the SHA-256 %x and vendor.txt says %q", f.Name(), sum, want)
		}
	}
}

func TestAStaticFileIsPackedAndKept(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /static/{name}", serveStatic)
	get := func(path string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w
	}
	packed := get(static("live.js"), "Accept-Encoding", "br, gzip")
	if packed.Header().Get("Content-Encoding") != "gzip" || packed.Body.Len() > 16<<10 || !strings.Contains(packed.Header().Get("Cache-Control"), "immutable") {
		t.Errorf("packed: %d bytes, %v", packed.Body.Len(), packed.Header())
	}
	plain := get("/static/live.js")
	if plain.Header().Get("Content-Encoding") != "" || strings.Contains(plain.Header().Get("Cache-Control"), "immutable") {
		t.Errorf("plain and without its version: %v", plain.Header())
	}
	if again := get("/static/live.js", "If-None-Match", plain.Header().Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
		t.Errorf("again: %d with %d bytes", again.Code, again.Body.Len())
	}
	if none := get("/static/passwd"); none.Code != http.StatusNotFound {
		t.Errorf("a file that is not there: %d", none.Code)
	}
	if style := get(static("console.css")).Body.String(); !strings.Contains(style, static("inter.woff2")) {
		t.Error("the style does not name the typeface by its lasting address")
	}
}
