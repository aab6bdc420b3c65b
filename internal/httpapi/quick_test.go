package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/purser-dev/purser"
)

// What is found without the mux is found as the mux finds it, and nothing else is.
func TestAFixedPlaceIsWhereTheMuxFindsIt(t *testing.T) {
	s, o := serve(t)
	charge := []string{auth, agent, keyed, "k", kind, jsonDoc}
	for path, want := range map[string]int{
		"/v1/charges": 200, "/v1/ch%61rges": 200, "/v1/charges/": 404, "/v1/charges?": 200, "/v1/charges?run=r": 400, "/v1/CHARGES": 404, "/v1/holds": 405,
	} {
		method := http.MethodPost
		if want == 405 {
			method = http.MethodDelete
		}
		resp, body := ask(t, method, s.URL+path, chargeBody, charge...)
		if resp.StatusCode != want {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
	if n := len(o.Made()); n != 3 {
		t.Errorf("%d charges reached the office", n)
	}
	if resp, _ := ask(t, http.MethodHead, s.URL+"/v1/holds", "", auth, agent); resp.StatusCode != 200 {
		t.Errorf("HEAD: %d", resp.StatusCode)
	}
}

// timed is an answer whose connection keeps the deadlines that were set.
type timed struct {
	*httptest.ResponseRecorder
	deadlines []time.Time
}

func (w *timed) SetReadDeadline(at time.Time) error {
	w.deadlines = append(w.deadlines, at)
	return nil
}

func TestABodyIsReadWithinATimeThatDoesNotStay(t *testing.T) {
	long := strings.Repeat("x", pieceMost+1)
	for name, tt := range map[string]struct {
		body   io.Reader
		says   int64
		want   string
		code   purser.Code
		clears bool
	}{
		"as long as it says":    {strings.NewReader("{}"), 2, "{}", "", true},
		"not said how long":     {strings.NewReader("{}"), -1, "{}", "", true},
		"more than one piece":   {strings.NewReader(long), int64(len(long)), long, "", true},
		"none":                  {http.NoBody, 0, "", "", true},
		"shorter than it says":  {io.MultiReader(strings.NewReader("{"), iotest.ErrReader(io.ErrUnexpectedEOF)), 2, "", purser.InvalidRequest, false},
		"never comes":           {iotest.ErrReader(errors.New("timeout")), 2, "", purser.InvalidRequest, false},
		"too long, as it says":  {strings.NewReader(strings.Repeat("x", bodyLimit+1)), bodyLimit + 1, "", purser.TooLarge, false},
		"too long, and no word": {strings.NewReader(strings.Repeat("x", bodyLimit+1)), -1, "", purser.TooLarge, false},
	} {
		w := &timed{ResponseRecorder: httptest.NewRecorder()}
		r := httptest.NewRequest("POST", "/", tt.body)
		r.ContentLength = tt.says
		got, err := read(w, r, bodyLimit)
		if string(got) != tt.want || (err != nil || tt.code != "") && purser.CodeOf(err) != tt.code {
			t.Errorf("%s: %.40q, %v", name, got, err)
		}
		if len(w.deadlines) == 0 || w.deadlines[0].IsZero() || tt.clears && !w.deadlines[len(w.deadlines)-1].IsZero() {
			t.Errorf("%s: deadlines %v", name, w.deadlines)
		}
	}
}

// The room of an answer is used again: no answer may show another's.
func TestAnswersSideBySideAreEachTheirOwn(t *testing.T) {
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			for i := range 200 {
				size := (n*200 + i) * 37 % (textKept + 5000)
				want := fmt.Sprintf("{\"status\":\"<%s>\"}\n", strings.Repeat(string('a'+rune(n)), size))
				w := httptest.NewRecorder()
				answer(w, status{want[len(`{"status":"`) : len(want)-3]})
				if got := w.Body.String(); got != want || w.Header().Get("Content-Length") != fmt.Sprint(len(want)) {
					t.Errorf("%.40q, not %.40q", got, want)
				}
			}
		})
	}
	group.Wait()
	w := httptest.NewRecorder()
	answer(w, nil)
	if !bytes.Equal(w.Body.Bytes(), []byte("{}\n")) {
		t.Errorf("nothing is %q", w.Body)
	}
}
