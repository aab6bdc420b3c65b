package fault

import "testing"

func TestTheNilSetNeverMisbehaves(t *testing.T) {
	var s *Set
	for _, w := range All() {
		if s.On(w) || s.Hit(w) {
			t.Errorf("%s is on", w)
		}
	}
}

func TestASwitchMisbehavesAsOftenAsItWasTurned(t *testing.T) {
	s := NewSet()
	if err := s.Turn(ChargeTwice, 2); err != nil {
		t.Fatal(err)
	}
	var hits int
	for range 5 {
		if s.Hit(ChargeTwice) {
			hits++
		}
	}
	if hits != 2 || s.Hits()[ChargeTwice] != 2 || s.On(ChargeTwice) {
		t.Errorf("hits = %d, counted %v, still on %v", hits, s.Hits(), s.On(ChargeTwice))
	}
}

func TestAnUnknownSwitchIsRefused(t *testing.T) {
	if err := NewSet().Turn("registrar_other_sufix", Always); err == nil {
		t.Error("a misspelt switch was accepted")
	}
}
