package oauthapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestADocumentOfThisMachineIsReadForTrialsOnly(t *testing.T) {
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/id":
			_, _ = w.Write([]byte(`{}`))
		case "/long":
			_, _ = w.Write([]byte(strings.Repeat(" ", documentLimit+1)))
		case "/page":
			w.Header().Set("Content-Type", "text/html")
		case "/moved":
			http.Redirect(w, r, "/id", http.StatusFound)
		case "/gone":
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer s.Close()
	if text, err := NewDocuments(true).Fetch(t.Context(), s.URL+"/id"); err != nil || string(text) != "{}" {
		t.Errorf("a trial: %q %v", text, err)
	}
	for _, path := range []string{"/long", "/page", "/moved", "/gone"} {
		if text, err := NewDocuments(true).Fetch(t.Context(), s.URL+path); err == nil {
			t.Errorf("%s is taken: %.20q", path, text)
		}
	}
	before := asked
	for _, address := range []string{s.URL + "/id", strings.Replace(s.URL, "127.0.0.1", "localhost", 1) + "/id", strings.Replace(s.URL, "127.0.0.1", "[::ffff:127.0.0.1]", 1) + "/id"} {
		if _, err := NewDocuments(false).Fetch(t.Context(), address); err == nil {
			t.Errorf("%s is read", address)
		}
	}
	if asked != before {
		t.Error("this machine was asked")
	}
}

func TestOnlyPublicAddressesAreDialled(t *testing.T) {
	for address, want := range map[string]bool{
		"93.184.216.34:443": true, "[2606:2800:220:1::1]:443": true, "10.0.0.1:443": false, "169.254.169.254:80": false, "127.0.0.1:443": false, "[::1]:443": false, "[fe80::1%eth0]:443": false,
		"[::ffff:10.0.0.1]:443": false, "rubbish": false,
	} {
		if err := reachable(address, false); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
	if reachable("10.0.0.1:80", true) == nil || reachable("127.0.0.1:80", true) != nil {
		t.Error("a trial reaches more than this machine, or not even that")
	}
}
