package blob

import "sync"

// barriers shares folder syncs: all who wait for a folder while a sync of it
// runs are served by the one that begins after it.
type barriers struct {
	sync func(dir string) error

	mu   sync.Mutex
	next map[string]*barrier // not begun yet
	busy map[string]*barrier // running
}

type barrier struct {
	done chan struct{}
	err  error
}

// wait returns after a sync of dir that began after wait was called.
func (b *barriers) wait(dir string) error {
	b.mu.Lock()
	if b.next == nil {
		b.next, b.busy = map[string]*barrier{}, map[string]*barrier{}
	}
	mine, waiting := b.next[dir]
	if !waiting {
		mine = &barrier{done: make(chan struct{})}
		b.next[dir] = mine
	}
	running := b.busy[dir]
	b.mu.Unlock()
	if !waiting {
		b.lead(dir, mine, running)
	}
	<-mine.done
	return mine.err
}

func (b *barriers) lead(dir string, mine, running *barrier) {
	if running != nil {
		<-running.done
	}
	b.mu.Lock()
	delete(b.next, dir)
	b.busy[dir] = mine
	b.mu.Unlock()
	mine.err = b.sync(dir)
	b.mu.Lock()
	if b.busy[dir] == mine {
		delete(b.busy, dir)
	}
	b.mu.Unlock()
	close(mine.done)
}
