package purser_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/purser-dev/purser"
)

func TestAnIdentifierIsItsTimeAndItsRandomBytesInBase32(t *testing.T) {
	id, err := purser.NewID(purser.PrefixHold, time.UnixMilli(1_800_000_000_000), bytes.NewReader([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}))
	if err != nil || id != "hld_01mcc5rm00e41861050r3gg28a" || !purser.ValidID(purser.PrefixHold, id) {
		t.Errorf("%s, %v", id, err)
	}
	if id, err := purser.NewID(purser.PrefixHold, time.Now(), bytes.NewReader(nil)); err == nil {
		t.Errorf("without randomness there is %s", id)
	}
}
