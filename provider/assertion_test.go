package provider

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// signedBy signs text by an algorithm, and gives the key as a client publishes it.
func signedBy(t *testing.T, alg, text string, rsaKey *rsa.PrivateKey) (jwk, []byte) {
	t.Helper()
	h := hashes[alg[2:]]
	digest := h.New()
	digest.Write([]byte(text))
	sum := digest.Sum(nil)
	if alg[:2] == "ES" {
		key, err := ecdsa.GenerateKey(ecCurves[alg[2:]], rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		r, s, err := ecdsa.Sign(rand.Reader, key, sum)
		if err != nil {
			t.Fatal(err)
		}
		point, err := key.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		size := len(point) / 2
		signature := append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
		return jwk{KTY: "EC", CRV: key.Curve.Params().Name, X: b64(point[1 : 1+size]), Y: b64(point[1+size:])}, signature
	}
	public := jwk{KTY: "RSA", N: b64(rsaKey.N.Bytes()), E: b64(big.NewInt(int64(rsaKey.E)).Bytes())}
	var signature []byte
	var err error
	if alg[:2] == "RS" {
		signature, err = rsa.SignPKCS1v15(rand.Reader, rsaKey, h, sum)
	} else {
		signature, err = rsa.SignPSS(rand.Reader, rsaKey, h, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	}
	if err != nil {
		t.Fatal(err)
	}
	return public, signature
}

func TestAssertionsOfTheNineAlgorithmsAreVerifiedAndNoOthers(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"} {
		public, signature := signedBy(t, alg, "head.claims", key)
		if !public.read() {
			t.Fatalf("%s: the key is not read", alg)
		}
		if !public.verifies(assertion{alg: alg, signed: "head.claims", signature: signature}) {
			t.Errorf("%s: a good signature is refused", alg)
		}
		if public.verifies(assertion{alg: alg, signed: "head.other", signature: signature}) {
			t.Errorf("%s: other claims are accepted", alg)
		}
		for _, other := range []string{"none", "HS256", "EdDSA", "RS256", "PS256", "ES256", "ES384", ""} {
			if other != alg && public.verifies(assertion{alg: other, signed: "head.claims", signature: signature}) {
				t.Errorf("%s: its signature is accepted as %q", alg, other)
			}
		}
		public.Alg = "RS999"
		if public.verifies(assertion{alg: alg, signed: "head.claims", signature: signature}) {
			t.Errorf("%s: a key for another algorithm is used", alg)
		}
	}
}

func TestKeysThatAreTooSmallOrOffTheCurveAreNotRead(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		small = &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}} // Go itself refuses to make one
	}
	size := (elliptic.P256().Params().BitSize + 7) / 8
	for name, k := range map[string]jwk{
		"1024 bits":     {KTY: "RSA", N: b64(small.N.Bytes()), E: "AQAB"},
		"no exponent":   {KTY: "RSA", N: b64(make([]byte, 256))},
		"off the curve": {KTY: "EC", CRV: "P-256", X: b64(make([]byte, size)), Y: b64(make([]byte, size))},
		"unknown curve": {KTY: "EC", CRV: "secp256k1", X: "AA", Y: "AA"},
		"a secret":      {KTY: "oct"},
	} {
		if k.read() {
			t.Errorf("%s: the key is read", name)
		}
	}
	_ = crypto.SHA256
}

func TestOnlyPublicAddressesAreDialledForDocuments(t *testing.T) {
	for address, want := range map[string]bool{
		"93.184.216.34": true, "2606:2800:220:1::1": true,
		"127.0.0.1": false, "::1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false, "fe80::1": false,
		"fc00::1": false, "0.0.0.0": false, "::": false, "100.64.0.1": false, "224.0.0.1": false, "255.255.255.255": false, "64:ff9b::a00:1": false,
		"198.18.0.1": false, "240.0.0.1": false, "2002:a00:1::": false,
	} {
		if got := public(netip.MustParseAddr(address).Unmap(), false); got != want {
			t.Errorf("%s: public %v, want %v", address, got, want)
		}
	}
	if got := public(netip.MustParseAddr("::ffff:10.0.0.1").Unmap(), true); got {
		t.Error("a private address inside IPv6 is public")
	}
}

func TestADocumentOnLoopbackIsNotFetchedUnlessAllowed(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer server.Close()
	for loopback, want := range map[bool]int{false: 0, true: 1} {
		asked = 0
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/client.json", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := publicClient(loopback).Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		if asked != want || (err == nil) != loopback {
			t.Errorf("loopback %v: asked %d times, %v", loopback, asked, err)
		}
	}
}

func TestAClientIDIsAnHTTPSURLWithAPathAndNothingBesides(t *testing.T) {
	for id, want := range map[string]bool{
		"https://client.example/client.json": true, "https://client.example": false, "https://client.example/": false,
		"https://client.example/c?x=1": false, "https://client.example/c#x": false, "https://client.example/c#": false, "https://client.example/c?": false,
		"https://user@client.example/c": false, "http://client.example/c": false, "client": false, "": false, "ftp://client.example/c": false,
		"http://127.0.0.1:1/c": false, "https:///c": false, strings.Repeat("x", 10): false,
	} {
		if got := validClientID(id, false); got != want {
			t.Errorf("%q: %v, want %v", id, got, want)
		}
	}
}
