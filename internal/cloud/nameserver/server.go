// Package nameserver answers DNS for the zones of the local cloud, over UDP and TCP.
package nameserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/purser-dev/purser/internal/cloud/state"
)

// Zones is what the server asks: the longest zone a name lies in (state.ErrNotFound
// when there is none) and a zone's records.
type Zones interface {
	ZoneOf(ctx context.Context, name string) (state.Zone, error)
	Records(ctx context.Context, zoneID string) ([]state.Record, error)
}

// queryTime bounds how long one question may take.
const queryTime = 2 * time.Second

// Server is authoritative for Zones and refuses everything else.
type Server struct {
	zones Zones

	mu    sync.Mutex
	trees map[string]*tree // by zone id, of one serial
}

// New makes a server that is not yet listening.
func New(zones Zones) *Server {
	return &Server{zones: zones, trees: map[string]*tree{}}
}

// Listen binds UDP and TCP to the same port of an address such as "127.0.0.1:0".
func Listen(addr string) (net.PacketConn, net.Listener, error) {
	const tries = 20 // the port UDP was given may be in use for TCP
	var last error
	for range tries {
		packets, err := net.ListenPacket("udp", addr)
		if err != nil {
			return nil, nil, fmt.Errorf("listening for DNS on UDP: %w", err)
		}
		stream, err := net.Listen("tcp", packets.LocalAddr().String())
		if err == nil {
			return packets, stream, nil
		}
		last = errors.Join(err, packets.Close())
		if _, port, err := net.SplitHostPort(addr); err != nil || port != "0" {
			break
		}
	}
	return nil, nil, fmt.Errorf("listening for DNS on TCP: %w", last)
}

// Serve answers on both until ctx is done, and closes them.
func (s *Server) Serve(ctx context.Context, packets net.PacketConn, stream net.Listener) error {
	servers := []*dns.Server{
		{PacketConn: packets, Handler: s, UDPSize: dns.DefaultMsgSize},
		{Listener: stream, Handler: s, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, MaxTCPQueries: 128},
	}
	failed := make(chan error, len(servers))
	var running sync.WaitGroup
	for _, server := range servers {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		running.Go(func() { failed <- server.ActivateAndServe() })
		select {
		case <-started: // Shutdown before the start would be lost
		case err := <-failed:
			return errors.Join(fmt.Errorf("serving DNS: %w", err), packets.Close(), stream.Close())
		}
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), queryTime)
	defer cancel()
	for _, server := range servers {
		server.ShutdownContext(stop) // an error here means it was down already
	}
	running.Wait()
	if err != nil {
		return fmt.Errorf("serving DNS: %w", err)
	}
	return nil
}

// ServeDNS answers one message.
func (s *Server) ServeDNS(w dns.ResponseWriter, question *dns.Msg) {
	ctx, cancel := context.WithTimeout(context.Background(), queryTime)
	defer cancel()
	answer := s.answer(ctx, question)
	size := dns.MaxMsgSize
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		size = dns.MinMsgSize
	}
	if opt := question.IsEdns0(); opt != nil {
		if size < dns.MaxMsgSize {
			size = max(size, min(int(opt.UDPSize()), dns.DefaultMsgSize))
		}
		answer.SetEdns0(dns.DefaultMsgSize, opt.Do())
		if opt.Version() != 0 {
			answer.Answer, answer.Ns, answer.Rcode = nil, nil, dns.RcodeBadVers
		}
	}
	answer.Truncate(size)
	_ = w.WriteMsg(answer) // the asker is gone; there is nobody to tell
}

// answer decides everything but sizes.
func (s *Server) answer(ctx context.Context, q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.Compress = true
	switch {
	case q.Opcode != dns.OpcodeQuery:
		m.Rcode = dns.RcodeNotImplemented
		return m
	case len(q.Question) != 1:
		m.Rcode = dns.RcodeFormatError
		return m
	}
	ask := q.Question[0]
	refused := ask.Qclass != dns.ClassINET || ask.Qtype == dns.TypeAXFR || ask.Qtype == dns.TypeIXFR
	zone, err := s.zones.ZoneOf(ctx, plain(ask.Name))
	switch {
	case refused, errors.Is(err, state.ErrNotFound):
		m.Rcode = dns.RcodeRefused
	case err != nil:
		m.Rcode = dns.RcodeServerFailure
	default:
		s.fill(ctx, m, ask, zone)
	}
	return m
}

// maxChase bounds CNAME chains, so that a loop ends.
const maxChase = 8

// fill answers from a zone and follows CNAMEs through all zones here.
func (s *Server) fill(ctx context.Context, m *dns.Msg, ask dns.Question, zone state.Zone) {
	m.Authoritative = true
	owner, seen := ask.Name, map[string]bool{}
	for range maxChase {
		t, err := s.tree(ctx, zone)
		if err != nil {
			m.Answer, m.Authoritative, m.Rcode = nil, false, dns.RcodeServerFailure
			return
		}
		found, target, exists := t.find(owner, ask.Qtype)
		m.Answer = append(m.Answer, found...)
		seen[plain(owner)] = true
		if target == "" {
			if !exists {
				m.Rcode = dns.RcodeNameError
			}
			if len(found) == 0 {
				m.Ns = append(m.Ns, t.soa)
			}
			return
		}
		if zone, err = s.zones.ZoneOf(ctx, plain(target)); err != nil || seen[plain(target)] {
			return // it leads out of here, or round: what was found is the answer
		}
		owner = target
	}
}

// tree is the zone's records, read anew only when its serial has changed.
func (s *Server) tree(ctx context.Context, zone state.Zone) (*tree, error) {
	s.mu.Lock()
	t := s.trees[zone.ID]
	s.mu.Unlock()
	if t != nil && t.serial == zone.Serial {
		return t, nil
	}
	records, err := s.zones.Records(ctx, zone.ID)
	if err != nil {
		return nil, err
	}
	t = newTree(zone, records)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.trees) > 1000 {
		clear(s.trees) // removed zones are not told apart; starting anew is cheap
	}
	s.trees[zone.ID] = t
	return t, nil
}

// plain is a name as the store has it: lower case, no last dot.
func plain(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, "."))
}
