package api

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http/httptest"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser/internal/cloud/assets"
	"github.com/purser-dev/purser/internal/cloud/state"
)

// house is the API over a folder, with one account.
type house struct {
	t       *testing.T
	dir     string
	now     time.Time
	store   *state.Store
	blobs   *assets.Store
	api     *API
	account state.Account
	token   string
	tokenID string
}

func open(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	h.start()
	var err error
	h.account, err = h.store.CreateAccount(t.Context(), "", "Test")
	ok(t, err)
	_, err = h.store.CreateZone(t.Context(), h.account.ID, "superseal.club")
	ok(t, err)
	h.token, h.tokenID, err = h.store.NewToken(t.Context(), state.Scope{Account: h.account.ID})
	ok(t, err)
	return h
}

// start opens everything as a new process does, sweep included.
func (h *house) start() {
	h.t.Helper()
	clock := func() time.Time { return h.now }
	var err error
	h.store, err = state.Open(h.t.Context(), state.Options{Dir: h.dir, Now: clock, Random: rand.Reader})
	ok(h.t, err)
	store := h.store
	h.t.Cleanup(func() { store.Close() })
	h.blobs, err = assets.OpenStore(h.dir + "/blobs")
	ok(h.t, err)
	keep, err := h.store.Sweep(h.t.Context())
	ok(h.t, err)
	ok(h.t, h.blobs.Sweep(rand.Reader, func(hash string) bool { return keep[hash] }))
	h.api, err = New(h.t.Context(), Options{Store: h.store, Blobs: h.blobs, Random: rand.Reader, Now: clock, Log: slog.New(slog.DiscardHandler)})
	ok(h.t, err)
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// reply is an envelope.
type reply struct {
	Status  int
	Success bool
	Errors  []struct {
		Code    int
		Message string
	}
	Messages []any
	Result   json.RawMessage
}

func (r reply) code() int {
	if len(r.Errors) == 0 {
		return 0
	}
	return r.Errors[0].Code
}

// ask sends a request; A and S in the path stand for the account and the script shop.
func (h *house) ask(token, method, path, contentType string, body io.Reader) reply {
	h.t.Helper()
	path = strings.Replace(path, "S/", "/accounts/A/workers/scripts/shop/", 1)
	path = strings.Replace(path, "S?", "/accounts/A/workers/scripts/shop?", 1)
	path = strings.Replace(path, "/A/", "/"+h.account.ID+"/", 1)
	r := httptest.NewRequest(method, "/client/v4"+path, body)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	h.api.ServeHTTP(w, r)
	got := reply{Status: w.Code}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		h.t.Fatalf("%s %s: no envelope: %s", method, path, w.Body)
	}
	if got.Success != (w.Code < 300) || got.Success != (len(got.Errors) == 0) || got.Errors == nil || got.Messages == nil {
		h.t.Errorf("%s %s: envelope %s with status %d", method, path, w.Body, w.Code)
	}
	return got
}

func (h *house) get(path string) reply {
	h.t.Helper()
	return h.ask(h.token, "GET", path, "", nil)
}

func (h *house) send(method, path, body string) reply {
	h.t.Helper()
	return h.ask(h.token, method, path, "application/json", strings.NewReader(body))
}

// part is one part of a form.
type part struct{ name, contentType, body string }

func form(parts ...part) (contentType string, body io.Reader) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		header := textproto.MIMEHeader{"Content-Disposition": {fmt.Sprintf(`form-data; name=%q; filename=%q`, p.name, p.name)}}
		if p.contentType != "" {
			header.Set("Content-Type", p.contentType)
		}
		pw, _ := w.CreatePart(header)
		io.WriteString(pw, p.body)
	}
	w.Close()
	return w.FormDataContentType(), &b
}

func hash(t *testing.T, name, text string) string {
	t.Helper()
	h, _, err := assets.Hash(name, strings.NewReader(text))
	ok(t, err)
	return h
}

func filePart(t *testing.T, name, text string) part {
	return part{hash(t, name, text), assets.ContentType(name), base64.StdEncoding.EncodeToString([]byte(text))}
}

// session opens an upload of the files and answers token and buckets.
func (h *house) session(files map[string]string) (string, [][]string) {
	h.t.Helper()
	m := assets.Manifest{}
	for p, text := range files {
		m[p] = assets.File{Hash: hash(h.t, p, text), Size: int64(len(text))}
	}
	body, err := json.Marshal(map[string]any{"manifest": m})
	ok(h.t, err)
	got := h.send("POST", "S/assets-upload-session", string(body))
	var result struct {
		JWT     string
		Buckets [][]string
	}
	if err := json.Unmarshal(got.Result, &result); err != nil || got.Status != 200 {
		h.t.Fatalf("session: %+v", got)
	}
	return result.JWT, result.Buckets
}

func (h *house) upload(jwt string, parts ...part) reply {
	h.t.Helper()
	contentType, body := form(parts...)
	return h.ask(jwt, "POST", "/accounts/A/workers/assets/upload?base64=true", contentType, body)
}

func (h *house) put(metadata string, more ...part) reply {
	h.t.Helper()
	contentType, body := form(append([]part{{"metadata", "", metadata}}, more...)...)
	return h.ask(h.token, "PUT", "S?excludeScript=true&bindings_inherit=strict", contentType, body)
}

func assetsOnly(jwt string) string {
	return fmt.Sprintf(`{"assets":{"jwt":%q,"config":{"not_found_handling":"404-page"}},"compatibility_date":"2026-11-01","compatibility_flags":[]}`, jwt)
}

// deploy puts files live under the script shop.
func (h *house) deploy(files map[string]string) {
	h.t.Helper()
	jwt, buckets := h.session(files)
	if len(buckets) > 0 {
		var parts []part
		for p, text := range files {
			parts = append(parts, filePart(h.t, p, text))
		}
		if got := h.upload(jwt, parts...); got.Status != 201 {
			h.t.Fatalf("upload: %+v", got)
		}
	}
	if got := h.put(assetsOnly(jwt)); got.Status != 200 {
		h.t.Fatalf("put: %+v", got)
	}
}

// The order in which wrangler 4.164 deploys assets with a custom domain.
func TestTheConversationOfADeployWithADomain(t *testing.T) {
	h := open(t)
	expect := func(name string, got reply, status, code int, contains ...string) {
		t.Helper()
		if got.Status != status || got.code() != code {
			t.Errorf("%s: %d code %d, want %d code %d", name, got.Status, got.code(), status, code)
		}
		for _, c := range contains {
			if !strings.Contains(string(got.Result), c) {
				t.Errorf("%s: %s lacks %s", name, got.Result, c)
			}
		}
	}
	id := `"id":"` + h.account.ID + `"`
	expect("verify", h.get("/user/tokens/verify"), 200, 0, `"status":"active"`)
	expect("verify by account", h.get("/accounts/A/tokens/verify"), 200, 0, `"status":"active"`)
	expect("accounts", h.get("/accounts?page=1"), 200, 0, id)
	expect("memberships", h.get("/memberships?page=1"), 200, 0, id)
	expect("service before", h.get("/accounts/A/workers/services/shop"), 404, 10090)
	expect("deployments before", h.get("S/deployments"), 404, 10007)
	expect("settings before", h.get("S/settings"), 404, 10007)
	expect("subdomain", h.get("/accounts/A/workers/subdomain"), 200, 0, h.account.Subdomain)

	files := map[string]string{"/index.html": "<h1>", "/copy.html": "<h1>", "/a.css": "b{}"}
	jwt, buckets := h.session(files)
	if strings.Count(jwt, ".") != 2 || len(buckets) != 1 || len(buckets[0]) != 2 {
		t.Fatalf("session: %s, %v; want a JWT and each hash once", jwt, buckets)
	}
	expect("upload", h.upload(jwt, filePart(t, "/index.html", "<h1>"), filePart(t, "/a.css", "b{}")), 201, 0, `"jwt":"`)
	if _, buckets := h.session(files); len(buckets) != 0 {
		t.Errorf("after the upload still missing: %v", buckets)
	}
	put := h.put(assetsOnly(jwt))
	expect("put", put, 200, 0, `"id":"shop"`, `"startup_time_ms":`)
	again := h.put(assetsOnly(jwt))
	if string(put.Result) != string(again.Result) {
		t.Errorf("the repeated put answers %s, first %s", again.Result, put.Result)
	}
	expect("worker", h.get("/accounts/A/workers/workers/shop"), 200, 0, `"enabled":false`, "shop."+h.account.Subdomain)
	expect("changeset", h.send("POST", "S/domains/changeset?replace_state=true", `[{"hostname":"superseal.club"}]`), 200, 0, `"added":[{`)
	expect("records", h.send("PUT", "S/domains/records", `{"override_scope":true,"override_existing_origin":true,"override_existing_dns_record":true,"origins":[{"hostname":"superseal.club"}]}`), 200, 0)
	expect("foreign zone", h.send("PUT", "S/domains/records", `{"origins":[{"hostname":"example.com"}]}`), 400, 100114)
	expect("changeset again", h.send("POST", "S/domains/changeset", `[{"hostname":"superseal.club"}]`), 200, 0, `"added":[]`)
	expect("domains", h.get("/accounts/A/workers/domains?hostname=superseal.club"), 200, 0, `"service":"shop"`)
	expect("subdomain off", h.send("POST", "S/subdomain", `{"enabled":false}`), 200, 0, `"enabled":false`)
	expect("service after", h.get("/accounts/A/workers/services/shop"), 200, 0, `"last_deployed_from":"wrangler"`)
	expect("settings after", h.get("S/settings"), 200, 0, `"bindings":[]`)
	expect("secrets", h.get("S/secrets"), 200, 0, `[]`)
	expect("unknown route", h.get("/accounts/A/nonsense"), 404, 7003)
	expect("unknown method", h.send("DELETE", "S/settings", ``), 404, 7003)
}

func TestASecondVersionIsUploadedActivatedAndRolledBack(t *testing.T) {
	h := open(t)
	h.deploy(map[string]string{"/index.html": "one"})
	jwt, _ := h.session(map[string]string{"/index.html": "two"})
	h.upload(jwt, filePart(t, "/index.html", "two"))
	contentType, body := form(part{"metadata", "", assetsOnly(jwt)})
	got := h.ask(h.token, "POST", "S/versions?bindings_inherit=strict", contentType, body)
	var v struct {
		ID     string
		Number int
	}
	ok(t, json.Unmarshal(got.Result, &v))
	app := func() string {
		a, err := h.store.App(t.Context(), h.account.ID, "shop")
		ok(t, err)
		return a.Active
	}
	first := app()
	if got.Status != 200 || v.Number != 2 || first == v.ID {
		t.Fatalf("version: %+v; it must not be active", got)
	}
	switchTo := func(id string, percent int) reply {
		return h.send("POST", "S/deployments", fmt.Sprintf(`{"strategy":"percentage","versions":[{"version_id":%q,"percentage":%d}],"annotations":{"workers/message":"Rollback"}}`, id, percent))
	}
	if got := switchTo(v.ID, 50); got.Status != 400 {
		t.Errorf("half a deployment: %+v", got)
	}
	if got := switchTo(v.ID, 100); got.Status != 200 || app() != v.ID {
		t.Errorf("deployment: %+v, active %s", got, app())
	}
	var list struct {
		Deployments []struct {
			Versions []struct {
				ID string `json:"version_id"`
			}
		}
	}
	ok(t, json.Unmarshal(h.get("S/deployments").Result, &list))
	if len(list.Deployments) != 2 || list.Deployments[0].Versions[0].ID != v.ID || list.Deployments[1].Versions[0].ID != first {
		t.Errorf("deployments are not newest first: %+v", list)
	}
	if got := h.get("S/versions/" + first); got.Status != 200 || !strings.Contains(string(got.Result), `"created_on":"2026-11-23T12:00:00Z"`) {
		t.Errorf("version: %+v", got)
	}
	if got := switchTo(first, 100); got.Status != 200 || app() != first {
		t.Errorf("rollback: %+v, active %s", got, app())
	}
	for range 2 {
		got = h.ask(h.token, "DELETE", "/accounts/A/workers/services/shop?force=true", "", nil)
	}
	if got.Status != 404 || got.code() != 10090 {
		t.Errorf("the second delete: %+v", got)
	}
}

func TestATokenReachesItsOwnScopeOnly(t *testing.T) {
	h := open(t)
	h.deploy(map[string]string{"/index.html": "x"})
	other, err := h.store.CreateAccount(t.Context(), "other", "Other")
	ok(t, err)
	zone, err := h.store.ZoneOf(t.Context(), "superseal.club")
	ok(t, err)
	token := func(scope state.Scope) string {
		secret, _, err := h.store.NewToken(t.Context(), scope)
		ok(t, err)
		return secret
	}
	foreign := token(state.Scope{Account: other.ID})
	script := token(state.Scope{Account: h.account.ID, Script: "blog"})
	dns := token(state.Scope{Account: h.account.ID, Zone: zone.ID})
	for _, tt := range []struct {
		name, token, method, path string
		want                      int
	}{
		{"none", "", "GET", "/accounts", 401},
		{"rubbish", "rubbish", "GET", "/accounts", 401},
		{"another account's", foreign, "GET", "S/settings", 403},
		{"another account's, changing", foreign, "DELETE", "/accounts/A/workers/services/shop", 403},
		{"another script's", script, "GET", "S/settings", 403},
		{"another script's, removing", script, "DELETE", "/accounts/A/workers/services/shop", 403},
		{"a zone's, deploying", dns, "GET", "S/settings", 403},
		{"a zone's, another zone", dns, "GET", "/zones/0123/dns_records", 403},
		{"a zone's, its zone", dns, "GET", "/zones/" + zone.ID + "/dns_records", 200},
		{"another account's zone", foreign, "GET", "/zones/" + zone.ID + "/dns_records", 404},
		{"its own", h.token, "GET", "S/settings", 200},
	} {
		if got := h.ask(tt.token, tt.method, tt.path, "", nil); got.Status != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got.Status, tt.want)
		}
	}
	ok(t, h.store.Suspend(t.Context(), h.account.ID))
	if got := h.get("S/settings"); got.Status != 403 || got.code() != 10000 {
		t.Errorf("stopped: %+v", got)
	}
}

func TestABlobIsNamedOnlyByTheAccountThatUploadedIt(t *testing.T) {
	h := open(t)
	h.deploy(map[string]string{"/secret.txt": "of the first account"})
	other, err := h.store.CreateAccount(t.Context(), "other", "Other")
	ok(t, err)
	h.account = other
	h.token, h.tokenID, err = h.store.NewToken(t.Context(), state.Scope{Account: other.ID})
	ok(t, err)
	jwt, buckets := h.session(map[string]string{"/secret.txt": "of the first account"})
	if len(buckets) != 1 {
		t.Errorf("the session tells that another account has the file: %v", buckets)
	}
	if got := h.put(assetsOnly(jwt)); got.Status != 400 || !strings.Contains(got.Errors[0].Message, "was not uploaded") {
		t.Errorf("another account's file is deployed: %+v", got)
	}
}

func TestAnUploadThatIsNotWhatItSaysIsRefusedWhole(t *testing.T) {
	h := open(t)
	files := map[string]string{"/index.html": "<h1>", "/a.css": "b{}"}
	jwt, _ := h.session(files)
	good, page := filePart(t, "/a.css", "b{}"), filePart(t, "/index.html", "<h1>")
	with := func(change func(*part)) part {
		p := page
		change(&p)
		return p
	}
	for name, bad := range map[string]part{
		"other bytes":         with(func(p *part) { p.body = base64.StdEncoding.EncodeToString([]byte("<h2>")) }),
		"more bytes":          with(func(p *part) { p.body = base64.StdEncoding.EncodeToString([]byte("<h1>x")) }),
		"no base64":           with(func(p *part) { p.body = "%%%" }),
		"line breaks":         with(func(p *part) { p.body = p.body[:4] + "\n" + p.body[4:] }),
		"cut off":             with(func(p *part) { p.body = p.body[:4] }),
		"not in the manifest": filePart(t, "/x.txt", "x"),
		"a path as name":      with(func(p *part) { p.name = "../../x" }),
	} {
		if got := h.upload(jwt, good, bad); got.Status != 400 {
			t.Errorf("%s: %d, want 400", name, got.Status)
		}
	}
	if _, buckets := h.session(files); len(buckets) != 1 || len(buckets[0]) != 2 {
		t.Errorf("something of the refused uploads was kept: %v", buckets)
	}
	contentType, body := form(good, page)
	data, err := io.ReadAll(body)
	ok(t, err)
	if got := h.ask(jwt, "POST", "/accounts/A/workers/assets/upload?base64=true", contentType, bytes.NewReader(data[:len(data)-30])); got.Status != 400 {
		t.Errorf("a form that breaks off: %d", got.Status)
	}
	if got := h.put(assetsOnly(jwt)); got.Status != 400 {
		t.Errorf("a version with files that were not uploaded: %d", got.Status)
	}
}

func TestAnUploadTokenIsNobodyElses(t *testing.T) {
	h := open(t)
	jwt, _ := h.session(map[string]string{"/a.css": "b{}"})
	good := filePart(t, "/a.css", "b{}")
	header, rest, _ := strings.Cut(jwt, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`))
	payload, signature, _ := strings.Cut(rest, ".")
	for name, token := range map[string]string{
		"empty": "", "the API token": h.token, "unsigned": none + "." + payload + ".",
		"other header": none + "." + rest, "cut": header + "." + payload, "changed": header + ".x" + payload + "." + signature,
	} {
		if got := h.upload(token, good); got.Status != 401 {
			t.Errorf("%s: %d, want 401", name, got.Status)
		}
	}
	ok(t, h.store.RevokeToken(t.Context(), h.tokenID))
	if got := h.upload(jwt, good); got.Status != 401 {
		t.Errorf("after the API token was revoked: %d", got.Status)
	}
	if _, stored := h.blobs.Size(good.name); stored {
		t.Error("an upload with a revoked token was stored")
	}
	var err error
	h.token, h.tokenID, err = h.store.NewToken(t.Context(), state.Scope{Account: h.account.ID})
	ok(t, err)
	jwt, _ = h.session(map[string]string{"/a.css": "b{}"})
	h.now = h.now.Add(state.SessionLife)
	if got := h.upload(jwt, good); got.Status != 401 {
		t.Errorf("an hour later: %d", got.Status)
	}
}

func TestWhatIsNoStaticSiteIsRejectedByName(t *testing.T) {
	h := open(t)
	jwt, _ := h.session(map[string]string{})
	for name, tt := range map[string]struct {
		metadata string
		more     []part
		code     int
		says     string
	}{
		"code":       {assetsOnly(jwt), []part{{"index.js", "application/javascript+module", "export default {}"}}, 10021, "index.js"},
		"main":       {`{"main_module":"index.js","assets":{"jwt":"` + jwt + `"}}`, nil, 10021, "no code"},
		"binding":    {`{"bindings":[{"name":"DB","type":"d1"}],"assets":{"jwt":"` + jwt + `"}}`, nil, 10021, "DB"},
		"no assets":  {`{}`, nil, 10021, "assets"},
		"no json":    {`{`, nil, CodeBadRequest, "JSON"},
		"bad config": {`{"assets":{"jwt":"` + jwt + `","config":{"html_handling":"odd"}}}`, nil, 10021, "odd"},
		"bad token":  {`{"assets":{"jwt":"x.y.z"}}`, nil, CodeBadRequest, "token"},
	} {
		got := h.put(tt.metadata, tt.more...)
		if got.Status != 400 || got.code() != tt.code || !strings.Contains(got.Errors[0].Message, tt.says) {
			t.Errorf("%s: %+v, want code %d with %q", name, got, tt.code, tt.says)
		}
	}
	for name, body := range map[string]string{
		"climbing": `{"manifest":{"/../x":{"hash":"` + strings.Repeat("0", 32) + `","size":1}}}`,
		"too big":  `{"manifest":{"/x":{"hash":"` + strings.Repeat("0", 32) + `","size":26214401}}}`,
		"bad hash": `{"manifest":{"/x":{"hash":"../x","size":1}}}`,
		"no json":  `[`,
	} {
		if got := h.send("POST", "S/assets-upload-session", body); got.Status != 400 {
			t.Errorf("manifest %s: %d", name, got.Status)
		}
	}
}

func TestAHostnameOfAnotherScriptIsAConflictThatNamesBoth(t *testing.T) {
	h := open(t)
	h.deploy(map[string]string{"/index.html": "x"})
	attach := `{"override_existing_origin":true,"override_existing_dns_record":true,"origins":[{"hostname":"new.superseal.club"},{"hostname":"superseal.club"}]}`
	if got := h.send("PUT", "S/domains/records", `{"origins":[{"hostname":"superseal.club"}]}`); got.Status != 200 {
		t.Fatalf("attach: %+v", got)
	}
	jwt, _ := h.session(map[string]string{"/index.html": "x"})
	contentType, body := form(part{"metadata", "", assetsOnly(jwt)})
	blog := "/accounts/A/workers/scripts/blog"
	claims := h.ask(h.token, "PUT", blog, contentType, body)
	if claims.Status != 400 {
		t.Errorf("a token of shop's upload deploys blog: %+v", claims)
	}
	jwtBlog := h.send("POST", blog+"/assets-upload-session", `{"manifest":{}}`)
	var session struct{ JWT string }
	ok(t, json.Unmarshal(jwtBlog.Result, &session))
	contentType, body = form(part{"metadata", "", assetsOnly(session.JWT)})
	if got := h.ask(h.token, "PUT", blog, contentType, body); got.Status != 200 {
		t.Fatalf("blog: %+v", got)
	}
	got := h.send("PUT", blog+"/domains/records", attach)
	if got.Status != 409 || got.code() != CodeHostnameTaken || !strings.Contains(got.Errors[0].Message, "shop") || !strings.Contains(got.Errors[0].Message, "blog") {
		t.Errorf("conflict: %+v", got)
	}
	if got := h.get("/accounts/A/workers/domains?service=blog"); string(got.Result) != "[]" {
		t.Errorf("half of the hostnames were attached: %s", got.Result)
	}
	var domains []struct{ ID string }
	ok(t, json.Unmarshal(h.get("/accounts/A/workers/domains").Result, &domains))
	if got := h.send("DELETE", "/accounts/A/workers/domains/"+domains[0].ID, ""); got.Status != 200 {
		t.Fatalf("detach: %+v", got)
	}
	if got := h.send("PUT", blog+"/domains/records", attach); got.Status != 200 {
		t.Errorf("after the hostname was freed: %+v", got)
	}
}

func TestAfterACrashBetweenUploadAndSwitchTheOldVersionIsActive(t *testing.T) {
	h := open(t)
	h.deploy(map[string]string{"/index.html": "old"})
	before, err := h.store.App(t.Context(), h.account.ID, "shop")
	ok(t, err)
	jwt, _ := h.session(map[string]string{"/index.html": "new"})
	if got := h.upload(jwt, filePart(t, "/index.html", "new")); got.Status != 201 {
		t.Fatalf("upload: %+v", got)
	}
	h.start() // a new process over the same folder, the old one still open as after SIGKILL
	after, err := h.store.App(t.Context(), h.account.ID, "shop")
	ok(t, err)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the app changed: %s", diff)
	}
	blob, err := h.blobs.Open(hash(t, "/index.html", "old"))
	ok(t, err)
	ok(t, blob.Close())
	if got := h.put(assetsOnly(jwt)); got.Status != 200 {
		t.Errorf("the upload's token does not work after the restart: %+v", got)
	}
	after, err = h.store.App(t.Context(), h.account.ID, "shop")
	if err != nil || after.Active == before.Active {
		t.Errorf("the new version is not active: %+v, %v", after, err)
	}
	h.now = h.now.Add(2 * state.SessionLife)
	h.deploy(map[string]string{"/index.html": "third"})
	h.start()
	for text, want := range map[string]bool{"old": true, "new": true, "third": true, "never": false} {
		if _, have := h.blobs.Size(hash(t, "/index.html", text)); have != want {
			t.Errorf("blob %q: there = %v, want %v", text, have, want)
		}
	}
}

func TestRecordsOfAZoneAreListedAddedAndRemoved(t *testing.T) {
	h := open(t)
	zone, err := h.store.ZoneOf(t.Context(), "superseal.club")
	ok(t, err)
	at := "/zones/" + zone.ID + "/dns_records"
	got := h.send("POST", at, `{"type":"TXT","name":"_acme","content":"x","ttl":1}`)
	var record struct {
		ID   string
		Name string
		TTL  int
	}
	ok(t, json.Unmarshal(got.Result, &record))
	if got.Status != 200 || record.Name != "_acme.superseal.club" || record.TTL != 300 || record.ID == "" {
		t.Errorf("added: %+v", got)
	}
	if got := h.send("POST", at, `{"type":"CNAME","name":"superseal.club","content":"x.club"}`); got.Status != 409 {
		t.Errorf("a CNAME at the apex: %+v", got)
	}
	if got := h.send("POST", at, `{"type":"A","name":"x","content":"rubbish"}`); got.Status != 400 {
		t.Errorf("a bad record: %+v", got)
	}
	if got := h.get(at); !strings.Contains(string(got.Result), record.ID) {
		t.Errorf("list: %s", got.Result)
	}
	if got := h.send("DELETE", at+"/"+record.ID, ""); got.Status != 200 {
		t.Errorf("removed: %+v", got)
	}
	if got := h.send("DELETE", at+"/"+record.ID, ""); got.Status != 404 {
		t.Errorf("removed twice: %+v", got)
	}
}
