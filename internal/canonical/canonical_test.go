package canonical

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
)

func TestReformWritesTheOneForm(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"space is dropped", " { \"a\" : [ 1 , true , null ] } \n", `{"a":[1,true,null]}`},
		{"keys are sorted", `{"b":1,"a":2,"":3}`, `{"":3,"a":2,"b":1}`},
		{"inner objects are sorted too", `[{"b":{"d":1,"c":2}}]`, `[{"b":{"c":2,"d":1}}]`},
		{
			"the sorting vector of RFC 8785 section 3.2.3",
			`{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}`,
			"{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}",
		},
		{
			"the string vector of RFC 8785 section 3.2.2",
			`{"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}`,
			`{"literals":[null,true,false],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
		},
		{"each short escape", `"\b\f\n\r\t\"\\\/"`, `"\b\f\n\r\t\"\\/"`},
		{"other controls are lower-case \\u", `"\u0000\u001F\u007f"`, "\"\\u0000\\u001f\u007f\""},
		{"html and line separators stay", `"<&>\u2028"`, "\"<&>\u2028\""},
		{"the largest integers", `[9007199254740991,-9007199254740991,0]`, `[9007199254740991,-9007199254740991,0]`},
		{"minus zero is zero", `-0`, `0`},
		{"a replacement character that was sent", `"\ufffd"`, "\"\ufffd\""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Reform([]byte(c.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, string(got)); diff != "" {
				t.Error(diff)
			}
			if err := Walk(got, nil); err != nil {
				t.Errorf("Walk refuses what Reform wrote: %v", err)
			}
		})
	}
}

func TestReformRefuses(t *testing.T) {
	for _, c := range []struct{ name, in, why string }{
		{"a float", `{"a":1.5}`, "plain integer"},
		{"an integer written as a float", `1.0`, "plain integer"},
		{"an exponent", `1e3`, "plain integer"},
		{"an integer above 2^53-1", `9007199254740992`, "2^53-1"},
		{"an integer below -(2^53-1)", `-9007199254740992`, "2^53-1"},
		{"an integer that overflows int64", `99999999999999999999999`, "2^53-1"},
		{"a leading zero", `01`, "leading zero"},
		{"a plus sign", `+1`, "value"},
		{"a key twice", `{"a":1,"a":1}`, "twice"},
		{"a key twice, once escaped", `{"a":1,"\u0061":2}`, "twice"},
		{"half a surrogate pair", `"\ud83d"`, "surrogate"},
		{"the halves in the wrong order", `"\ude00\ud83d"`, "surrogate"},
		{"bytes that are not UTF-8", "\"\xff\"", "UTF-8"},
		{"a surrogate encoded in UTF-8", "\"\xed\xa0\x80\"", "UTF-8"},
		{"a raw newline in a string", "\"\n\"", "control"},
		{"an unknown escape", `"\x41"`, "escape"},
		{"a short \\u", `"\u12"`, "four"},
		{"a string without end", `"abc`, "not end"},
		{"a comma before the end", `[1,]`, "value"},
		{"a comma before the end of an object", `{"a":1,}`, "key"},
		{"no comma", `[1 2]`, ", or ]"},
		{"no colon", `{"a" 1}`, ":"},
		{"two values", `1 2`, "follows"},
		{"nothing", ``, "value"},
		{"NaN", `NaN`, "value"},
		{"a nest that is too deep", strings.Repeat("[", 200) + strings.Repeat("]", 200), "deep"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Reform([]byte(c.in))
			if err == nil || !strings.Contains(err.Error(), c.why) {
				t.Errorf("Reform(%s) = %s, %v; want an error about %q", c.in, got, err, c.why)
			}
		})
	}
}

func TestJSONRefusesWhatHasNoOneForm(t *testing.T) {
	for name, v := range map[string]any{
		"a float":                 1.5,
		"text that is not UTF-8":  "a\xffb",
		"a key that is not UTF-8": map[string]int{"\xff": 1},
		"a channel":               make(chan int),
		"a large integer":         int64(MaxInteger + 1),
	} {
		if got, err := JSON(v); err == nil {
			t.Errorf("%s was written as %s", name, got)
		}
	}
	got, err := JSON("\ufffd<&>\u2028")
	if err != nil || string(got) != "\"\ufffd<&>\u2028\"" {
		t.Errorf("a real U+FFFD became %s, %v", got, err)
	}
}

func TestDigestOfEqualValuesIsEqual(t *testing.T) {
	a, err := Digest(map[string]any{"b": 1, "a": []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Digest(json.RawMessage(`{ "a":["\u0078"], "b":1 }`))
	if err != nil {
		t.Fatal(err)
	}
	// printf '{"a":["x"],"b":1}' | sha256sum
	const want = "sha256:9bfce180614e8aaffe8a52084e7be3ee3b4c2e740cae2793550177f953f11c04"
	if a != want || b != want {
		t.Errorf("got %s and %s", a, b)
	}
	if got, _ := Digest(struct{}{}); got != "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" {
		t.Errorf("the digest of {} is %s", got)
	}
}

func TestWalkVisitsTheOuterMembersOnly(t *testing.T) {
	var got []string
	collect := func(key, value []byte) error {
		got = append(got, string(key)+"="+string(value))
		return nil
	}
	if err := Walk([]byte(`{"a":{"x":1},"b":[1,2],"c":"d"}`), collect); err != nil {
		t.Fatal(err)
	}
	if err := Walk([]byte(`[7,{"y":[]}]`), collect); err != nil {
		t.Fatal(err)
	}
	want := []string{`a={"x":1}`, `b=[1,2]`, `c="d"`, `=7`, `={"y":[]}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	stop := errors.New("stop")
	if err := Walk([]byte(`[1,2]`), func(_, _ []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("visit's error became %v", err)
	}
}

func TestWalkDoesNotAllocate(t *testing.T) {
	raw := []byte(`{"a":{"x":1},"b":[1,2,"text"],"c":"d"}`)
	if n := testing.AllocsPerRun(100, func() { _ = Walk(raw, nil) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzReformIsIdempotentAndWalkAgrees(f *testing.F) {
	for _, s := range []string{
		`{"b":1,"a":[true,null,"\ud83d\ude00"]}`, `"\u0000\n"`, `-0`, `{"\r":1,"":2}`, `[1,]`, `{"a":1,"a":2}`,
		"{\"\U0001F600\":1,\"\uFB33\":2}", `{"\"":1,"#":2}`, `{"\\":1,"]":2}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		once, err := Reform(raw)
		if canonical := Walk(raw, nil) == nil; canonical != (err == nil && string(once) == string(raw)) {
			t.Fatalf("Walk says canonical=%v, Reform wrote %q, %v", canonical, once, err)
		}
		if err != nil {
			return
		}
		twice, err := Reform(once)
		if err != nil || string(twice) != string(once) {
			t.Fatalf("%q reformed again is %q, %v", once, twice, err)
		}
		var a, b any
		if json.Unmarshal(raw, &a) != nil || json.Unmarshal(once, &b) != nil || !cmp.Equal(a, b) {
			t.Fatalf("%q changed its meaning: %q", raw, once)
		}
	})
}

func FuzzKeysAreOrderedByUTF16Units(f *testing.F) {
	f.Add("\U0001F600", "\uFB33")
	f.Add("a", "ab")
	f.Fuzz(func(t *testing.T, a, b string) {
		a, b = strings.ToValidUTF8(a, ""), strings.ToValidUTF8(b, "")
		ua, ub := utf16.Encode([]rune(a)), utf16.Encode([]rune(b))
		want := 0
		for i := 0; want == 0 && (i < len(ua) || i < len(ub)); i++ {
			switch {
			case i == len(ua) || (i < len(ub) && ua[i] < ub[i]):
				want = -1
			case i == len(ub) || ua[i] > ub[i]:
				want = 1
			}
		}
		if got := CompareUTF16(a, b); (got < 0) != (want < 0) || (got > 0) != (want > 0) {
			t.Errorf("CompareUTF16(%q, %q) = %d, want %d", a, b, got, want)
		}
	})
}

func BenchmarkWalk(b *testing.B) {
	raw := []byte(`{"a":{"x":1,"y":"` + strings.Repeat("text ", 100) + `"},"b":[1,2,3,{"limit":10000,"scope":"organization"}],"c":"d"}`)
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if err := Walk(raw, nil); err != nil {
			b.Fatal(err)
		}
	}
}
