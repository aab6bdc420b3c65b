package app

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAllFiveEnvelopesAreReadOnAnyShape(t *testing.T) {
	for _, test := range []struct {
		title, body string
		want        Failure
		failed      bool
	}{
		{"flat", `{"error":{"code":"invalid_signature","message":"m"}}`, Failure{EnvelopeFlat, "", Problem{"invalid_signature", "m"}}, true},
		{"typed", `{"type":"error","id":"acctreq_1","error":{"code":"expired","message":"m"}}`, Failure{EnvelopeTyped, "acctreq_1", Problem{"expired", "m"}}, true},
		{"status", `{"status":"error","id":"","error":{"code":"forbidden","message":"m"}}`, Failure{EnvelopeStatus, "", Problem{"forbidden", "m"}}, true},
		{"status with a null id", `{"status":"error","id":null,"error":{"code":"c"}}`, Failure{EnvelopeStatus, "", Problem{"c", ""}}, true},
		{"oauth", `{"error":"invalid_grant","error_description":"d"}`, Failure{EnvelopeOAuth, "", Problem{"invalid_grant", "d"}}, true},
		{"detail", `{"detail":"Not Found"}`, Failure{EnvelopeDetail, "", Problem{"", "Not Found"}}, true},
		{"detail with a list", `{"detail":[{"loc":["body"]}]}`, Failure{EnvelopeDetail, "", Problem{"", `[{"loc":["body"]}]`}}, true},
		{"typed with a string", `{"type":"error","error":"broken"}`, Failure{EnvelopeTyped, "", Problem{"broken", ""}}, true},
		{"status without an error", `{"status":"error"}`, Failure{Envelope: EnvelopeStatus}, true},
		{"an error of another kind", `{"error":5}`, Failure{Envelope: EnvelopeFlat}, true},
		{"complete with a null error", `{"status":"complete","id":"r","error":null}`, Failure{}, false},
		{"complete with an error beside it", `{"status":"complete","id":"r","error":{"code":"x"}}`, Failure{}, false},
		{"a success of any type", `{"type":"oauth","oauth":{"code":"c"}}`, Failure{}, false},
		{"a token", `{"access_token":"a"}`, Failure{}, false},
		{"no object", `[]`, Failure{}, false},
		{"no JSON", `<html>`, Failure{}, false},
		{"nothing", ``, Failure{}, false},
	} {
		got, failed := ParseFailure([]byte(test.body))
		if failed != test.failed {
			t.Errorf("%s: failed is %v", test.title, failed)
		}
		if failed {
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s:\n%s", test.title, diff)
			}
		}
	}
}

func TestTimestampsWithoutOffsetAreUTC(t *testing.T) {
	want := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, s := range []string{
		"2026-11-23T12:00:00Z", "2026-11-23T12:00:00", "2026-11-23T14:00:00+02:00", "2026-11-23T12:00:00.000", "2026-11-23 12:00:00",
		"2026-11-23T12:00", "2026-11-23T14:00:00+0200",
	} {
		if got, err := ParseTime(s); err != nil || !got.Equal(want) {
			t.Errorf("%s is read as %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "soon", "2026-13-01T00:00:00Z", "1700000000", "23.11.2026"} {
		if got, err := ParseTime(s); err == nil {
			t.Errorf("%q was read as %v", s, got)
		}
	}
}

func TestCredentialsAreCoercedToStrings(t *testing.T) {
	var c Complete
	err := json.Unmarshal([]byte(`{"access_configuration":{"s":"text","n":1e3,"d":1.50,"b":true,"o":{"a": 1},"z":null},"expires_at":"never"}`), &c)
	want := Complete{AccessConfiguration: map[string]string{"s": "text", "n": "1000", "d": "1.50", "b": "true", "o": `{"a":1}`}}
	if diff := cmp.Diff(want, c); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if err := json.Unmarshal([]byte(`{"access_configuration":null}`), &c); err != nil || c.AccessConfiguration != nil {
		t.Errorf("null is read as %v, %v", c.AccessConfiguration, err)
	}
}

func TestAPaymentTokenIsNotPrinted(t *testing.T) {
	p := Payment{Type: PaymentSandbox, Token: "sbx_1"}
	raw, err := json.Marshal(p)
	if err != nil || string(raw) != `{"sandbox":"sbx_1","type":"sandbox"}` {
		t.Errorf("%s, %v", raw, err)
	}
	var back Payment
	if err := json.Unmarshal(raw, &back); err != nil || back != p {
		t.Errorf("%v, %v", back, err)
	}
	for _, odd := range []string{`{"type":"type"}`, `{"type":5}`, `{"sandbox":"x"}`, `{"type":"sandbox","sandbox":5}`} {
		if err := json.Unmarshal([]byte(odd), &back); err != nil || back.Token != "" {
			t.Errorf("%s is read as %#v, %v", odd, back, err)
		}
	}
	if p.String() != "sandbox [secret]" || p.GoString() != p.String() {
		t.Error("the token shows")
	}
}

func TestAmountsAreIntegersOrStringsOfThem(t *testing.T) {
	for raw, want := range map[string]Minor{`2000`: 2000, `"2000"`: 2000, `-5`: -5, `null`: 0} {
		var m Minor
		if err := json.Unmarshal([]byte(raw), &m); err != nil || m != want {
			t.Errorf("%s is %d, %v", raw, m, err)
		}
	}
	for _, raw := range []string{`20.00`, `"20.00"`, `2e3`, `true`, `"9223372036854775808"`} {
		var m Minor
		if err := json.Unmarshal([]byte(raw), &m); err == nil {
			t.Errorf("%s was read as %d", raw, m)
		}
	}
}

// TestWhatIsEmittedIsReadBack is the property that both sides agree on the wire.
func TestWhatIsEmittedIsReadBack(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	word := func() string {
		letters := []rune("aé<&>\"\\\u202e中 0_")
		s := make([]rune, random.IntN(8)+1)
		for i := range s {
			s[i] = letters[random.IntN(len(letters))]
		}
		return string(s)
	}
	at := func() Time { return At(time.Unix(random.Int64N(4e9), random.Int64N(1e9))) }
	for range 500 {
		same(t, Resource{
			Status: word(), ID: word(), ServiceID: word(), UserMessage: word(), OrchestratorResourceID: word(),
			Complete: &Complete{AccessConfiguration: map[string]string{word(): word(), word(): word()}, ExpiresAt: at(), PreviousValidUntil: at()},
			Error:    &Problem{word(), word()},
		})
		same(t, Quote{
			ID: word(), Item: word(), AmountMinor: Minor(random.Int64()), Currency: "USD", Interval: "year", TaxMinor: Minor(random.Int64()),
			Renewal: &Renewal{Minor(random.Int64()), "USD", "year"}, RefundableUntil: at(), ExpiresAt: at(),
		})
		same(t, CreateRequest{
			ServiceID: word(), Configuration: map[string]any{word(): word(), word(): true}, ProjectID: word(), OrchestratorResourceID: word(),
			Environment: word(), Actor: &Actor{word(), word()}, Payment: &Payment{"r" + word(), word()}, QuoteID: word(), LabelPrefix: word(),
		})
		same(t, AccountRequest{
			ID: word(), Email: word(), Scopes: []string{word()}, KYC: &KYC{[]string{word()}}, ExpiresAt: at(), CodeChallenge: word(),
			Configuration: map[string]any{word(): word()}, Orchestrator: json.RawMessage(`{"type":"purser"}`),
		})
		same(t, Token{TokenType: "bearer", AccessToken: word(), RefreshToken: word(), ExpiresIn: random.Int64(), Account: &TokenAccount{
			ID: word(), ActiveServices: []ActiveService{}, LinkAction: word(),
		}})
		same(t, Pricing{Type: PricePaid, Paid: Tiers{{Type: PriceFreeform, Freeform: word(), XPrice: &Price{"USD", Minor(random.Int64()), "month"}}}})
		same(t, Pricing{Type: PricePaid, Paid: Tiers{{Type: PriceFreeform, Freeform: word()}, {Type: PriceFree}}})
	}
}

func same[T any](t *testing.T, in T) {
	t.Helper()
	raw, err := encode(in)
	if err != nil {
		t.Fatal(err)
	}
	var out T
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	if diff := cmp.Diff(in, out, cmp.Comparer(func(a, b Payment) bool { return a == b })); diff != "" {
		t.Fatalf("%s\n%s", raw, diff)
	}
}

func FuzzEnvelope(f *testing.F) {
	for _, seed := range []string{
		`{"error":{"code":"a","message":"b"}}`, `{"type":"error","error":"x"}`, `{"status":"error","id":"r"}`,
		`{"error":"a","error_description":"b"}`, `{"detail":[1]}`, `{"status":"complete","complete":{"access_configuration":{"a":1e99999}}}`, `null`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		failure, failed := ParseFailure(body)
		if failed && failure.Envelope == EnvelopeNone {
			t.Errorf("a failure without an envelope: %s", body)
		}
		var r Resource
		if json.Unmarshal(body, &r) == nil {
			if _, err := encode(r); err != nil {
				t.Errorf("what was read cannot be written: %v", err)
			}
		}
	})
}
