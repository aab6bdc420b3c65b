package nameserver

import (
	"net"
	"strings"

	"github.com/miekg/dns"

	"github.com/purser-dev/purser/internal/cloud/state"
)

const (
	nameTTL  = 300
	primary  = "ns1.purser.test."
	secondNS = "ns2.purser.test."
)

// NameServers are the hosts named in each zone's NS records.
func NameServers() []string {
	return []string{strings.TrimSuffix(primary, "."), strings.TrimSuffix(secondNS, ".")}
}

// tree is one zone at one serial: its nodes by name, empty ones included.
type tree struct {
	zone   string
	serial uint32
	soa    dns.RR
	nodes  map[string][]dns.RR
}

func newTree(zone state.Zone, records []state.Record) *tree {
	origin := dns.Fqdn(zone.Name)
	head := func(t uint16) dns.RR_Header {
		return dns.RR_Header{Name: origin, Rrtype: t, Class: dns.ClassINET, Ttl: nameTTL}
	}
	t := &tree{zone: zone.Name, serial: zone.Serial, nodes: map[string][]dns.RR{}}
	t.soa = &dns.SOA{
		Hdr: head(dns.TypeSOA), Ns: primary, Mbox: "hostmaster." + origin, Serial: zone.Serial,
		Refresh: 7200, Retry: 3600, Expire: 1209600, Minttl: 60,
	}
	t.nodes[zone.Name] = []dns.RR{
		t.soa,
		&dns.NS{Hdr: head(dns.TypeNS), Ns: primary},
		&dns.NS{Hdr: head(dns.TypeNS), Ns: secondNS},
	}
	for _, r := range records {
		rr := resource(r)
		if rr == nil {
			continue
		}
		t.nodes[r.Name] = append(t.nodes[r.Name], rr)
		t.addParents(r.Name)
	}
	return t
}

// addParents makes the empty nodes between a name and the apex: they exist, so a
// question for them is answered with no data, not with "no such name" (RFC 8020).
func (t *tree) addParents(name string) {
	for {
		_, parent, ok := strings.Cut(name, ".")
		if !ok || parent == t.zone || !strings.HasSuffix(parent, "."+t.zone) {
			return
		}
		if _, exists := t.nodes[parent]; !exists {
			t.nodes[parent] = nil
		}
		name = parent
	}
}

// resource turns a stored record into a DNS one; nil if the content is damaged.
func resource(r state.Record) dns.RR {
	h := dns.RR_Header{Name: dns.Fqdn(r.Name), Class: dns.ClassINET, Ttl: r.TTL}
	switch r.Type {
	case "A":
		if ip := net.ParseIP(r.Content).To4(); ip != nil {
			h.Rrtype = dns.TypeA
			return &dns.A{Hdr: h, A: ip}
		}
	case "AAAA":
		if ip := net.ParseIP(r.Content); ip != nil {
			h.Rrtype = dns.TypeAAAA
			return &dns.AAAA{Hdr: h, AAAA: ip}
		}
	case "CNAME":
		h.Rrtype = dns.TypeCNAME
		return &dns.CNAME{Hdr: h, Target: dns.Fqdn(r.Content)}
	case "MX":
		h.Rrtype = dns.TypeMX
		return &dns.MX{Hdr: h, Mx: dns.Fqdn(r.Content), Preference: uint16(r.Priority)}
	case "TXT":
		h.Rrtype = dns.TypeTXT
		return &dns.TXT{Hdr: h, Txt: chunks(r.Content)}
	}
	return nil
}

// chunks splits a text into strings of at most 255 bytes (RFC 1035 section 3.3.14)
// and escapes what the wire library would read as an escape.
func chunks(text string) []string {
	var list []string
	for len(text) > 0 {
		n := min(255, len(text))
		list = append(list, strings.ReplaceAll(text[:n], `\`, `\\`))
		text = text[n:]
	}
	return list
}

// find looks a name up as RFC 4592 says: the name itself, else the wildcard under its
// closest existing ancestor. Owner names in the answer are spelled as in the question.
// target is where a CNAME leads when the question was for something else.
func (t *tree) find(asked string, kind uint16) (found []dns.RR, target string, exists bool) {
	name := plain(asked)
	node, exists := t.nodes[name]
	for encloser := name; !exists; {
		_, encloser, _ = strings.Cut(encloser, ".")
		if len(encloser) < len(t.zone) {
			return nil, "", false
		}
		if _, real := t.nodes[encloser]; real {
			if node, exists = t.nodes["*."+encloser]; !exists {
				return nil, "", false
			}
		}
	}
	for _, rr := range node {
		h := rr.Header()
		alias, isAlias := rr.(*dns.CNAME)
		if isAlias && kind != dns.TypeCNAME && kind != dns.TypeANY {
			target = alias.Target
		} else if h.Rrtype != kind && kind != dns.TypeANY {
			continue
		}
		rr = dns.Copy(rr)
		rr.Header().Name = asked
		found = append(found, rr)
		if kind == dns.TypeANY {
			kind = h.Rrtype // one record set is enough (RFC 8482)
		}
	}
	return found, target, true
}
