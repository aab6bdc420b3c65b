package office

import (
	"sync"

	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/store"
)

// factsMost is how many runs are remembered, and as many of before.
const factsMost = 4096

// facts are what the last batches have shown of runs: what to load for their spends.
// Those that nobody spends in are forgotten; one that is not known costs its next
// batch a second question, and decides nothing.
type facts struct {
	mu          sync.RWMutex
	now, before map[string]store.RunFacts // by run
}

func (f *facts) of(run string) (store.RunFacts, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if known, ok := f.now[run]; ok {
		return known, true
	}
	known, ok := f.before[run]
	return known, ok
}

func (f *facts) keep(runs map[string]*spend.Run) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, r := range runs {
		if len(f.now) >= factsMost || f.now == nil {
			f.before, f.now = f.now, make(map[string]store.RunFacts)
		}
		f.now[id] = store.RunFacts{Project: r.Project, Agent: r.Agent, Labels: r.Labels}
	}
}
