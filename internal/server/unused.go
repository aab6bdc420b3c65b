package server

import (
	"net"
	"net/http"
	"sync"
)

// unused are the connections on which nothing was asked yet. Shutdown would wait
// five seconds for each, as if a request were on its way; clients open some in
// advance, so a server that stops closes them at once.
type unused struct {
	mu    sync.Mutex
	conns map[net.Conn]bool
	ended bool
}

func (u *unused) watch(c net.Conn, state http.ConnState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if state != http.StateNew {
		delete(u.conns, c)
		return
	}
	if u.ended {
		_ = c.Close()
		return
	}
	if u.conns == nil {
		u.conns = map[net.Conn]bool{}
	}
	u.conns[c] = true
}

func (u *unused) hangUp() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ended = true
	for c := range u.conns {
		_ = c.Close()
	}
}
