package purser_test

import (
	"strings"
	"testing"

	"github.com/purser-dev/purser"
)

func TestAnAmountThatNoRequestCanSayIsRefused(t *testing.T) {
	for _, c := range []struct {
		text, currency string
		amount         int64
		says           string
	}{
		{"90071992547409.91", "USD", 1<<53 - 1, ""},
		{"90071992547409.92", "USD", 0, "no amount is above 90071992547409.91 USD"},
		{"9007199254740992 JPY", "USD", 0, "no amount is above 9007199254740991 JPY"},
		{"99999999999999999999", "USD", 0, "is too much"},
		{"12a", "USD", 0, "is not an amount in USD"},
	} {
		m, err := purser.ParseMoney(c.text, c.currency)
		if m.Amount != c.amount || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s is %v, %v", c.text, m, err)
		}
	}
}
