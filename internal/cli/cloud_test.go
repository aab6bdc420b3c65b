package cli

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/purser-dev/purser/internal/cloud"
)

// A port that somebody has is no fault of the program.
func TestACloudSaysWhichPortIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	secrets := filepath.Join(t.TempDir(), "secrets.json")
	if err := os.WriteFile(secrets, []byte(`{"signing_secret":"`+strings.Repeat("ab", 32)+`","provider_key":"pur_prv_1","rail_url":"http://127.0.0.1:1"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	s := &session{World: World{Out: &out, Err: &errs}}
	err = s.runCloud(t.Context(), cloud.Options{Dir: t.TempDir(), Secrets: secrets, API: taken.Addr().String()})
	if p := describe(t.Context(), err); p.Code != "unavailable" || !strings.Contains(p.Detail, "cannot listen on "+taken.Addr().String()) {
		t.Errorf("%s: %s", p.Code, p.Detail)
	}
}
