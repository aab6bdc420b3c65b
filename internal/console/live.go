package console

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/a-h/templ"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/gate"
)

const (
	// elsewhere is how often a stream looks without being told: another replica's
	// changes, and what only time changes, as a request that ran out.
	elsewhere = 2 * time.Second
	// breath is the least time between two looks: a burst of changes is one.
	breath = 60 * time.Millisecond
	// recheck is how long after news a stream finds out that its session was ended.
	recheck = 300 * time.Millisecond
	// heartbeat keeps proxies from closing a stream, and is when its session is
	// looked at again.
	heartbeat = 20 * time.Second
)

// stops is the part of every page that tells which stops are in force.
func (v *visit) stops() part {
	return part{id: "stops", live: true, label: "Stops in force", body: stopsBanner(v)}
}

// parts are all that can change on a page: of the frame, and of the screen.
func (v *visit) parts(p page) []part {
	all := []part{
		v.stops(),
		{id: "waiting", live: true, body: count(v.overview.Waiting)},
		{id: "waiting-small", live: true, body: count(v.overview.Waiting)},
	}
	for _, x := range p.parts {
		if x.live {
			all = append(all, x)
		}
	}
	return all
}

// piecesOf renders the live parts, and names their contents.
func (v *visit) piecesOf(ctx context.Context, p page) (html []sent, err error) {
	for _, x := range v.parts(p) {
		var b bytes.Buffer
		if err := x.body.Render(ctx, &b); err != nil {
			return nil, fmt.Errorf("making the part %s of %s: %w", x.id, v.name, err)
		}
		html = append(html, sent{x.id, b.String(), fingerprint(b.Bytes())})
	}
	return html, nil
}

// sent is a part as it is sent.
type sent struct{ id, html, hash string }

func fingerprint(b []byte) string {
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:6])
}

// seen writes what a browser shows: the fingerprint of each part, in order.
func seen(all []sent) string {
	hashes := make([]string, len(all))
	for i, s := range all {
		hashes[i] = s.hash
	}
	return strings.Join(hashes, ".")
}

// once makes the live parts for the page and for its stream alike, which is told
// what the page shows.
func (v *visit) once(p page) (page, error) {
	all, err := v.piecesOf(v.ctx, p)
	if err != nil {
		return p, err
	}
	p.stream = "/events?" + url.Values{"page": {v.r.URL.RequestURI()}, "seen": {seen(all)}}.Encode()
	p.parts = slices.Clone(p.parts)
	for i, x := range p.parts {
		if at := slices.IndexFunc(all, func(s sent) bool { return x.live && s.id == x.id }); at >= 0 {
			p.parts[i].body = templ.Raw(all[at].html)
		}
	}
	return p, nil
}

// message is one event with the parts that differ from what a browser shows, as
// swaps of htmx; empty when there are none. Its id is what the browser shows then,
// so that a stream that broke goes on from there.
func message(all []sent, has string) string {
	old := strings.Split(has, ".")
	var b strings.Builder
	for i, s := range all {
		if len(old) == len(all) && old[i] == s.hash {
			continue
		}
		b.WriteString(`<hx-partial hx-target="#` + s.id + `" hx-swap="innerMorph">` + s.html + "</hx-partial>")
	}
	if b.Len() == 0 {
		return ""
	}
	lines := strings.Split(strings.ReplaceAll(b.String(), "\r", ""), "\n")
	return "id: " + seen(all) + "\ndata: " + strings.Join(lines, "\ndata: ") + "\n\n"
}

// watch is one page as one person sees it, looked at once for all browsers that
// have it open.
type watch struct {
	console *Console
	key     watchKey
	screen  screen
	request *http.Request
	end     context.CancelFunc
	users   int   // guarded by the watches
	records int64 // of the log at the last look
	looked  time.Time

	mu      sync.Mutex
	now     []sent
	changed chan struct{} // closed at the next change
}

type watchKey struct{ organization, person, role, uri string }

// watches are the pages that somebody has open.
type watches struct {
	mu  sync.Mutex
	all map[watchKey]*watch
}

// join finds the watch of a page, or begins one.
func (c *Console) join(v *visit, uri string) (*watch, error) {
	key := watchKey{v.by.Organization, v.by.ID, string(v.by.Role), uri}
	c.watches.mu.Lock()
	defer c.watches.mu.Unlock()
	if w := c.watches.all[key]; w != nil {
		w.users++
		return w, nil
	}
	ctx, end := context.WithCancel(context.WithoutCancel(v.ctx))
	found, r, err := c.find(ctx, uri)
	if err != nil {
		end()
		return nil, err
	}
	w := &watch{console: c, key: key, screen: found, request: r, changed: make(chan struct{}), users: 1, end: end}
	if c.watches.all == nil {
		c.watches.all = map[watchKey]*watch{}
	}
	c.watches.all[key] = w
	by := v.by
	by.Key, by.Token = "", ""
	go w.run(ctx, by)
	return w, nil
}

// streams counts the browsers that have a page open.
func (c *Console) streams() int {
	c.watches.mu.Lock()
	defer c.watches.mu.Unlock()
	n := 0
	for _, w := range c.watches.all {
		n += w.users
	}
	return n
}

// leave ends a watch that nobody looks at any more.
func (c *Console) leave(w *watch) {
	c.watches.mu.Lock()
	defer c.watches.mu.Unlock()
	if w.users--; w.users == 0 {
		delete(c.watches.all, w.key)
		w.end()
	}
}

// run looks at the page at each change in the organization, until nobody does.
func (w *watch) run(ctx context.Context, by purser.Actor) {
	tick := time.NewTicker(elsewhere)
	defer tick.Stop()
	for told := true; ; {
		news := w.console.Office.News(by.Organization)
		w.look(ctx, by, told)
		select {
		case <-ctx.Done():
			return
		case <-w.console.Office.Leaving():
			return
		case <-tick.C:
			told = false
			continue
		case <-news:
			told = true
		}
		select { // what comes together is shown together
		case <-ctx.Done():
			return
		case <-time.After(breath):
		}
	}
}

// look makes the page's parts, and tells who waits when one of them changed. When
// nobody told of a change, the log's size is asked first.
func (w *watch) look(ctx context.Context, by purser.Actor, told bool) {
	v := &visit{console: w.console, ctx: ctx, r: w.request, by: by, name: w.screen.name, zone: time.UTC}
	if err := v.look(); err != nil {
		return // the page stays as it is, and the next look tries again
	}
	if !told && v.overview.Records == w.records && time.Since(w.looked) < heartbeat {
		return
	}
	p, err := w.screen.show(v)
	if err != nil {
		return
	}
	all, err := v.piecesOf(ctx, p)
	if err != nil {
		return
	}
	w.records, w.looked = v.overview.Records, time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if seen(all) != seen(w.now) {
		w.now = all
		close(w.changed)
		w.changed = make(chan struct{})
	}
}

// state is what the page shows now, and what is closed when it no longer does.
func (w *watch) state() ([]sent, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now, w.changed
}

// events is the one stream of a page: the parts that changed, and nothing else.
func (c *Console) events(rw http.ResponseWriter, r *http.Request) {
	v := c.visit(rw, r, "events")
	if !v.admitted() {
		return
	}
	w, err := c.join(v, r.URL.Query().Get("page"))
	if err != nil {
		gate.Problem(rw, r, err)
		return
	}
	defer c.leave(w)
	h := rw.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // a proxy must not collect it
	has := r.URL.Query().Get("seen")
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		has = last
	}
	if err := v.follow(w, has); err != nil && !errors.Is(err, context.Canceled) {
		gate.EntryOf(r.Context()).Fail(err)
	}
}

// follow sends what changes until the browser leaves, the server does, or the
// session ends.
func (v *visit) follow(w *watch, has string) error {
	conn := http.NewResponseController(v.w)
	write := func(text string) error {
		_ = conn.SetWriteDeadline(time.Now().Add(heartbeat)) // not every connection has one
		if _, err := v.w.Write([]byte(text)); err != nil {
			return nil //nolint:nilerr // who is gone needs no more
		}
		return conn.Flush()
	}
	if err := write(": here\n\n"); err != nil {
		return err
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	news, check := v.console.Office.News(v.by.Organization), (<-chan time.Time)(nil)
	for {
		now, changed := w.state()
		if text := message(now, has); now != nil && text != "" {
			if !v.stays(write) {
				return nil
			}
			if err := write(text); err != nil {
				return err
			}
			has = seen(now)
		}
		select {
		case <-v.ctx.Done():
			return nil
		case <-v.console.Office.Leaving():
			return nil
		case <-changed:
		case <-news: // perhaps that this session was ended
			news, check = nil, time.After(recheck)
		case <-check:
			news, check = v.console.Office.News(v.by.Organization), nil
			if !v.stays(write) {
				return nil
			}
		case <-beat.C:
			if !v.stays(write) {
				return nil
			}
			if err := write(": here\n\n"); err != nil {
				return err
			}
		}
	}
}

// stays reports whether the stream's session is one still. When it was ended, the
// page shows nothing any more but how to go on.
func (v *visit) stays(write func(string) error) bool {
	_, err := v.console.Sessions.Session(v.r)
	if purser.CodeOf(err) == purser.NotSignedIn {
		var b strings.Builder
		if endedPart(v.r.URL.Query().Get("page")).Render(v.ctx, &b) == nil {
			_ = write("data: " + strings.ReplaceAll(b.String(), "\n", " ") + "\n\n") // who is gone needs no more
		}
	}
	return err == nil
}
