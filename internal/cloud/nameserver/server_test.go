package nameserver

import (
	"context"
	"crypto/rand"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/purser-dev/purser/internal/cloud/state"
	"github.com/purser-dev/purser/internal/testneed"
)

// serve starts a server over a store with superseal.club and a zone below it.
func serve(t *testing.T) (addr string, store *state.Store, account string) {
	t.Helper()
	store, err := state.Open(t.Context(), state.Options{Dir: t.TempDir(), Now: time.Now, Random: rand.Reader})
	ok(t, err)
	t.Cleanup(func() { store.Close() })
	owner, err := store.CreateAccount(t.Context(), "", "Test")
	ok(t, err)
	zone, err := store.CreateZone(t.Context(), owner.ID, "superseal.club")
	ok(t, err)
	for _, r := range []state.Record{
		{Name: "www", Type: "CNAME", Content: "superseal.club"},
		{Name: "far", Type: "CNAME", Content: "example.com"},
		{Name: "dead", Type: "CNAME", Content: "nowhere.superseal.club"},
		{Name: "loop1", Type: "CNAME", Content: "loop2.superseal.club"},
		{Name: "loop2", Type: "CNAME", Content: "loop1.superseal.club"},
		{Name: "other", Type: "CNAME", Content: "deep.sub.superseal.club"},
		{Name: "", Type: "MX", Content: "mail.superseal.club", Priority: 10},
		{Name: "", Type: "TXT", Content: `v=spf1 "quoted" back\slash -all`},
		{Name: "a.b.c", Type: "AAAA", Content: "::1"},
		{Name: "*.wild", Type: "A", Content: "127.0.0.2"},
		{Name: "set.wild", Type: "TXT", Content: "here"},
		{Name: "_acme-challenge", Type: "TXT", Content: "one"},
		{Name: "_acme-challenge", Type: "TXT", Content: "two"},
	} {
		_, err := store.AddRecord(t.Context(), owner.ID, zone.ID, r)
		ok(t, err)
	}
	for i := range 40 {
		_, err := store.AddRecord(t.Context(), owner.ID, zone.ID, state.Record{Name: "big", Type: "TXT", Content: fmt.Sprintf("%02d%s", i, strings.Repeat("x", 100))})
		ok(t, err)
	}
	sub, err := store.CreateZone(t.Context(), owner.ID, "sub.superseal.club")
	ok(t, err)
	_, err = store.AddRecord(t.Context(), owner.ID, sub.ID, state.Record{Name: "deep", Type: "A", Content: "127.0.0.3"})
	ok(t, err)

	packets, stream, err := Listen("127.0.0.1:0")
	ok(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- New(store).Serve(ctx, packets, stream) }()
	t.Cleanup(func() {
		stop()
		ok(t, <-done)
	})
	return packets.LocalAddr().String(), store, owner.ID
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ask(t *testing.T, network, addr, name string, kind uint16, more ...func(*dns.Msg)) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
	for _, f := range more {
		f(m)
	}
	client := dns.Client{Net: network, UDPSize: dns.MaxMsgSize, Timeout: time.Minute}
	answer, _, err := client.Exchange(m, addr)
	ok(t, err)
	return answer
}

func brief(rrs []dns.RR) string {
	var list []string
	for _, rr := range rrs {
		f := strings.Fields(rr.String())
		list = append(list, f[0]+" "+strings.Join(f[3:], " "))
	}
	return strings.Join(list, "; ")
}

func TestQuestionsAreAnsweredAsTheStandardsSay(t *testing.T) {
	addr, _, _ := serve(t)
	const soa = "soa"
	for _, tt := range []struct {
		name   string
		kind   uint16
		rcode  int
		answer string
		ns     string // "", or soa
	}{
		{"superseal.club", dns.TypeA, 0, "superseal.club. A 127.0.0.1", ""},
		{"SuperSeal.Club", dns.TypeA, 0, "SuperSeal.Club. A 127.0.0.1", ""},
		{"superseal.club", dns.TypeNS, 0, "superseal.club. NS ns1.purser.test.; superseal.club. NS ns2.purser.test.", ""},
		{"superseal.club", dns.TypeMX, 0, "superseal.club. MX 10 mail.superseal.club.", ""},
		{"superseal.club", dns.TypeTXT, 0, `superseal.club. TXT "v=spf1 \"quoted\" back\\slash -all"`, ""},
		{"www.superseal.club", dns.TypeA, 0, "www.superseal.club. CNAME superseal.club.; superseal.club. A 127.0.0.1", ""},
		{"www.superseal.club", dns.TypeCNAME, 0, "www.superseal.club. CNAME superseal.club.", ""},
		{"far.superseal.club", dns.TypeA, 0, "far.superseal.club. CNAME example.com.", ""},
		{"other.superseal.club", dns.TypeA, 0, "other.superseal.club. CNAME deep.sub.superseal.club.; deep.sub.superseal.club. A 127.0.0.3", ""},
		{"dead.superseal.club", dns.TypeA, dns.RcodeNameError, "dead.superseal.club. CNAME nowhere.superseal.club.", soa},
		{"_acme-challenge.superseal.club", dns.TypeTXT, 0, `_acme-challenge.superseal.club. TXT "one"; _acme-challenge.superseal.club. TXT "two"`, ""},
		{"nowhere.superseal.club", dns.TypeA, dns.RcodeNameError, "", soa},
		{"superseal.club", dns.TypeAAAA, 0, "", soa},
		{"b.c.superseal.club", dns.TypeA, 0, "", soa}, // an empty node exists
		{"x.b.c.superseal.club", dns.TypeA, dns.RcodeNameError, "", soa},
		{"any.wild.superseal.club", dns.TypeA, 0, "any.wild.superseal.club. A 127.0.0.2", ""},
		{"Any.wild.superseal.club", dns.TypeTXT, 0, "", soa},
		{"set.wild.superseal.club", dns.TypeA, 0, "", soa}, // its own name hides the wildcard
		{"deep.any.wild.superseal.club", dns.TypeA, 0, "deep.any.wild.superseal.club. A 127.0.0.2", ""},
		{"x.set.wild.superseal.club", dns.TypeA, dns.RcodeNameError, "", soa}, // RFC 4592: the closest name has no wildcard
		{"deep.sub.superseal.club", dns.TypeA, 0, "deep.sub.superseal.club. A 127.0.0.3", ""},
		{"example.com", dns.TypeA, dns.RcodeRefused, "", ""},
		{"club", dns.TypeA, dns.RcodeRefused, "", ""},
		{".", dns.TypeNS, dns.RcodeRefused, "", ""},
		{"superseal.club", dns.TypeAXFR, dns.RcodeRefused, "", ""},
	} {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(tt.name+" "+dns.TypeToString[tt.kind]+" "+network, func(t *testing.T) {
				m := ask(t, network, addr, tt.name, tt.kind)
				ns := ""
				if len(m.Ns) == 1 && m.Ns[0].Header().Rrtype == dns.TypeSOA {
					ns = soa
				}
				if m.Rcode != tt.rcode || brief(m.Answer) != tt.answer || ns != tt.ns {
					t.Errorf("%s %q, authority %q; want %s %q, %q", dns.RcodeToString[m.Rcode], brief(m.Answer), brief(m.Ns), dns.RcodeToString[tt.rcode], tt.answer, tt.ns)
				}
				if want := tt.rcode != dns.RcodeRefused; m.Authoritative != want || m.RecursionAvailable {
					t.Errorf("aa = %v, ra = %v", m.Authoritative, m.RecursionAvailable)
				}
			})
		}
	}
	if m := ask(t, "udp", addr, "superseal.club", dns.TypeANY); len(m.Answer) != 1 {
		t.Errorf("ANY answers %q", brief(m.Answer))
	}
	if m := ask(t, "udp", addr, "loop1.superseal.club", dns.TypeA); len(m.Answer) != 2 {
		t.Errorf("a loop answers %q", brief(m.Answer))
	}
}

func TestALargeAnswerIsCutOverUDPAndWholeOverTCP(t *testing.T) {
	addr, _, _ := serve(t)
	edns := func(size uint16) func(*dns.Msg) { return func(m *dns.Msg) { m.SetEdns0(size, false) } }
	for _, tt := range []struct {
		network string
		ask     []func(*dns.Msg)
		size    int
		cut     bool
	}{
		{"udp", nil, 512, true},
		{"udp", []func(*dns.Msg){edns(1232)}, 1232, true},
		{"udp", []func(*dns.Msg){edns(65000)}, 4096, true},
		{"tcp", nil, 65535, false},
	} {
		m := ask(t, tt.network, addr, "big.superseal.club", dns.TypeTXT, tt.ask...)
		m.Compress = true
		if m.Truncated != tt.cut || m.Len() > tt.size {
			t.Errorf("%s: TC = %v, %d bytes; want %v, at most %d", tt.network, m.Truncated, m.Len(), tt.cut, tt.size)
		}
		if got := len(m.Answer); (got == 40) == tt.cut {
			t.Errorf("%s: %d of 40 records", tt.network, got)
		}
		if (m.IsEdns0() != nil) != (tt.ask != nil) {
			t.Errorf("%s: EDNS0 in the answer: %v", tt.network, m.IsEdns0())
		}
	}
}

func TestOddQuestionsAreRefusedKindly(t *testing.T) {
	addr, _, _ := serve(t)
	for name, tt := range map[string]struct {
		change func(*dns.Msg)
		want   int
	}{
		"another class":  {func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, dns.RcodeRefused},
		"an update":      {func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }, dns.RcodeNotImplemented},
		"no question":    {func(m *dns.Msg) { m.Question = nil }, dns.RcodeFormatError},
		"EDNS version 1": {func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) }, dns.RcodeBadVers},
	} {
		t.Run(name, func(t *testing.T) {
			m := ask(t, "udp", addr, "superseal.club", dns.TypeA, tt.change)
			if m.Rcode != tt.want || len(m.Answer) != 0 {
				t.Errorf("%s with %q, want %s", dns.RcodeToString[m.Rcode], brief(m.Answer), dns.RcodeToString[tt.want])
			}
		})
	}
}

func TestTheSerialGrowsWithEachChangeAndAnswersFollow(t *testing.T) {
	addr, store, account := serve(t)
	serial := func() uint32 { return ask(t, "udp", addr, "superseal.club", dns.TypeSOA).Answer[0].(*dns.SOA).Serial }
	before := serial()
	zone, err := store.ZoneOf(t.Context(), "superseal.club")
	ok(t, err)
	r, err := store.AddRecord(t.Context(), account, zone.ID, state.Record{Name: "new", Type: "A", Content: "127.0.0.9"})
	ok(t, err)
	if got := serial(); got != before+1 {
		t.Errorf("serial %d after a new record, was %d", got, before)
	}
	_, err = store.AddRecord(t.Context(), account, zone.ID, state.Record{Name: "new", Type: "A", Content: "127.0.0.9"})
	ok(t, err)
	if got := serial(); got != before+1 {
		t.Errorf("serial %d after the same record again", got)
	}
	if got := brief(ask(t, "udp", addr, "new.superseal.club", dns.TypeA).Answer); got != "new.superseal.club. A 127.0.0.9" {
		t.Errorf("the new record answers %q", got)
	}
	ok(t, store.RemoveRecord(t.Context(), account, zone.ID, r.ID))
	if m := ask(t, "udp", addr, "new.superseal.club", dns.TypeA); m.Rcode != dns.RcodeNameError || serial() != before+2 {
		t.Errorf("after removal: %s, serial %d", dns.RcodeToString[m.Rcode], serial())
	}
}

func TestDigAgrees(t *testing.T) {
	dig := testneed.Program(t, "dig")
	addr, _, _ := serve(t)
	host, port, _ := strings.Cut(addr, ":")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"+short", "superseal.club", "A"}, "127.0.0.1\n"},
		{[]string{"+short", "+tcp", "www.superseal.club", "A"}, "superseal.club.\n127.0.0.1\n"},
		{[]string{"nowhere.superseal.club", "A"}, "status: NXDOMAIN"},
		{[]string{"example.com", "A"}, "status: REFUSED"},
		{[]string{"superseal.club", "SOA"}, "hostmaster.superseal.club."},
		{[]string{"+bufsize=512", "+ignore", "big.superseal.club", "TXT"}, "tc"},
		{[]string{"superseal.club", "AXFR"}, "Transfer failed"},
	} {
		out, err := exec.Command(dig, append([]string{"@" + host, "-p", port, "+norecurse", "+tries=1"}, tt.args...)...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), tt.want) {
			t.Errorf("dig %v: %v\n%s\nwant %q", tt.args, err, out, tt.want)
		}
	}
}
