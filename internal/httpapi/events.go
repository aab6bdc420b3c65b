package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/gate"
)

const (
	eventTime   = 30 * time.Second // for a reader to take what was written
	admitEvents = 10 * time.Second // after which a stream's credential is looked at again
)

// errEnded ends a stream whose credential no longer holds.
var errEnded = errors.New("the credential no longer holds")

// events is the stream of what happens, as server-sent events. An event's id is the
// record's number, so that a reader who comes back with Last-Event-ID misses
// nothing. An event without data only says how far the stream has come.
func events(c Config) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		by, err := c.Gate.Admit(r)
		in := purser.AskEvents{}
		if err == nil {
			in.After, err = eventsAfter(r)
		}
		if err != nil {
			gate.Problem(w, r, err)
			return
		}
		conn, begun, admitted := http.NewResponseController(w), false, time.Now()
		err = c.Office.Events(r.Context(), by, in, func(events []purser.Event, next int64) error {
			if !begun {
				begun = true
				w.Header().Set("Content-Type", "text/event-stream")
				w.Header().Set("X-Accel-Buffering", "no") // a proxy that waits for more would hold it back
				w.WriteHeader(http.StatusOK)
			}
			if time.Since(admitted) >= admitEvents {
				if _, err := c.Gate.Admit(r); err != nil {
					return errEnded
				}
				admitted = time.Now()
			}
			_ = conn.SetWriteDeadline(time.Now().Add(eventTime)) // not every connection has one
			if err := writeEvents(w, events, next); err != nil {
				return err
			}
			return conn.Flush()
		})
		if err != nil && !begun {
			gate.Problem(w, r, err)
		}
	}
}

// writeEvents writes one block for each event, and one without data for what was
// left out since.
func writeEvents(w http.ResponseWriter, events []purser.Event, next int64) error {
	var b strings.Builder
	last := int64(-1)
	for _, e := range events {
		text, err := json.Marshal(e)
		if err != nil {
			return err
		}
		last = e.Seq
		fmt.Fprintf(&b, "id: %d\ndata: %s\n\n", e.Seq, text)
	}
	if last != next {
		fmt.Fprintf(&b, "id: %d\n\n", next)
	}
	_, err := w.Write([]byte(b.String()))
	return err
}

// eventsAfter reads where the stream begins: a browser that comes back says it in a
// header, others may say it in the query. Without either it is now.
func eventsAfter(r *http.Request) (int64, error) {
	text := r.Header.Get("Last-Event-ID")
	for name, values := range r.URL.Query() {
		if name != "after" || len(values) != 1 {
			return 0, purser.Errorf(purser.InvalidRequest, "a stream of events takes one parameter: after")
		}
		if text == "" {
			text = values[0]
		}
	}
	if text == "" {
		return -1, nil
	}
	after, err := strconv.ParseInt(text, 10, 64)
	if err != nil || after < 0 {
		return 0, purser.Errorf(purser.InvalidRequest, "a stream goes on after the number of a record")
	}
	return after, nil
}
