package test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/purser-dev/purser/internal/child"
)

// voyage is a demo that runs.
type voyage struct {
	*child.Process
	tmp  string // TMPDIR of the demo, empty again at its end
	out  *journal
	errs *journal
}

// result is what the demo's one object says.
type result struct {
	OK        bool
	MachineMS int64 `json:"machine_ms"`
	Site      struct{ Files, Bytes int64 }
	Error     struct{ Code, Detail, Hint string }
}

// upFile is where a server and its cloud listen.
type upFile struct {
	URL   string
	Pid   int
	Cloud struct {
		HTTPS   string `json:"edge_https"`
		RootPEM string `json:"root_pem"`
		Pid     int
	}
}

// demo starts the demo in a process group of its own, as a shell does. Its input
// stays open, as a terminal's would.
func demo(t *testing.T, args ...string) *voyage {
	t.Helper()
	v := &voyage{tmp: t.TempDir(), out: &journal{}, errs: &journal{}}
	cmd := exec.Command(program, append([]string{"demo"}, args...)...)
	cmd.Env = []string{"TMPDIR=" + v.tmp, "HOME=" + v.tmp, "PATH=" + os.Getenv("PATH")}
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.TempDir(), v.out, v.errs
	p, err := child.Start(cmd, true)
	if err != nil {
		t.Fatal(err)
	}
	v.Process = p
	t.Cleanup(func() {
		_ = syscall.Kill(-p.Pid(), syscall.SIGINT)
		_ = p.Stop(patience)
	})
	return v
}

// said waits for the demo's object.
func (v *voyage) said(t *testing.T) (r result) {
	t.Helper()
	eventually(t, "the demo prints its object", func() bool { return json.Unmarshal([]byte(v.out.String()), &r) == nil })
	return r
}

// up reads where the demo's server is, from its folder.
func (v *voyage) up(t *testing.T) (u upFile) {
	t.Helper()
	eventually(t, "the demo's server is up", func() bool {
		files, _ := filepath.Glob(filepath.Join(v.tmp, "purser-demo-*", "server", "up.json"))
		if len(files) != 1 {
			return false
		}
		text, err := os.ReadFile(files[0])
		return err == nil && json.Unmarshal(text, &u) == nil && u.Cloud.HTTPS != ""
	})
	return u
}

// interrupt is a ctrl-C: the signal reaches the whole group, unless it has ended by itself.
func (v *voyage) interrupt(t *testing.T) int {
	t.Helper()
	if err := syscall.Kill(-v.Pid(), syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
	return v.exit()
}

// exit waits for the end and tells the exit code.
func (v *voyage) exit() int {
	err := v.Err()
	exit, ok := err.(*exec.ExitError)
	if !ok {
		return 0
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()) // as a shell says it
	}
	return exit.ExitCode()
}

// write makes a file of a site.
func write(t *testing.T, dir, path string, body []byte) {
	t.Helper()
	file := filepath.Join(dir, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
}

// documentation is a generated site: 3,000 files, 50 MB.
func documentation(t *testing.T) (dir string, picture []byte) {
	t.Helper()
	dir = t.TempDir()
	random := rand.NewChaCha8([32]byte{1})
	picture = make([]byte, 1<<20)
	for i := range 20 {
		_, _ = random.Read(picture) // it never fails
		write(t, dir, fmt.Sprintf("img/picture %d.png", i), picture)
	}
	for path, body := range map[string]string{
		"index.html": "<h1>home</h1>", "404.html": "<h1>own 404</h1>", "guide/index.html": "<h1>guide</h1>", "guide/first steps.html": "<h1>first</h1>",
		"über/Größe.html": "<h1>Größe</h1>", "über/日本.txt": "日本", "a/style.css": "body{}", "a/app.js": "1", "a/data.json": "{}", "a/logo.svg": "<svg/>",
		"a/font.woff2": "x", "a/code.wasm": "\x00asm", "100%/plus+and&.html": "<h1>odd</h1>",
	} {
		write(t, dir, path, []byte(body))
	}
	for i := range 3000 - 20 - 13 {
		text := fmt.Sprintf("<!doctype html><title>%d</title>%s", i, strings.Repeat(fmt.Sprintf("<p>paragraph %d of the page</p>\n", i), 300))
		write(t, dir, fmt.Sprintf("api/v%d/package-%d/type %d.html", i%7, i%60, i), []byte(text))
	}
	return dir, picture
}

func TestADocumentationSiteOfThousandsOfFilesGoesLiveWhole(t *testing.T) {
	whole(t)
	dir, picture := documentation(t)
	v := demo(t, "--site", dir, "--approve", "auto", "--json", "--keep")
	r := v.said(t)
	if !r.OK || r.Site.Files != 3000 || r.Site.Bytes < 45<<20 {
		t.Fatalf("the demo says %s\n%s", v.out, v.errs)
	}
	t.Logf("3000 files, %d bytes: machine_ms %d", r.Site.Bytes, r.MachineMS)
	up := v.up(t)
	s := site{browser(t, up.Cloud.RootPEM, up.Cloud.HTTPS)}
	t.Run("each address shows its file with its type", s.types)
	t.Run("pages have clean addresses", s.clean)
	t.Run("a known copy is not sent again", s.known)
	t.Run("a part is sent alone", func(t *testing.T) { s.part(t, picture) })
	t.Run("text is packed for who takes it packed", s.packed)
	t.Run("no address leaves the folder", s.inside)
	if code := v.interrupt(t); code != 0 {
		t.Errorf("ctrl-C after the demo kept the site up: exit %d\n%s", code, v.errs)
	}
	v.leftNothing(t)
}

// site is what a browser sees.
type site struct{ *http.Client }

// get fetches a path, written as on the wire.
func (s site) get(t *testing.T, path string, header ...string) (*http.Response, string) {
	t.Helper()
	req := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "https", Host: domain, Opaque: path}, Header: http.Header{}}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	answer, err := s.Do(req.WithContext(t.Context()))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return answer, string(body)
}

func (s site) types(t *testing.T) {
	for path, want := range map[string]struct {
		status     int
		kind, body string
	}{
		"/":                                 {200, "text/html", "home"},
		"/guide/":                           {200, "text/html", "guide"},
		"/guide/first%20steps":              {200, "text/html", "first"},
		"/%C3%BCber/Gr%C3%B6%C3%9Fe":        {200, "text/html", "Größe"},
		"/%C3%BCber/%E6%97%A5%E6%9C%AC.txt": {200, "text/plain", "日本"},
		"/100%25/plus%2Band%26":             {200, "text/html", "odd"},
		"/a/style.css":                      {200, "text/css", "body{}"},
		"/a/app.js":                         {200, "text/javascript", "1"},
		"/a/data.json":                      {200, "application/json", "{}"},
		"/a/logo.svg":                       {200, "image/svg+xml", "<svg/>"},
		"/a/font.woff2":                     {200, "font/woff2", "x"},
		"/a/code.wasm":                      {200, "application/wasm", "\x00asm"},
		"/api/v0/package-0/type%200":        {200, "text/html", "paragraph 0"},
		"/nowhere":                          {404, "text/html", "own 404"},
		"/guide/nowhere/deep":               {404, "text/html", "own 404"},
	} {
		answer, body := s.get(t, path)
		kind := answer.Header.Get("Content-Type")
		if answer.StatusCode != want.status || !strings.HasPrefix(kind, want.kind) || !strings.Contains(body, want.body) {
			t.Errorf("%s is %d %s %.60q to %q, want %v", path, answer.StatusCode, kind, body, answer.Header.Get("Location"), want)
		}
	}
}

func (s site) clean(t *testing.T) {
	for path, want := range map[string]string{
		"/index.html": "/", "/guide": "/guide/", "/guide/index.html": "/guide/", "/guide/first%20steps.html": "/guide/first%20steps",
		"/%C3%BCber/Gr%C3%B6%C3%9Fe.html": "/%C3%BCber/Gr%C3%B6%C3%9Fe",
	} {
		answer, _ := s.get(t, path)
		if to := answer.Header.Get("Location"); answer.StatusCode != http.StatusTemporaryRedirect || to != want {
			t.Errorf("%s is %d to %q, want 307 to %q", path, answer.StatusCode, to, want)
		}
	}
}

func (s site) known(t *testing.T) {
	answer, _ := s.get(t, "/guide/")
	tag := answer.Header.Get("ETag")
	if tag == "" {
		t.Fatal("there is no ETag")
	}
	if again, body := s.get(t, "/guide/", "If-None-Match", tag); again.StatusCode != http.StatusNotModified || body != "" {
		t.Errorf("with its tag: %d %q", again.StatusCode, body)
	}
	if other, _ := s.get(t, "/guide/", "If-None-Match", `"another"`); other.StatusCode != http.StatusOK {
		t.Errorf("with another tag: %d", other.StatusCode)
	}
}

func (s site) part(t *testing.T, picture []byte) {
	const path = "/img/picture%2019.png"
	if answer, body := s.get(t, path); body != string(picture) || answer.Header.Get("Content-Type") != "image/png" {
		t.Errorf("the picture came as %s of %d bytes", answer.Header.Get("Content-Type"), len(body))
	}
	answer, body := s.get(t, path, "Range", "bytes=1000-1999")
	if answer.StatusCode != http.StatusPartialContent || body != string(picture[1000:2000]) {
		t.Errorf("a range is %d with %d bytes", answer.StatusCode, len(body))
	}
	if answer, _ := s.get(t, path, "Range", "bytes=99999999-"); answer.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("a range beyond the end is %d", answer.StatusCode)
	}
}

func (s site) packed(t *testing.T) {
	_, plain := s.get(t, "/api/v1/package-1/type%201")
	answer, body := s.get(t, "/api/v1/package-1/type%201", "Accept-Encoding", "gzip")
	if answer.Header.Get("Content-Encoding") != "gzip" || len(body) >= len(plain) {
		t.Fatalf("encoding %q, %d bytes of %d", answer.Header.Get("Content-Encoding"), len(body), len(plain))
	}
	reader, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if open, err := io.ReadAll(reader); err != nil || string(open) != plain {
		t.Errorf("unpacked it is %d bytes, %v; want %d", len(open), err, len(plain))
	}
	if answer, _ := s.get(t, "/img/picture%200.png", "Accept-Encoding", "gzip"); answer.Header.Get("Content-Encoding") != "" {
		t.Error("a picture was packed")
	}
}

func (s site) inside(t *testing.T) {
	for _, path := range []string{
		"/../../../../etc/passwd", "/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/guide/..%2f..%2f..%2fetc/passwd", "/..%5c..%5cetc/passwd", "/guide/%00", "//etc/passwd",
	} {
		if answer, body := s.get(t, path); answer.StatusCode == http.StatusOK || strings.Contains(body, "root:") {
			t.Errorf("%s is %d %.60q", path, answer.StatusCode, body)
		}
	}
}

// What is no plain file that can be read is named before anything starts.
func TestAFolderThatCannotBeDeployedIsAnErrorThatNamesTheFile(t *testing.T) {
	whole(t)
	for _, c := range []struct {
		name string
		make func(path string) error
	}{
		{"a link", func(p string) error { return os.Symlink("/etc/passwd", p) }},
		{"a link to itself", func(p string) error { return os.Symlink(p, p) }},
		{"a link to the folder above", func(p string) error { return os.Symlink("..", p) }},
		{"a pipe", func(p string) error { return syscall.Mkfifo(p, 0o600) }},
		{"a socket", func(p string) error {
			l, err := net.Listen("unix", p)
			if err == nil {
				l.(*net.UnixListener).SetUnlinkOnClose(false)
				err = l.Close()
			}
			return err
		}},
		{"a file that nobody may read", func(p string) error {
			if os.Geteuid() == 0 {
				return nil // root reads all: see the skip below
			}
			return os.WriteFile(p, []byte("x"), 0)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp("", "s") // short: a socket's path may have 107 bytes
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			write(t, dir, "index.html", []byte("x"))
			odd := filepath.Join(dir, "deep", "odd one")
			if err := os.Mkdir(filepath.Dir(odd), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := c.make(odd); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(odd); err != nil {
				t.Skip("root may read every file")
			}
			v := demo(t, "--site", dir, "--approve", "auto", "--json")
			code, r := v.exit(), v.said(t)
			if code != 2 || r.Error.Code != "unsafe_folder" || !strings.Contains(r.Error.Detail, "odd one") {
				t.Errorf("exit %d: %s", code, v.out)
			}
			if bytes.Contains([]byte(v.errs.String()), []byte("are up at")) {
				t.Error("the server was started before the folder was read")
			}
			v.leftNothing(t)
		})
	}
}
