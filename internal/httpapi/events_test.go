package httpapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/internal/doortest"
)

func TestEventsAreAStreamThatGoesOnWhereItWas(t *testing.T) {
	s, _ := serve(t)
	for name, c := range map[string]struct {
		query, header string
		first         string
	}{
		"from now on":       {"", "", "id: 3"},
		"after a number":    {"?after=4", "", "id: 4"},
		"as a browser says": {"?after=1", "5", "id: 5"},
	} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/v1/events"+c.query, nil)
		req.Header.Set("Authorization", "Bearer "+doortest.Agent)
		if c.header != "" {
			req.Header.Set("Last-Event-ID", c.header)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("%s: %v %v", name, resp.Status, err)
		}
		blocks := strings.Split(strings.TrimSuffix(string(text), "\n\n"), "\n\n")
		if blocks[0] != c.first || blocks[len(blocks)-1] != "id: 9" {
			t.Errorf("%s: %q", name, blocks)
		}
		for _, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(line, "id: 99") { // a target has it in its text
				t.Errorf("%s: words became an event: %q", name, text)
			}
		}
	}
}

func TestAStreamIsRefusedBeforeItBegins(t *testing.T) {
	s, _ := serve(t)
	for name, c := range map[string]struct {
		token, query string
		status       int
	}{
		"nobody":             {"", "", http.StatusUnauthorized},
		"a provider":         {doortest.Provider, "", http.StatusForbidden},
		"a stopped agent":    {doortest.Halted, "", http.StatusConflict},
		"another parameter":  {doortest.Agent, "?since=1", http.StatusBadRequest},
		"the same one twice": {doortest.Agent, "?after=1&after=2", http.StatusBadRequest},
		"no number":          {doortest.Agent, "?after=x", http.StatusBadRequest},
		"below zero":         {doortest.Agent, "?after=-2", http.StatusBadRequest},
	} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/v1/events"+c.query, nil)
		if c.token != "" {
			req.Header.Set("Authorization", "Bearer "+c.token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		line, _ := bufio.NewReader(resp.Body).ReadString('\n')
		_ = resp.Body.Close()
		if resp.StatusCode != c.status || !strings.Contains(line, `"code"`) {
			t.Errorf("%s: %s %s", name, resp.Status, line)
		}
	}
}

// The client comes back by itself, after the last event that was handled.
func TestTheClientGoesOnAfterABreak(t *testing.T) {
	s, _ := serve(t)
	c, err := client.New(client.Config{URL: s.URL, Token: doortest.Agent})
	if err != nil {
		t.Fatal(err)
	}
	var got []int64
	enough := errors.New("enough")
	err = c.Events(t.Context(), purser.AskEvents{After: 4}, func(e purser.Event) error {
		if got = append(got, e.Seq); e.Seq == 6 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || !slices.Equal(got, []int64{5, 6}) {
		t.Errorf("%v %v", got, err)
	}
	// The fake ends each stream; with nothing more to come the client gives up.
	got = nil
	err = c.Events(t.Context(), purser.AskEvents{After: 5}, func(e purser.Event) error { got = append(got, e.Seq); return nil })
	if purser.CodeOf(err) != purser.Unavailable || !slices.Equal(got, []int64{6}) {
		t.Errorf("%v %v", got, err)
	}
	bad, _ := client.New(client.Config{URL: s.URL, Token: "wrong"})
	if err := bad.Events(t.Context(), purser.AskEvents{}, nil); purser.CodeOf(err) != purser.NotSignedIn {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Events(ended, purser.AskEvents{}, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
