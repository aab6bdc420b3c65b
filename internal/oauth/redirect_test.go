package oauth

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestOnlyHonestPlacesAreAnsweredAt(t *testing.T) {
	good := []string{
		"https://client.example/cb", "https://client.example:8443/cb?tenant=1", "http://127.0.0.1/cb", "http://127.0.0.1:51004/cb", "http://[::1]:8080/cb",
		"http://localhost:6274/oauth/callback", "com.example.app:/oauth", "com.example.app://cb", "cursor://anysphere.cursor-retrieval/oauth/callback",
		"https://client.example",
	}
	for _, uri := range good {
		if err := CheckRedirect(uri); err != nil {
			t.Errorf("%s: %v", uri, err)
		}
	}
	bad := []string{
		"", "/cb", "client.example/cb", "//client.example/cb", "http://client.example/cb", "http://127.0.0.1.evil.example/cb", "http://localhost.evil.example/cb",
		"http://127.0.0.2/cb", "http://0.0.0.0/cb", "http://localhost:/cb#x", "https://client.example/cb#", "https://client.example/cb#frag",
		"https://user@client.example/cb", "https://user:pw@client.example/cb", "http://127.0.0.1@evil.example/cb", "http://127.0.0.1:80@evil.example/cb",
		"javascript:alert(1)", "javascript://client.example/%0aalert(1)", "JavaScript:alert(1)", "data:text/html,<script>", "vbscript:x", "file:///etc/passwd", "blob:https://x/y",
		"https://*.client.example/cb", "https://client.example/a/../cb", "https://client.example/a/%2e%2e/cb", "https://client.example\\@evil.example/cb",
		"https://client.example/c b", "https://client.example/cb\r\nLocation: https://evil.example", "https://client.example/\u202ecb", "https://client.example/<b>", "HTTPS://client.example/cb",
		"https:///cb", "https:client.example", "intent:#x", "myapp://cb", "https://client.example/cb?code=x", "https://client.example/cb?iss=https://evil.example", "https://" + strings.Repeat("a", 600),
	}
	for _, uri := range bad {
		if err := CheckRedirect(uri); err == nil {
			t.Errorf("%q may be answered at", uri)
		}
	}
}

func TestARedirectIsMatchedExactlyButForThePortOnThisMachine(t *testing.T) {
	registered := []string{"https://client.example/cb", "http://127.0.0.1/cb", "http://localhost:3000/oauth?x=1", "com.example.app:/oauth"}
	for uri, want := range map[string]bool{
		"https://client.example/cb":        true,
		"https://client.example/cb/":       false,
		"https://client.example/cb?a=b":    false,
		"https://client.example:443/cb":    false,
		"https://CLIENT.example/cb":        false,
		"https://client.example/cb/../cb":  false,
		"https://client.example.evil/cb":   false,
		"http://client.example/cb":         false,
		"http://127.0.0.1/cb":              true,
		"http://127.0.0.1:51004/cb":        true,
		"http://127.0.0.1:51004/cb2":       false,
		"http://127.0.0.1:51004/cb?x":      false,
		"http://localhost:51004/cb":        false, // another name, though the same machine
		"http://[::1]:51004/cb":            false,
		"http://127.0.0.1:x/cb":            false,
		"http://127.0.0.1:123456/cb":       false,
		"https://127.0.0.1/cb":             false,
		"http://localhost:4000/oauth?x=1":  true,
		"http://localhost:4000/oauth?x=2":  false,
		"com.example.app:/oauth":           true,
		"com.example.app:/oauth2":          false,
		"http://127.0.0.1:51004@evil/cb":   false,
		"http://127.0.0.1:51004/cb#":       false,
		"http://127.0.0.1:51004\\@evil/cb": false,
	} {
		if got := MatchRedirect(registered, uri); got != want {
			t.Errorf("%s: %v, want %v", uri, got, want)
		}
	}
}

// Whatever is matched is, for the parser that makes the answer's header, the same
// scheme, host, path and query as one that was registered.
func FuzzAMatchedRedirectLeadsWhereARegisteredOneDoes(f *testing.F) {
	for _, seed := range []string{
		"http://127.0.0.1:80/cb", "http://localhost:1/x?y=z", "http://[::1]:9/cb", "https://client.example/cb", "http://127.0.0.1:80@evil/cb", "http://127.0.0.1:80/cb#", "http://127.0.0.1:80\\evil/cb",
		"http://127.0.0.1:00080/cb", "http://127.0.0.1/cb/..", "com.example.app:/cb",
	} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, registered, asked string) {
		if CheckRedirect(registered) != nil || !MatchRedirect([]string{registered}, asked) {
			return
		}
		a, err := url.Parse(registered)
		if err != nil {
			t.Fatal(err)
		}
		b, err := url.Parse(asked)
		if err != nil {
			t.Fatalf("%q matches %q and cannot be read", asked, registered)
		}
		if a.Scheme != b.Scheme || a.Hostname() != b.Hostname() || a.EscapedPath() != b.EscapedPath() || a.RawQuery != b.RawQuery || b.User != nil || b.Fragment != "" {
			t.Errorf("%q matches %q", asked, registered)
		}
		if a.Port() != b.Port() && !slices.Contains([]string{"127.0.0.1", "::1", "localhost"}, b.Hostname()) {
			t.Errorf("%q matches %q on another port", asked, registered)
		}
		if u, err := url.Parse(Answer(asked, url.Values{"code": {"c&o=d#e"}})); err != nil || u.Query().Get("code") != "c&o=d#e" || u.Hostname() != b.Hostname() || u.Fragment != "" {
			t.Errorf("the answer to %q is %v, %v", asked, u, err)
		}
	})
}

func TestADocumentsAddressIsPlainHTTPS(t *testing.T) {
	for text, want := range map[string]bool{
		"https://client.example/id.json": true, "https://client.example/a/b": true, "https://client.example:8443/id": true,
		"https://client.example": false, "https://client.example/": false, "http://client.example/id": false, "http://127.0.0.1:80/id": false,
		"https://user@client.example/id": false, "https://client.example/id#x": false, "https://client.example/id?x": false, "https://client.example/a/../id": false,
		"https://client.example/%2e%2e/id": false, "ftp://client.example/id": false, "https:///id": false,
	} {
		if err := CheckDocumentURL(text, false); (err == nil) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := CheckDocumentURL("http://127.0.0.1:80/id", true); err != nil {
		t.Errorf("a trial on this machine: %v", err)
	}
	if err := CheckDocumentURL("http://client.example/id", true); err == nil {
		t.Error("http to another machine")
	}
}

func TestNoPrivateAddressIsPublic(t *testing.T) {
	for text, want := range map[string]bool{
		"127.0.0.1": true, "10.1.2.3": true, "172.16.0.1": true, "192.168.1.1": true, "169.254.169.254": true, "100.64.0.1": true, "0.0.0.0": true, "224.0.0.1": true,
		"255.255.255.255": true, "192.0.2.7": true, "198.18.0.1": true, "::1": true, "::": true, "fe80::1": true, "fd00::1": true, "ff02::1": true, "::ffff:10.0.0.1": true,
		"::ffff:127.0.0.1": true, "64:ff9b::a00:1": true, "2002:a00:1::1": true, "2001:db8::1": true, "::7f00:1": true,
		"1.1.1.1": false, "93.184.216.34": false, "2606:2800:220:1::1": false,
	} {
		if got := Reserved(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is reserved: %v", text, got)
		}
	}
}
