package act

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const passphrase = "correct horse battery staple"

// cheap is the least that Derive accepts, to keep the tests quick.
func cheap(salt string) KDF {
	return KDF{Name: "argon2id", Salt: []byte(salt), Time: 2, MemoryKiB: minMemoryKiB, Threads: 1}
}

var signer = sync.OnceValue(func() Signer {
	s, err := Derive([]byte(passphrase), cheap("0123456789abcdef"))
	if err != nil {
		panic(err)
	}
	return s
})

func decision() Document {
	return Document{
		Organization: "org_1", PlanDigest: "sha256:" + strings.Repeat("ab", 32), Decision: Approve,
		Approver: "per_1", Nonce: "n0123456789abcdef", NotAfter: 1_800_000_000_000_000, Origin: "http://localhost:7777",
	}
}

func operation() Document {
	return Document{
		Organization: "org_1", Operation: "stop.resume", RequestDigest: "sha256:" + strings.Repeat("cd", 32),
		Approver: "per_1", Nonce: "n0123456789abcdef", NotAfter: 1_800_000_000_000_000, Origin: "http://localhost:7777",
	}
}

func TestTheSignedBytesAreTheseForEver(t *testing.T) {
	withCeiling := decision()
	withCeiling.Ceiling = &Money{2000, "USD"}
	for _, c := range []struct {
		name string
		doc  Document
		want string
	}{
		{"a decision", decision(), `{"approver":"per_1","ceiling":null,"decision":"approve","nonce":"n0123456789abcdef","not_after":1800000000000000,"organization":"org_1","origin":"http://localhost:7777","plan_digest":"sha256:` + strings.Repeat("ab", 32) + `","v":1}`},
		{"a decision with a ceiling", withCeiling, `{"approver":"per_1","ceiling":{"amount":2000,"currency":"USD"},"decision":"approve","nonce":"n0123456789abcdef","not_after":1800000000000000,"organization":"org_1","origin":"http://localhost:7777","plan_digest":"sha256:` + strings.Repeat("ab", 32) + `","v":1}`},
		{"an operation", operation(), `{"approver":"per_1","nonce":"n0123456789abcdef","not_after":1800000000000000,"operation":"stop.resume","organization":"org_1","origin":"http://localhost:7777","request_digest":"sha256:` + strings.Repeat("cd", 32) + `","v":1}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw, err := c.doc.Canonical()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, string(raw)); diff != "" {
				t.Error(diff)
			}
			back, err := Parse(raw)
			if err != nil || !cmp.Equal(back, c.doc) {
				t.Errorf("parsed back: %+v, %v", back, err)
			}
		})
	}
}

func TestASignatureHoldsForItsDocumentOnly(t *testing.T) {
	doc := decision()
	sig, err := signer().Sign(doc)
	if err != nil {
		t.Fatal(err)
	}
	if err := VerifyBy(doc, sig, signer().PublicKey()); err != nil {
		t.Fatalf("a good signature: %v", err)
	}
	for name, change := range map[string]func(*Document){
		"organization": func(d *Document) { d.Organization = "org_2" },
		"plan":         func(d *Document) { d.PlanDigest = "sha256:" + strings.Repeat("ac", 32) },
		"decision":     func(d *Document) { d.Decision = Deny },
		"ceiling":      func(d *Document) { d.Ceiling = &Money{0, "USD"} },
		"approver":     func(d *Document) { d.Approver = "per_2" },
		"nonce":        func(d *Document) { d.Nonce += "0" },
		"not_after":    func(d *Document) { d.NotAfter++ },
		"origin":       func(d *Document) { d.Origin += "/" },
		"shape":        func(d *Document) { *d = operation() },
	} {
		changed := doc
		change(&changed)
		if err := Verify(changed, sig); !errors.Is(err, ErrSignature) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	for i := range sig.Signature {
		broken := sig
		broken.Signature = bytes.Clone(sig.Signature)
		broken.Signature[i] ^= 1
		if err := Verify(doc, broken); !errors.Is(err, ErrSignature) {
			t.Fatalf("byte %d of the signature changed: %v", i, err)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	doc := decision()
	good, err := signer().Sign(doc)
	if err != nil {
		t.Fatal(err)
	}
	other, err := Derive([]byte(passphrase), cheap("another salt, 16+"))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := other.Sign(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		sig  Signature
		want error
	}{
		{"a passkey without an assertion", Signature{Method: MethodPasskey, PublicKey: good.PublicKey, Signature: good.Signature}, ErrSignature},
		{"no method", Signature{PublicKey: good.PublicKey, Signature: good.Signature}, ErrUnknownMethod},
		{"another person's key", stranger, ErrSignature},
		{"no key", Signature{Method: MethodPassphrase, Signature: good.Signature}, ErrSignature},
		{"a short key", Signature{Method: MethodPassphrase, PublicKey: good.PublicKey[:31], Signature: good.Signature}, ErrSignature},
		{"no signature", Signature{Method: MethodPassphrase, PublicKey: good.PublicKey}, ErrSignature},
	} {
		registered := c.sig.PublicKey
		if c.name == "another person's key" {
			registered = signer().PublicKey()
		}
		if err := VerifyBy(doc, c.sig, registered); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestParseRefusesWhatWasNotShown(t *testing.T) {
	plain, err := decision().Canonical()
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{
		"space":                     " " + string(plain),
		"an unknown member":         strings.Replace(string(plain), `"v":1`, `"v":1,"x":1`, 1),
		"another version":           strings.Replace(string(plain), `"v":1`, `"v":2`, 1),
		"another letter case":       strings.Replace(string(plain), `"nonce"`, `"Nonce"`, 1),
		"a ceiling left out":        strings.Replace(string(plain), `"ceiling":null,`, ``, 1),
		"a key of the other shape":  strings.Replace(string(plain), `"organization"`, `"operation":"stop.resume","organization"`, 1),
		"a decision nobody knows":   strings.Replace(string(plain), `"approve"`, `"maybe"`, 1),
		"an upper-case digest":      strings.Replace(string(plain), `sha256:ab`, `sha256:AB`, 1),
		"a nonce that is too short": strings.Replace(string(plain), `n0123456789abcdef`, `n`, 1),
		"no JSON":                   "approve",
		"nothing":                   "",
	} {
		if _, err := Parse([]byte(raw)); !errors.Is(err, ErrDocument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestADocumentExpiresAfterItsLastMicrosecond(t *testing.T) {
	d := decision()
	if err := d.ValidAt(time.UnixMicro(d.NotAfter)); err != nil {
		t.Errorf("at the instant itself: %v", err)
	}
	if err := d.ValidAt(time.UnixMicro(d.NotAfter + 1)); !errors.Is(err, ErrExpired) {
		t.Errorf("one microsecond later: %v", err)
	}
}

func TestTheKeyDependsOnPassphraseSaltAndParameters(t *testing.T) {
	base := signer().PublicKey()
	slower := cheap("0123456789abcdef")
	slower.Time = 3
	for _, c := range []struct {
		name       string
		passphrase string
		kdf        KDF
		same       bool
	}{
		{"the same again", passphrase, cheap("0123456789abcdef"), true},
		{"white space around it", " \t" + passphrase + "\n", cheap("0123456789abcdef"), true},
		{"another letter case", strings.ToUpper(passphrase), cheap("0123456789abcdef"), false},
		{"another salt", passphrase, cheap("0123456789abcdeg"), false},
		{"another number of passes", passphrase, slower, false},
	} {
		s, err := Derive([]byte(c.passphrase), c.kdf)
		if err != nil {
			t.Fatal(err)
		}
		if same := bytes.Equal(s.PublicKey(), base); same != c.same {
			t.Errorf("%s: same key is %v", c.name, same)
		}
	}
	composed, err := Derive([]byte("caf\u00e9 caf\u00e9 caf\u00e9"), cheap("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	decomposed, err := Derive([]byte("cafe\u0301 cafe\u0301 cafe\u0301"), cheap("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(composed.PublicKey(), decomposed.PublicKey()) {
		t.Error("two spellings of one letter made two keys")
	}
}

func TestDeriveLeavesThePassphraseAlone(t *testing.T) {
	p := []byte(passphrase)
	if _, err := Derive(p, cheap("0123456789abcdef")); err != nil || string(p) != passphrase {
		t.Errorf("%q, %v", p, err)
	}
}

func TestDeriveRefusesParametersOfAFalseServer(t *testing.T) {
	for name, change := range map[string]func(*KDF){
		"another function":         func(k *KDF) { k.Name = "md5" },
		"a short salt":             func(k *KDF) { k.Salt = k.Salt[:15] },
		"almost no memory":         func(k *KDF) { k.MemoryKiB = 8 },
		"all the memory":           func(k *KDF) { k.MemoryKiB = 1 << 31 },
		"no pass":                  func(k *KDF) { k.Time = 0 },
		"a year of passes":         func(k *KDF) { k.Time = 1 << 30 },
		"no lane":                  func(k *KDF) { k.Threads = 0 },
		"one pass in small memory": func(k *KDF) { k.Time = 1 },
	} {
		k := cheap("0123456789abcdef")
		change(&k)
		if _, err := Derive([]byte(passphrase), k); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if err := DefaultKDF(make([]byte, 16)).Check(); err != nil {
		t.Errorf("the default: %v", err)
	}
}

func TestASignerDoesNotPrintItsKey(t *testing.T) {
	s := signer()
	key := string(*s.key)
	//lint:ignore SA9005 that nothing of it is marshalled is what is tested
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	hidden := struct{ inner Signer }{s}
	for _, out := range []string{fmt.Sprintf("%v %+v %#v %s %q %x", s, s, s, s, s, s), fmt.Sprintf("%v %+v %#v", hidden, hidden, hidden), string(raw)} {
		if strings.Contains(out, key) || strings.Contains(out, fmt.Sprintf("%x", key[:8])) || strings.Contains(out, fmt.Sprint([]byte(key[:4]))[1:]) {
			t.Errorf("the key is in %s", out)
		}
	}
}

func TestPassphrasePolicy(t *testing.T) {
	for _, c := range []struct{ name, passphrase, why string }{
		{"four words", passphrase, ""},
		{"exactly twelve", "abcdefghijkl", ""},
		{"twelve in another script", "пароль надёжн", ""},
		{"eleven", "abcdefghijk", "11 characters"},
		{"eleven and space around", "  abcdefghijk  ", "11 characters"},
		{"twelve bytes, six letters", "пароль", "6 characters"},
		{"six letters and six combining marks", strings.Repeat("e\u0301", 6), "6 characters"},
		{"one letter again and again", strings.Repeat("a", 40), "different"},
		{"a control character", "abcdefghijkl\x00", "control"},
		{"not UTF-8", "abcdefghijkl\xff", "UTF-8"},
		{"a book", strings.Repeat("abcdefghijkl", 100), "at most"},
		{"nothing", "", "0 characters"},
	} {
		err := CheckPassphrase([]byte(c.passphrase))
		if (err == nil) != (c.why == "") || (err != nil && !strings.Contains(err.Error(), c.why)) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && c.passphrase != "" && strings.Contains(err.Error(), c.passphrase) {
			t.Errorf("%s: the refusal repeats the passphrase", c.name)
		}
	}
}

func FuzzParseTakesOnlyWhatItWrites(f *testing.F) {
	for _, d := range []Document{decision(), operation()} {
		raw, err := d.Canonical()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := Parse(raw)
		if err != nil {
			return
		}
		again, err := d.Canonical()
		if err != nil || !bytes.Equal(again, raw) {
			t.Errorf("%q was written again as %q, %v", raw, again, err)
		}
	})
}

func BenchmarkDeriveDefault(b *testing.B) {
	for b.Loop() {
		if _, err := Derive([]byte(passphrase), DefaultKDF(make([]byte, 16))); err != nil {
			b.Fatal(err)
		}
	}
}
