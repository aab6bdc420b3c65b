package app_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/purser-dev/purser/app"
)

// BenchmarkSignAndVerify is one signature and its verification over 2 KiB.
func BenchmarkSignAndVerify(b *testing.B) {
	body, now := bytes.Repeat([]byte("x"), 2<<10), time.Unix(1700000000, 0)
	secrets := []string{"a signing secret of usual length"}
	b.ReportAllocs()
	for b.Loop() {
		s, err := app.ParseSignature(app.SignatureHeader(secrets, now.Unix(), body))
		if err != nil || !s.Fresh(now) {
			b.Fatal("not fresh", err)
		}
		if _, ok := s.Match(secrets[0], body); !ok {
			b.Fatal("no match")
		}
	}
}
