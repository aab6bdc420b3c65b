package guard_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/guard"
)

// Where a window begins and where the next one does, its name changes and nowhere between:
// in zones whose clocks jump at midnight, too.
func TestAWindowIsFromItsBeginningUntilTheNext(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"UTC", "America/New_York", "Europe/Berlin", "America/Havana", "America/Sao_Paulo", "Asia/Beirut", "Pacific/Apia", "Australia/Lord_Howe"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		for range 3000 {
			now := time.UnixMicro(r.Int64N(time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()))
			for _, period := range []string{purser.PeriodHour, purser.PeriodDay, purser.PeriodWeek, purser.PeriodMonth} {
				window, next := guard.Window(period, "", now, zone)
				began := guard.Began(period, now, zone)
				if began.After(now) || !next.After(now) {
					t.Fatalf("%s, %s of %s: from %s until %s", name, period, now, began, next)
				}
				in := func(at time.Time) bool {
					n, _ := guard.Window(period, "", at, zone)
					return n == window
				}
				if !in(began) || in(began.Add(-1)) || !in(next.Add(-1)) || in(next) {
					t.Fatalf("%s, %s of %s (%s): from %s until %s", name, period, now.In(zone), window, began.In(zone), next.In(zone))
				}
			}
		}
	}
	if !guard.Began(purser.PeriodTotal, time.Now(), time.UTC).IsZero() || !guard.Began(purser.PeriodRun, time.Now(), time.UTC).IsZero() {
		t.Error("what has no beginning began")
	}
}
