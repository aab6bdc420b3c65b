package app

import (
	"crypto/ed25519"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The figures are the test vectors of APP 0.1d.
const (
	vectorSecret = "test_hmac_secret"
	vectorTime   = 1700000000
	vectorBody   = `{"service_id":"free"}`
	vectorEmpty  = "c700dac894c53a6ae2ae956ac9541803a23ebfd6628fa72b97439a1836983d1d"
	vectorFree   = "5d7bf4fdc3a3fa20ce24c10b8ad262e152b0e93d31c5138e8fa6c291c7b4b640"
	vectorToken  = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImsxIn0." +
		"eyJ2ZXJzaW9uIjoxLCJodG0iOiJQT1NUIiwiZGlnZXN0IjoiTHhpZlowMHRfQV8zRVI1a0F5ZU84MC11WWF3aWJwcU1DNkhieUI2SWtzSSIsImlhdCI6MTcwMDAwMDAwMCwiZXhwIjoxNzAwMDAwMzAwfQ." +
		"e1uMq4r3-FxknatKOB2Os1MLf5t42LrJlCObHnmbnhArVgoIv3Y7v-rOkh-kangmmnN1E5yVZYpiLqBkn3BVDA"
)

func TestSignaturesEqualTheVectors(t *testing.T) {
	for body, want := range map[string]string{"": vectorEmpty, vectorBody: vectorFree} {
		if got := SignatureHeader([]string{vectorSecret}, vectorTime, []byte(body)); got != "t=1700000000,v1="+want {
			t.Errorf("body %q is signed %s", body, got)
		}
	}
	if got := BodyDigest([]byte(vectorBody)); got != "LxifZ00t_A_3ER5kAyeO80-uYawibpqMC6HbyB6IksI" {
		t.Errorf("digest %s", got)
	}
	if got := BodyDigest(nil); got != "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU" {
		t.Errorf("digest of nothing %s", got)
	}
	if got := Challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"); got != "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" {
		t.Errorf("challenge %s", got)
	}
}

func vectorKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat("\x01", 32)))
}

func findVectorKey(kid string) (ed25519.PublicKey, bool) {
	return vectorKey().Public().(ed25519.PublicKey), kid == "k1"
}

func vectorExpected() Expected {
	return Expected{Method: "POST", URL: "https://p.example/app/provisioning/resources", Body: []byte(vectorBody), Now: time.Unix(vectorTime, 0)}
}

func TestTheVectorTokenVerifies(t *testing.T) {
	if _, err := VerifyJWT(vectorToken, findVectorKey, vectorExpected()); err != nil {
		t.Error(err)
	}
}

func TestATokenIsRefusedForEachWrongClaim(t *testing.T) {
	good := Claims{
		Version: 1, HTM: "POST", Digest: BodyDigest([]byte(vectorBody)), Iat: vectorTime, Exp: vectorTime + 300,
		HTU: "https://P.example:443/app/provisioning/resources?x=1", Iss: "https://o.example", Aud: Audience{"https://p.example/app/"}, JTI: "j1",
	}
	for _, test := range []struct {
		title  string
		change func(*Claims, *Expected)
		ok     bool
	}{
		{"as it should be", func(*Claims, *Expected) {}, true},
		{"another version", func(c *Claims, _ *Expected) { c.Version = 2 }, false},
		{"another method", func(c *Claims, _ *Expected) { c.HTM = "GET" }, false},
		{"a method in lower case", func(c *Claims, _ *Expected) { c.HTM = "post" }, false},
		{"another body", func(_ *Claims, e *Expected) { e.Body = []byte("{}") }, false},
		{"expired a minute ago", func(_ *Claims, e *Expected) { e.Now = time.Unix(vectorTime+360, 0) }, false},
		{"expired less than a minute ago", func(_ *Claims, e *Expected) { e.Now = time.Unix(vectorTime+359, 0) }, true},
		{"no expiry", func(c *Claims, _ *Expected) { c.Exp = 0 }, false},
		{"issued in more than a minute", func(c *Claims, _ *Expected) { c.Iat = vectorTime + 61 }, false},
		{"living too long", func(c *Claims, _ *Expected) { c.Exp = vectorTime + 601 }, false},
		{"another path", func(c *Claims, _ *Expected) { c.HTU = "https://p.example/app/provisioning/health" }, false},
		{"another host", func(c *Claims, _ *Expected) { c.HTU = "https://q.example/app/provisioning/resources" }, false},
		{"no target", func(c *Claims, _ *Expected) { c.HTU = "" }, true},
		{"another issuer", func(_ *Claims, e *Expected) { e.Issuer = "https://else.example" }, false},
		{"another audience", func(_ *Claims, e *Expected) { e.Audience = "https://else.example" }, false},
		{"used before", func(_ *Claims, e *Expected) { e.Seen = func(string, time.Time) bool { return true } }, false},
	} {
		claims, want := good, vectorExpected()
		test.change(&claims, &want)
		token, err := SignJWT(Key{ID: "k1", Private: vectorKey()}, claims)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := VerifyJWT(token, findVectorKey, want); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.title, err)
		}
	}
}

func TestAForgedTokenIsRefused(t *testing.T) {
	part := func(s string) string { return strings.Split(vectorToken, ".")[int(s[0]-'0')] }
	for title, token := range map[string]string{
		"nothing":           "",
		"two parts":         part("0") + "." + part("1"),
		"no signature":      part("0") + "." + part("1") + ".",
		"alg none":          "eyJhbGciOiJub25lIn0." + part("1") + ".",
		"alg HS256":         "eyJhbGciOiJIUzI1NiIsImtpZCI6ImsxIn0." + part("1") + "." + part("2"),
		"changed claims":    part("0") + "." + strings.Replace(part("1"), "eyJ2", "eyJ3", 1) + "." + part("2"),
		"padded":            vectorToken + "=",
		"longer than 8 KiB": vectorToken + strings.Repeat("A", 8<<10),
	} {
		if _, err := VerifyJWT(token, findVectorKey, vectorExpected()); err == nil {
			t.Errorf("%s was accepted", title)
		}
	}
	if _, err := VerifyJWT(vectorToken, func(string) (ed25519.PublicKey, bool) { return nil, false }, vectorExpected()); err == nil {
		t.Error("an unknown key was accepted")
	}
}

func TestASignatureHeaderIsReadAsAMultimap(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	for _, test := range []struct {
		title, header string
		stamp         string
		values        int
	}{
		{"one value", "t=1,v1=" + sum, "1", 1},
		{"several values, spaces and other schemes", " t=1 , v1=" + sum + ", v0=x,v1=" + strings.ToUpper(sum) + ",v9=a=b", "1", 2},
		{"a value that is no digest counts but cannot match", "t=1,v1=zz,v1=" + sum, "1", 1},
		{"eight values", "t=1" + strings.Repeat(",v1="+sum, 8), "1", 8},
		{"nine values", "t=1" + strings.Repeat(",v1="+sum, 9), "", 0},
		{"no values", "t=1", "", 0},
		{"no time", "v1=" + sum, "", 0},
		{"two times", "t=1,t=1,v1=" + sum, "", 0},
		{"a time with a sign", "t=+1,v1=" + sum, "", 0},
		{"a time of 16 digits", "t=1234567890123456,v1=" + sum, "", 0},
		{"an element without =", "t=1,v1=" + sum + ",x", "", 0},
		{"nothing", "", "", 0},
	} {
		s, err := ParseSignature(test.header)
		if s.Stamp != test.stamp || len(s.V1) != test.values || (err == nil) != (test.stamp != "") {
			t.Errorf("%s: %q, %d values, %v", test.title, s.Stamp, len(s.V1), err)
		}
	}
}

func TestASignatureIsFreshForExactlyFiveMinutes(t *testing.T) {
	for offset, want := range map[int64]bool{0: true, 300: true, -300: true, 301: false, -301: false} {
		if got := (Signature{Stamp: "1700000000"}).Fresh(time.Unix(vectorTime+offset, 0)); got != want {
			t.Errorf("%d s off: %v", offset, got)
		}
	}
}

func TestTheTimeIsSignedAsWritten(t *testing.T) {
	s, err := ParseSignature("t=01700000000,v1=" + vectorEmpty)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Match(vectorSecret, nil); ok {
		t.Error("t=0170… matched the signature of t=170…")
	}
}

func TestNoTwoChangingCallsShareTimeAndBody(t *testing.T) {
	now := time.Unix(vectorTime, 0)
	s, err := NewSigner(SignerConfig{Secrets: []string{"a", "b"}, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 61 {
		header, err := s.header([]byte("{}"), true)
		if err != nil || seen[header] || strings.Count(header, "v1=") != 2 {
			t.Fatalf("%s, %v", header, err)
		}
		seen[header] = true
	}
	if _, err := s.header([]byte("{}"), true); err == nil {
		t.Error("a 62nd equal call within a second was signed")
	}
	if _, err := s.header([]byte("{ }"), true); err != nil {
		t.Errorf("another body: %v", err)
	}
	now = now.Add(time.Hour)
	if _, err := s.header([]byte("{}"), true); err != nil || len(s.sent) != 1 {
		t.Errorf("an hour later: %v with %d remembered; want the old ones forgotten", err, len(s.sent))
	}
}

func TestAReplayMemoryForgetsInTime(t *testing.T) {
	var r Replay
	now := time.Unix(vectorTime, 0)
	_, first := r.Seen(now, "a", "one", now.Add(time.Minute))
	note, second := r.Seen(now.Add(59*time.Second), "a", "two", now.Add(time.Hour))
	_, third := r.Seen(now.Add(time.Minute), "a", "three", now.Add(time.Hour))
	if first || !second || note != "one" || third {
		t.Errorf("seen %v, %v (%s), %v; want only the second", first, second, note, third)
	}
}

func FuzzSignatureHeader(f *testing.F) {
	for _, seed := range []string{"t=1700000000,v1=" + vectorFree, "t=1,v1=,v1=00", ",,,", "t=1;v1=2", "v1=" + vectorFree} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		s, err := ParseSignature(header)
		if err != nil {
			return
		}
		if len(s.V1) > maxV1 || !isStamp(s.Stamp) {
			t.Errorf("accepted %q as %+v", header, s)
		}
		// What was accepted is written and read back the same.
		again := "t=" + s.Stamp
		for _, v1 := range s.V1 {
			again += ",v1=" + hex.EncodeToString(v1)
		}
		if len(s.V1) == 0 {
			return
		}
		back, err := ParseSignature(again)
		if diff := cmp.Diff(s, back); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
	})
}
