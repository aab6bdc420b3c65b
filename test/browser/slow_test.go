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
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	behind := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: listener.Addr().String()})
		r.Out.Host = r.In.Host
	}}
	var scripts atomic.Int64
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path.Ext(r.URL.Path) == ".js" { // each later than the one that was asked for before it
			time.Sleep(time.Duration(scripts.Add(1)) * 200 * time.Millisecond)
		}
		behind.ServeHTTP(w, r)
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
	if _, err := chromedp.Call(b.ctx, network.SetCacheDisabled, network.SetCacheDisabledParams{CacheDisabled: true}); err != nil {
		t.Fatalf("forgetting the scripts: %v", err)
	}
	scripts.Store(0)
	b.visit("/approvals")
	b.sees("nothing waits for you")
	shop.plans(t, shop.lamp())
	b.sees("lamp")
}
