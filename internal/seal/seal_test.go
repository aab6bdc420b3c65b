package seal

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

const text = "sk_live_do_not_print"

func TestASecretDoesNotPrint(t *testing.T) {
	s := NewSecret(text)
	type nested struct {
		Public  Secret
		Pointer *Secret
		private Secret
		list    []Secret
		mapped  map[string]Secret
	}
	n := nested{s, &s, s, []Secret{s}, map[string]Secret{"a": s}}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%T", "%c", "%U", "%10.3s"} {
		for _, v := range []any{s, &s, n, &n, []Secret{s}, map[Secret]int{s: 1}, struct{ s Secret }{s}, fmt.Errorf("x: %v", s)} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	raw, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(raw)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "s", s, "n", n, "p", &s)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "s", s, "n", n, "p", &s)
	asText, err := s.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	out.Write(asText)
	for _, leak := range []string{text, fmt.Sprintf("%x", text), fmt.Sprintf("%X", text), text[:3] + " "} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%q is in the output", leak)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if got := fmt.Sprintf(verb, s); got != "[secret]" {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	if s.Reveal() != text || s.String() != "[secret]" {
		t.Errorf("Reveal %q, String %q", s.Reveal(), s.String())
	}
}

func TestASecretIsReadButNotItsMask(t *testing.T) {
	var in struct{ Token Secret }
	if err := json.Unmarshal([]byte(`{"Token":"abc"}`), &in); err != nil || in.Token.Reveal() != "abc" {
		t.Errorf("%q, %v", in.Token.Reveal(), err)
	}
	if err := json.Unmarshal([]byte(`{"Token":"[secret]"}`), &in); err == nil {
		t.Error("the mask was taken for a secret")
	}
	if err := json.Unmarshal([]byte(`{"Token":7}`), &in); err == nil {
		t.Error("a number was taken for a secret")
	}
}

func TestSecretsCompareByText(t *testing.T) {
	if !NewSecret("a").Equal(NewSecret("a")) || NewSecret("a").Equal(NewSecret("b")) || !(Secret{}).Equal(NewSecret("")) || !(Secret{}).Empty() {
		t.Error("Equal or Empty is wrong")
	}
}

func TestTokensHaveTheirShapeAndMatchTheirHashOnly(t *testing.T) {
	seen := map[string]bool{}
	for _, kind := range []Kind{AgentToken, PersonToken, ProviderToken} {
		token, err := NewToken(kind, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		sent := token.Reveal()
		if got, err := ParseToken(sent); got != kind || err != nil || len(sent) != 60 || seen[sent] {
			t.Errorf("%s: parsed as %q, %v", sent, got, err)
		}
		seen[sent] = true
		hash := HashToken(token)
		if !TokenMatches(token, hash) || TokenMatches(NewSecret(sent[:59]+"a"), hash) && sent[59] != 'a' {
			t.Errorf("%s: the hash matches wrongly", sent)
		}
		if TokenMatches(token, nil) || TokenMatches(token, hash[:31]) || bytes.Contains(hash, []byte(sent)) {
			t.Errorf("%s: a part of the hash matches", sent)
		}
	}
	if _, err := NewToken("pur_xxx_", rand.Reader); !errors.Is(err, ErrToken) {
		t.Errorf("an unknown kind: %v", err)
	}
	if _, err := NewToken(AgentToken, iotest.ErrReader(errors.New("no entropy"))); err == nil {
		t.Error("a token was made without entropy")
	}
}

func TestParseTokenRefusesRubbish(t *testing.T) {
	good := string(AgentToken) + strings.Repeat("a", 52)
	if _, err := ParseToken(good); err != nil {
		t.Fatal(err)
	}
	for name, sent := range map[string]string{
		"nothing":            "",
		"a prefix only":      string(AgentToken),
		"an unknown prefix":  "pur_xxx_" + good[8:],
		"one letter less":    good[:59],
		"one letter more":    good + "a",
		"upper case":         strings.ToUpper(good),
		"a line break":       good[:59] + "\n",
		"a break in between": good[:20] + "\n" + good[20:],
		"stray last bits":    good[:59] + "b",
		"another alphabet":   good[:59] + "1",
	} {
		if kind, err := ParseToken(sent); !errors.Is(err, ErrToken) {
			t.Errorf("%s: %q, %v", name, kind, err)
		}
	}
}

func TestRedactTakesTokensOut(t *testing.T) {
	token, err := NewToken(AgentToken, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	in := "Bearer " + token.Reveal() + ", " + token.Reveal() + "; pur_per_ alone"
	if got, want := Redact(in), "Bearer pur_agt_[secret], pur_agt_[secret]; pur_per_ alone"; got != want {
		t.Errorf("got %q", got)
	}
}

func newBox(t *testing.T) *KeyFile {
	t.Helper()
	box, err := OpenKeyFile(filepath.Join(t.TempDir(), "key"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func TestSealedBytesOpenInTheirPlaceOnly(t *testing.T) {
	box, here := newBox(t), Context("org_1", "credentials", "cred_1", "secret")
	sealed, err := box.Seal([]byte(text), here)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := box.Open(sealed, here); err != nil || string(got) != text {
		t.Fatalf("%q, %v", got, err)
	}
	if bytes.Contains(sealed, []byte(text)) {
		t.Error("the text is in the sealed bytes")
	}
	for name, there := range map[string][]byte{
		"another organization":    Context("org_2", "credentials", "cred_1", "secret"),
		"another table":           Context("org_1", "connections", "cred_1", "secret"),
		"another row":             Context("org_1", "credentials", "cred_2", "secret"),
		"another column":          Context("org_1", "credentials", "cred_1", "token"),
		"names cut elsewhere":     Context("org_1c", "redentials", "cred_1", "secret"),
		"no context":              nil,
		"a context with one more": append(bytes.Clone(here), 0),
	} {
		if got, err := box.Open(sealed, there); !errors.Is(err, ErrSealed) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if got, err := box.Open(changed, here); err == nil {
			t.Fatalf("byte %d changed: %q", i, got)
		}
		if got, err := box.Open(sealed[:i], here); !errors.Is(err, ErrSealed) {
			t.Fatalf("cut at %d: %q, %v", i, got, err)
		}
	}
	again, err := box.Seal([]byte(text), here)
	if err != nil || bytes.Equal(again, sealed) {
		t.Error("the same text was sealed to the same bytes")
	}
	if empty, err := box.Seal(nil, here); err != nil {
		t.Error(err)
	} else if got, err := box.Open(empty, here); err != nil || len(got) != 0 {
		t.Errorf("nothing sealed opens as %q, %v", got, err)
	}
}

func TestAnotherKeyFileSaysWhichKeyIsMissing(t *testing.T) {
	sealed, err := newBox(t).Seal([]byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = newBox(t).Open(sealed, nil)
	if id, _ := sealedUnder(sealed); !errors.Is(err, ErrUnknownKey) || !strings.Contains(err.Error(), id) {
		t.Errorf("%v", err)
	}
}

func TestRotationSealsAnewAndStillOpensTheOld(t *testing.T) {
	box := newBox(t)
	old, err := box.Seal([]byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	if box.Stale(old) {
		t.Error("stale before the rotation")
	}
	if err := box.Rotate(); err != nil {
		t.Fatal(err)
	}
	fresh, err := box.Seal([]byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !box.Stale(old) || box.Stale(fresh) {
		t.Errorf("stale: old %v, fresh %v", box.Stale(old), box.Stale(fresh))
	}
	loaded, err := LoadKeyFile(box.path, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []*KeyFile{box, loaded} {
		for _, sealed := range [][]byte{old, fresh} {
			if got, err := b.Open(sealed, nil); err != nil || string(got) != text {
				t.Errorf("%q, %v", got, err)
			}
		}
	}
}

func TestTheKeyFileIsPrivateAndMadeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if _, err := LoadKeyFile(path, rand.Reader); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("loading what is not there: %v", err)
	}
	boxes := make([]*KeyFile, 16)
	var wg sync.WaitGroup
	for i := range boxes {
		wg.Go(func() {
			var err error
			if boxes[i], err = OpenKeyFile(path, rand.Reader); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, b := range boxes {
		if b.keys[0].ID != boxes[0].keys[0].ID {
			t.Fatal("two callers have two keys")
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// late makes the file that another process makes in the middle of OpenKeyFile.
type late struct {
	once sync.Once
	make func()
}

func (l *late) Read(p []byte) (int, error) {
	l.once.Do(l.make)
	return rand.Read(p)
}

func TestWhoComesSecondTakesTheFirstKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	var first *KeyFile
	second, err := OpenKeyFile(path, &late{make: func() {
		var err error
		if first, err = OpenKeyFile(path, rand.Reader); err != nil {
			t.Error(err)
		}
	}})
	if err != nil || first == nil {
		t.Fatal(err)
	}
	if first.keys[0].ID != second.keys[0].ID {
		t.Error("the second replaced the key of the first")
	}
}

func TestAKeyFileThatCannotBeTrustedIsRefused(t *testing.T) {
	good := newBox(t)
	raw, err := os.ReadFile(good.path)
	if err != nil {
		t.Fatal(err)
	}
	key := good.keys[0]
	for _, c := range []struct {
		name string
		body string
		mode fs.FileMode
	}{
		{"readable by the group", string(raw), 0o640},
		{"readable by all", string(raw), 0o604},
		{"writable by all", string(raw), 0o602},
		{"empty", "", 0o600},
		{"cut", string(raw[:len(raw)/2]), 0o600},
		{"another version", strings.Replace(string(raw), `"purser_key_file":1`, `"purser_key_file":2`, 1), 0o600},
		{"no keys", `{"purser_key_file":1,"keys":[]}`, 0o600},
		{"a key under another name", strings.Replace(string(raw), key.ID, strings.Repeat("0", 16), 1), 0o600},
		{"a short key", `{"purser_key_file":1,"keys":[{"id":"x","key":"AAAA"}]}`, 0o600},
	} {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(c.body), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := OpenKeyFile(path, rand.Reader)
		if !errors.Is(err, ErrKeyFile) {
			t.Errorf("%s: %v", c.name, err)
		}
		if after, _ := os.ReadFile(path); string(after) != c.body {
			t.Errorf("%s: the file was changed", c.name)
		}
	}
	if _, err := OpenKeyFile(t.TempDir(), rand.Reader); !errors.Is(err, ErrKeyFile) {
		t.Errorf("a folder: %v", err)
	}
	if _, err := OpenKeyFile(filepath.Join(t.TempDir(), "no", "key"), rand.Reader); err == nil {
		t.Error("a file was made in a folder that is not there")
	}
}

func TestSealingWithoutEntropyFails(t *testing.T) {
	box := newBox(t)
	box.random = iotest.ErrReader(errors.New("no entropy"))
	if _, err := box.Seal([]byte(text), nil); err == nil {
		t.Error("sealed with a salt of nothing")
	}
	if err := box.Rotate(); err == nil {
		t.Error("rotated to a key of nothing")
	}
}
