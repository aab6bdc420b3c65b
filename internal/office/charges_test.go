package office_test

import (
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/purser-dev/purser"
)

// BenchmarkCharges is what one charge costs when 64 callers of one run ask at a
// time. What is allocated is exact on any machine; of times, that of the processor
// is the better one.
func BenchmarkCharges(b *testing.B) {
	for _, c := range []struct {
		name     string
		database func() string
	}{
		{"sqlite", func() string { return sqlite(b) }},
		{"postgres", func() string { return postgres.Open(b) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			h := open(b, c.database())
			_, agent := h.run(1 << 40)
			raise := func(scope, id string) {
				in := purser.SetBudget{Scope: scope, ID: id, Limit: purser.Money{Amount: 1 << 40, Currency: "USD"}}
				in.Act = h.sign("set_budget", in)
				must[purser.BudgetLine](h, h.owner, "set_budget", in)
			}
			raise("provider", "models/large")
			raise("project", h.project.ID)
			raise("organization", h.owner.Organization)
			raise("category", "models")
			var n atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(32) // times the processors, which are two at least
			b.ResetTimer()
			began := processorTime(b)
			b.RunParallel(func(pb *testing.PB) {
				by := agent
				for pb.Next() {
					by.Key = "charge-" + strconv.FormatInt(n.Add(1), 10)
					if _, err := h.o.ChargeUsage(b.Context(), by, usage(1)); err != nil {
						b.Error(explain(err))
						return
					}
				}
			})
			b.StopTimer()
			b.ReportMetric((processorTime(b)-began).Seconds()*1e6/float64(b.N), "cpu-us/op")
		})
	}
}
