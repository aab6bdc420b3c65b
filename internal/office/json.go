package office

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/purser-dev/purser"
)

// decodeNumbers reads JSON and keeps numbers exact.
func decodeNumbers(raw []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("reading JSON: %w", err)
	}
	return nil
}

func asCoded(err error, e **purser.Error) bool { return errors.As(err, e) }
