package browser

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// The scripts of a page come when they come: those that follow the changes must not
// begin before all of them are there.
func TestAPageWhoseScriptsComeSlowlyFollowsWhatChanges(t *testing.T) {
	t.Parallel()
	var scripts atomic.Int64
	b, shop := behindProxy(t, func(_ http.ResponseWriter, r *http.Request) bool {
		if path.Ext(r.URL.Path) == ".js" { // each later than the one that was asked for before it
			time.Sleep(time.Duration(scripts.Add(1)) * 200 * time.Millisecond)
		}
		return false
	})
	if _, err := chromedp.Call(b.ctx, network.SetCacheDisabled, network.SetCacheDisabledParams{CacheDisabled: true}); err != nil {
		t.Fatalf("forgetting the scripts: %v", err)
	}
	scripts.Store(0)
	b.visit("/approvals")
	b.sees("nothing waits for you")
	shop.plans(t, shop.lamp())
	b.sees("lamp")
}

// What a page is to follow may be away when the page begins to: it is asked for again.
func TestAPageWhoseStreamDoesNotBeginAsksAgain(t *testing.T) {
	t.Parallel()
	var broken, asked atomic.Int64
	b, shop := behindProxy(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/events" {
			return false
		}
		asked.Add(1)
		if broken.Add(-1) < 0 {
			return false
		}
		http.Error(w, "nobody is there", http.StatusBadGateway)
		return true
	})
	broken.Store(1)
	asked.Store(0)
	b.visit("/approvals")
	b.sees("nothing waits for you")
	shop.plans(t, shop.lamp())
	b.sees("lamp")
	time.Sleep(12 * time.Second) // a stream that goes is asked for no more
	if n := asked.Load(); n != 2 {
		t.Errorf("the stream was asked for %d times", n)
	}
}

// behindProxy is a browser before a proxy, and an agent with a run; first sees each request before it
// is passed on, and may answer it.
func behindProxy(t *testing.T, first func(http.ResponseWriter, *http.Request) bool) (*tab, *shop) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	behind := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: listener.Addr().String()})
		r.Out.Host = r.In.Host
	}}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !first(w, r) {
			behind.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(front.Close)
	_, port, err := net.SplitHostPort(front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	address, link := serve(t, "listener", listener, "public_url", "http://localhost:"+port)
	b := open(t, address)
	b.setUp(link)
	shop := sell(t, "desk")
	b.hires(shop)
	return b, shop
}
