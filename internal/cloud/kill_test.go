package cloud_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/cloud"
	"github.com/purser-dev/purser/internal/cloud/fault"
	"github.com/purser-dev/purser/internal/cloud/shop"
	"github.com/purser-dev/purser/internal/cloud/till/railtest"
)

// childOptions makes this test binary a cloud process: it runs Run with them.
const childOptions = "CLOUD_TEST_OPTIONS"

func TestMain(m *testing.M) {
	if text := os.Getenv(childOptions); text != "" {
		os.Exit(runChild(text))
	}
	os.Exit(m.Run())
}

func runChild(text string) int {
	var o cloud.Options
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	o.Ready = func(r cloud.Ready) { _ = json.NewEncoder(os.Stdout).Encode(r) }
	if err := cloud.Run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// spawn starts the world's cloud as a process that can be killed.
func (w *world) spawn() (kill func()) {
	w.t.Helper()
	o := w.options()
	text, err := json.Marshal(map[string]any{
		"Dir": o.Dir, "Secrets": o.Secrets, "API": o.API, "Edge": o.Edge, "HTTP": o.HTTP, "DNS": o.DNS, "SMTP": o.SMTP, "AllowFaults": true,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^$")
	cmd.Env = append(os.Environ(), childOptions+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // its error is the kill
	})
	w.t.Cleanup(kill)
	line := bufio.NewScanner(out)
	if !line.Scan() || json.Unmarshal(line.Bytes(), &w.ready) != nil {
		w.t.Fatalf("the cloud process said %q", line.Text())
	}
	w.connect()
	return kill
}

func TestAKilledCloudFindsItsPurchaseAgain(t *testing.T) {
	for _, c := range []struct {
		name string
		arm  func(w *world, kill func()) // makes the kill come at the right moment
	}{
		{"between the charge and its answer", func(w *world, kill func()) { w.rail.AfterCharge(kill) }},
		{"between the work and the answer to the buyer", func(w *world, kill func()) {
			w.misbehave(fault.CreateSlow, 1)
			go func() {
				for w.t.Context().Err() == nil {
					found, ok, err := w.client.Find(context.Background(), w.call(""), "ord_domain")
					if err == nil && ok && found.Status == app.StatusComplete {
						kill()
						return
					}
					time.Sleep(5 * time.Millisecond)
				}
			}()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &world{t: t, dir: t.TempDir(), rail: railtest.New(), faults: fault.NewSet()}
			t.Cleanup(w.rail.Close)
			kill := w.spawn()
			wanted := w.want("domain", shop.RegistrarDomain, map[string]any{"domain": "superseal.club"}, "sbx_1")
			c.arm(w, kill)
			if r, err := w.client.Create(t.Context(), w.call("k"), wanted); err == nil {
				t.Fatalf("the killed cloud answered %+v", r)
			}
			w.spawn()
			found, ok, err := w.client.Find(t.Context(), w.call(""), "ord_domain")
			if err != nil || !ok {
				t.Fatalf("not found: %+v, %v", found, err)
			}
			again, err := w.client.Create(t.Context(), w.call("k"), wanted)
			if err != nil || again.ID != found.ID || values(t, again)[shop.KeyDomain] != "superseal.club" {
				t.Errorf("again: %+v, %v; found %+v", again, err, found)
			}
			if w.rail.Total() != 890 || len(w.rail.Charges()) != 1 {
				t.Errorf("charged %d in %d charges", w.rail.Total(), len(w.rail.Charges()))
			}
			w.answers("superseal.club.", "127.0.0.1")
		})
	}
}
