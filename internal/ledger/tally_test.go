package ledger

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

func TestATallyAgreesExactlyWhenEachNameHasOneTotal(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for round := range 200 {
		tally := NewTally()
		totals := map[string]int64{}
		for range 50 {
			name, amount := fmt.Sprint("hold_", rng.IntN(20)), rng.Int64N(1<<40)-1<<39
			totals[name] += amount
			tally.Left(tally.Mark(name, "held"), amount)
		}
		for name, total := range totals {
			tally.Right(tally.Mark(name, "held"), total)
		}
		if !tally.Agree() {
			t.Fatalf("round %d: the same totals do not agree", round)
		}
		name := fmt.Sprint("hold_", rng.IntN(20))
		for what, change := range map[string]func(*Tally){
			"one more":           func(c *Tally) { c.Right(c.Mark(name, "held"), 1) },
			"moved to another":   func(c *Tally) { c.Right(c.Mark(name, "held"), 7); c.Right(c.Mark("hold_x", "held"), -7) },
			"another column":     func(c *Tally) { c.Right(c.Mark(name, "held"), -7); c.Right(c.Mark(name, "captured"), 7) },
			"a power of two":     func(c *Tally) { c.Left(c.Mark(name, "held"), 1<<62) },
			"parts that run on":  func(c *Tally) { c.Left(c.Mark("a", "bc"), 5); c.Right(c.Mark("ab", "c"), 5) },
			"the smallest there": func(c *Tally) { c.Left(c.Mark(name), math.MinInt64) },
		} {
			c := *tally
			change(&c)
			if c.Agree() {
				t.Errorf("round %d: %s is not seen", round, what)
			}
		}
	}
}

func FuzzTheProductIsThatOfTheIntegers(f *testing.F) {
	f.Add(uint64(1), int64(-1))
	f.Add(uint64(prime-1), int64(math.MinInt64))
	f.Add(uint64(math.MaxUint64), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, m uint64, amount int64) {
		m = m%(prime-1) + 1
		want := new(big.Int).Mul(new(big.Int).SetUint64(m), big.NewInt(amount))
		want.Mod(want, big.NewInt(prime))
		if got := product(Mark(m), amount); got != want.Uint64() {
			t.Errorf("%d times %d is %d, want %v", m, amount, got, want)
		}
	})
}
