package test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the cloud's own books are read here

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/internal/child"
	"github.com/purser-dev/purser/internal/cloud"
	"github.com/purser-dev/purser/internal/folder"
)

const (
	free     = "127.0.0.1:0"
	secret   = "the two share exactly this secret" // of server and cloud
	faultKey = "the test holds the switches"
	domain   = "superseal.club"
	page     = "<h1>superseal</h1>"
)

// house is a server and a cloud, each a process of its own on a folder of its
// own, with the wire between them, an owner, and a run with its agent's token.
type house struct {
	dir      string
	database string
	wire     *wire
	log      *journal
	server   *child.Process
	cloud    *child.Process
	sold     cloud.Ready
	url      string // of the server; stays over restarts
	person   person
	token    string // the person's, as it lies on a disk
	run      purser.Run
	agent    *client.Client
}

// build makes a house. database is empty for SQLite.
func build(t *testing.T, database string, budget int64) *house {
	t.Helper()
	h := &house{dir: t.TempDir(), database: database, wire: newWire(t), log: &journal{}}
	h.settle(t, budget)
	return h
}

// settle starts both processes, and makes the owner, the provider and the run.
func (h *house) settle(t *testing.T, budget int64) {
	t.Helper()
	t.Cleanup(func() {
		left := h.leaves(t)
		for _, p := range []*child.Process{h.server, h.cloud} {
			if p != nil {
				_ = p.Stop(5 * time.Second) // how it ended matters only to the tests of ending
			}
		}
		if t.Failed() { // what says most comes last: of a long log somebody may see the end only
			t.Logf("what the processes said, but for looks at plans:\n%s\nwhat was left:\n%s", h.log.without("op=show_plan"), left)
		}
	})
	h.writeSecrets(t)
	code := h.startServer(t, kept(t))
	h.startCloud(t)
	h.person, h.token = signUp(t, h.url, code)
	if _, err := h.person.CreateProject(t.Context(), purser.CreateProject{Name: "voyage"}); err != nil {
		t.Fatalf("making a project: %v", err)
	}
	h.addCloud(t)
	h.newRun(t, budget)
}

// leaves tells what a failed test leaves: the log of acts, and what is open.
func (h *house) leaves(t *testing.T) string {
	if !t.Failed() || h.person.Client == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var out strings.Builder
	page, err := h.person.AuditLog(ctx, purser.AskAudit{Limit: 200})
	if err != nil {
		fmt.Fprintf(&out, "reading the log: %v\n", err)
	}
	for _, r := range page.Records {
		fmt.Fprintf(&out, "%3d %s %s %s %s %v\n", r.Seq, r.At.Format("04:05.000"), r.Action, r.Target, r.Outcome, r.Record["detail"])
	}
	status, err := h.person.Status(ctx, purser.AskStatus{})
	if err != nil {
		fmt.Fprintf(&out, "reading the status: %v\n", err)
	}
	for _, o := range status.Unsettled {
		fmt.Fprintf(&out, "unsettled: %s of plan %s is %s, attempts %d: %v\n", o.What, o.Plan, o.State, o.Attempts, o.Error)
	}
	return out.String()
}

func (h *house) writeSecrets(t *testing.T) {
	t.Helper()
	text, err := json.Marshal(cloud.Secrets{
		SigningSecret: secret, ProviderKey: "the wire knows it", RailURL: h.wire.URL + "/v1/rail/charges", FaultKey: faultKey,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.dir, "secrets.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(h.dir, "site"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.dir, "site", "index.html"), []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
}

// start runs the binary until it has said its first object.
func (h *house) start(t *testing.T, said any, args ...string) *child.Process {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Env = []string{"HOME=" + h.dir, "PATH=" + os.Getenv("PATH"), "PURSER_DEFAULTS_ORDERS_PER_HOUR=1000000"}
	cmd.Dir, cmd.Stdout, cmd.Stderr = h.dir, write, h.log
	p, err := child.Start(cmd, true)
	_ = write.Close() // the child has its own
	if err != nil {
		t.Fatal(err)
	}
	if err := read.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(read).Decode(said); err != nil {
		_ = p.Stop(0)
		t.Fatalf("purser %s did not become ready: %v\n%s", args[0], err, h.log)
	}
	_ = read.Close() // nothing follows
	return p
}

// startServer starts the server, and returns the set-up code of a first start.
func (h *house) startServer(t *testing.T, listen string) string {
	t.Helper()
	var said struct {
		Data struct {
			URL   string `json:"url"`
			Setup string `json:"setup_code"`
		} `json:"data"`
		Error struct{ Detail string }
	}
	args := []string{"up", "--json", "--until-eof", "--no-cloud", "--dir", filepath.Join(h.dir, "data"), "--listen", listen}
	if h.database != "" {
		args = append(args, "--database", h.database)
	}
	h.server = h.start(t, &said, args...)
	if said.Data.URL == "" {
		t.Fatalf("the server does not serve: %s", said.Error.Detail)
	}
	h.url = said.Data.URL
	h.wire.mu.Lock()
	h.wire.rail = h.url
	h.wire.mu.Unlock()
	return said.Data.Setup
}

// startCloud starts the cloud, the second time at the addresses of the first.
func (h *house) startCloud(t *testing.T) {
	t.Helper()
	h.cloud = h.start(t, &h.sold, "cloud", "--until-eof", "--faults", "--dir", filepath.Join(h.dir, "cloud"), "--secrets", filepath.Join(h.dir, "secrets.json"),
		"--api", free, "--https", free, "--http", free, "--dns", free, "--smtp", free)
	h.wire.mu.Lock()
	h.wire.cloud = h.sold.APIURL
	h.wire.mu.Unlock()
}

// addCloud registers the cloud as any third party, by its manifest and an act.
func (h *house) addCloud(t *testing.T) {
	t.Helper()
	in := purser.AddProvider{Manifest: fetchText(t, h.wire.URL+"/manifest.json"), SigningSecret: secret}
	in.Act = h.person.signs(t, "add_provider", in)
	added, err := h.person.AddProvider(t.Context(), in)
	if err != nil || added.State != "ok" || added.ProviderKey == "" {
		t.Fatalf("registering the cloud: %+v %v", added, err)
	}
	h.wire.mu.Lock()
	h.wire.key = added.ProviderKey
	h.wire.mu.Unlock()
}

func fetchText(t *testing.T, url string) string {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// newRun makes a run with a budget in US cents, and its agent.
func (h *house) newRun(t *testing.T, budget int64) {
	t.Helper()
	in := purser.CreateRun{Project: "voyage", Agent: "agent", Budget: purser.Money{Amount: budget, Currency: "USD"}, Expires: "2h"}
	in.Act = h.person.signs(t, "create_run", in)
	var err error
	if h.run, err = h.person.CreateRun(t.Context(), in); err != nil {
		t.Fatalf("making a run: %v", err)
	}
	h.agent = dial(t, h.url, h.run.Token)
}

// kill is kill -9, and returns when the process is gone.
func kill(t *testing.T, p *child.Process) {
	t.Helper()
	if err := syscall.Kill(p.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
}

// kept is an address that is still free when a killed server comes back to it: a socket
// that is bound and does not listen keeps the kernel from giving its port to anybody else.
func kept(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", at.(*syscall.SockaddrInet4).Port)
}

// restartServer starts the killed server anew, at its old address.
func (h *house) restartServer(t *testing.T) {
	t.Helper()
	h.startServer(t, strings.TrimPrefix(strings.Replace(h.url, "localhost", "127.0.0.1", 1), "http://"))
}

// switches turns the cloud's faults.
func (h *house) switches(t *testing.T, on map[string]int) {
	t.Helper()
	body, err := json.Marshal(on)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.sold.APIURL+"/faults", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+faultKey)
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("turning %v: %s", on, answer.Status)
	}
}

// steps are the demo's: the link, hosting:pro, the domain, hosting:static, the deployment.
func (h *house) steps(t *testing.T) []purser.StepRequest {
	t.Helper()
	return []purser.StepRequest{
		{Service: "local/hosting:pro"},
		{Service: "local/registrar:domain", Configuration: map[string]any{"domain": domain}},
		{Service: "local/hosting:static", Configuration: map[string]any{"domain": domain}, Manifest: h.stage(t)},
	}
}

// stage uploads the site's folder as the agent.
func (h *house) stage(t *testing.T) string {
	t.Helper()
	f, err := folder.Walk(t.Context(), filepath.Join(h.dir, "site"))
	if err != nil {
		t.Fatal(err)
	}
	staged, err := h.agent.Stage(t.Context(), f.Stage())
	if err != nil {
		t.Fatalf("staging: %v", err)
	}
	if err := h.agent.UploadBlobs(t.Context(), staged.Missing, f.Open, nil); err != nil {
		t.Fatalf("uploading: %v", err)
	}
	return staged.Manifest
}

// planned makes a plan of steps as the agent, which must not be refused.
func (h *house) planned(t *testing.T, steps ...purser.StepRequest) purser.Plan {
	t.Helper()
	plan, err := h.agent.Plan(t.Context(), purser.MakePlan{Steps: steps})
	if err != nil {
		t.Fatalf("planning: %v", err)
	}
	return plan
}

// approved is planned, and signed by the person.
func (h *house) approved(t *testing.T, steps ...purser.StepRequest) purser.Plan {
	t.Helper()
	plan := h.planned(t, steps...)
	if plan.State == purser.PlanWaiting {
		h.person.approves(t, plan.ID)
	}
	return plan
}

// applying applies in the background, as the agent. The answer may be lost: it
// is what the tests do to it.
func (h *house) applying(t *testing.T, plan string) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = h.agent.Apply(ctx, purser.Apply{Plan: plan})
	}()
	t.Cleanup(func() { cancel(); <-ended })
}

// ends waits for the end of a plan and returns it.
func (h *house) ends(t *testing.T, id string) (plan purser.Plan) {
	t.Helper()
	eventually(t, "plan "+id+" ends", func() bool {
		var err error
		plan, err = h.person.ShowPlan(t.Context(), purser.PlanRef{Plan: id})
		return err == nil && plan.State != purser.PlanApplying && plan.State != purser.PlanReady
	})
	return plan
}

// receipts are what the seller says it was paid, by resource, in US cents.
func (h *house) receipts(t *testing.T) map[string][]int64 {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(h.dir, "cloud", "cloud.db")+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), `SELECT resource, amount FROM till_charges WHERE state = 'succeeded'`)
	if err != nil {
		t.Fatalf("reading the seller's receipts: %v", err)
	}
	defer rows.Close()
	found := map[string][]int64{}
	for rows.Next() {
		var id string
		var amount int64
		if err := rows.Scan(&id, &amount); err != nil {
			t.Fatal(err)
		}
		found[id] = append(found[id], amount)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

// listed is the provider's own list of what it made for us, read over APP.
func (h *house) listed(t *testing.T) []app.Resource {
	t.Helper()
	s, err := app.NewSigner(app.SignerConfig{Secrets: []string{secret}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := app.NewClient(app.ClientConfig{BaseURL: h.sold.APIURL + "/app/", TokenURL: h.sold.APIURL + "/app/oauth/token", Signer: s})
	if err != nil {
		t.Fatal(err)
	}
	h.wire.mu.Lock()
	bearer := h.wire.bearer
	h.wire.mu.Unlock()
	all, err := c.List(t.Context(), app.Call{Bearer: bearer})
	if err != nil {
		t.Fatalf("asking the provider for its list: %v", err)
	}
	return all
}

// bought checks a plan from all sides: each order live, one resource of its own
// at the provider, one charge for each priced step and none for the others.
func (h *house) bought(t *testing.T, plan purser.Plan) {
	t.Helper()
	if plan.State != purser.PlanDone || len(plan.Orders) != len(plan.Terms.Steps) {
		t.Errorf("the plan is %s with %d orders of %d steps: %v", plan.State, len(plan.Orders), len(plan.Terms.Steps), plan.Error)
	}
	captured := map[string][]int64{}
	spend, err := h.person.Spend(t.Context(), purser.AskSpend{Page: purser.Page{Limit: 200}})
	if err != nil {
		t.Fatalf("reading what was spent: %v", err)
	}
	for _, e := range spend.Events {
		if e.Kind == "capture" {
			captured[e.Order] = append(captured[e.Order], e.Amount.Amount)
		}
	}
	made, receipts := map[string][]string{}, h.receipts(t)
	for _, r := range h.listed(t) {
		made[r.OrchestratorResourceID] = append(made[r.OrchestratorResourceID], r.ID)
	}
	for _, o := range plan.Orders {
		step := plan.Terms.Steps[o.Step-1]
		if o.State != purser.OrderLive {
			t.Errorf("order %d (%s) is %s: %v", o.Step, o.What, o.State, o.Error)
		}
		var want []int64
		if step.Price.Now > 0 {
			want = []int64{step.Price.Now}
		}
		if !slices.Equal(captured[o.ID], want) {
			t.Errorf("order %d (%s) was charged %v, want %v", o.Step, o.What, captured[o.ID], want)
		}
		if step.Kind != purser.ServiceStep {
			continue
		}
		if len(made[o.ID]) != 1 {
			t.Errorf("the provider has %d resources for order %d (%s): %v", len(made[o.ID]), o.Step, o.What, made[o.ID])
			continue
		}
		if got := receipts[made[o.ID][0]]; !slices.Equal(got, want) {
			t.Errorf("the seller's receipts of order %d (%s) are %v, want %v", o.Step, o.What, got, want)
		}
		delete(made, o.ID)
		delete(captured, o.ID)
	}
	if len(made) > 0 || len(captured) > 0 {
		t.Errorf("beyond the plan's orders there are resources %v and charges %v", made, captured)
	}
}

// sound walks the books, and has the log verified by a process that has only the
// export and the key.
func (h *house) sound(t *testing.T) {
	t.Helper()
	books, err := h.person.CheckBooks(t.Context(), purser.None{})
	if err != nil || !books.OK {
		t.Errorf("the books: %v %v", err, books.Faults)
	}
	var head purser.AuditPage
	eventually(t, "the log's newest records are under a checkpoint", func() bool {
		head, err = h.person.AuditLog(t.Context(), purser.AskAudit{Limit: 1})
		return err == nil && strings.Contains(head.Checkpoint, "\n") && head.PublicKey != ""
	})
	var export bytes.Buffer
	if err := h.person.ExportAudit(t.Context(), purser.ExportAudit{}, &export); err != nil {
		t.Fatalf("exporting the log: %v", err)
	}
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(file, export.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	verify := exec.Command(program, "audit", "verify", file, "--key", head.PublicKey)
	verify.Env, verify.Dir = []string{}, filepath.Dir(file)
	if out, err := verify.CombinedOutput(); err != nil {
		t.Errorf("purser audit verify: %v\n%s", err, out)
	}
}

// settled is sound with no money left on hold.
func (h *house) settled(t *testing.T) {
	t.Helper()
	spend, err := h.person.Spend(t.Context(), purser.AskSpend{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range spend.Held {
		if m.Amount != 0 {
			t.Errorf("%v is still held", m)
		}
	}
	h.sound(t)
}

// served checks that the site is there, with only the cloud's root trusted.
func (h *house) served(t *testing.T) {
	t.Helper()
	answer, err := browser(t, h.sold.RootPEM, h.sold.EdgeHTTPS).Get("https://" + domain + "/")
	if err != nil {
		t.Fatalf("the site: %v", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || string(text) != page {
		t.Errorf("the site shows %q, %v", text, err)
	}
}

// browser trusts one root and finds every name at one edge. It follows no
// redirects and unpacks nothing.
func browser(t *testing.T, root, edge string) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(root)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{
		DisableCompression: true, TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, edge)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Timeout: patience, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
