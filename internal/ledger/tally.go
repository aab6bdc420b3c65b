package ledger

import (
	"hash/maphash"
	"math/bits"
)

// Tally compares two large collections of amounts by name in constant memory: each
// amount is multiplied by a number that is drawn for its name, and the products are
// summed modulo a prime. Two that agree have one sum; two that differ anywhere have
// another, but for one chance in two billion billions that nobody can aim at, since
// the numbers are drawn anew each time. It does not tell where they differ.
type Tally struct {
	seed        maphash.Seed
	left, right uint64
}

// NewTally draws its numbers.
func NewTally() *Tally { return &Tally{seed: maphash.MakeSeed()} }

// prime is 2^61 - 1.
const prime = 1<<61 - 1

// A Mark is the number of a name.
type Mark uint64

// Mark returns the number of a name, given in parts.
func (t *Tally) Mark(parts ...string) Mark {
	var h maphash.Hash
	h.SetSeed(t.seed)
	for _, p := range parts {
		_, _ = h.WriteString(p)
		_ = h.WriteByte(0) // names are words and identifiers: none holds a zero byte
	}
	return Mark(h.Sum64()%(prime-1) + 1)
}

// Left adds an amount to the first collection; it may be below zero.
func (t *Tally) Left(m Mark, amount int64) { t.left = sum(t.left, product(m, amount)) }

// Right adds an amount to the second collection.
func (t *Tally) Right(m Mark, amount int64) { t.right = sum(t.right, product(m, amount)) }

// Agree reports whether each name has the same total in both.
func (t *Tally) Agree() bool { return t.left == t.right }

func sum(a, b uint64) uint64 {
	if s := a + b; s >= prime {
		return s - prime
	} else {
		return s
	}
}

func product(m Mark, amount int64) uint64 {
	n, below := uint64(amount), amount < 0
	if below {
		n = -n
	}
	hi, lo := bits.Mul64(uint64(m), n%prime)
	p := sum(lo&prime, (hi<<3|lo>>61)%prime)
	if below && p > 0 {
		return prime - p
	}
	return p
}
