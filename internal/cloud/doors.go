package cloud

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/purser-dev/purser/internal/cloud/nameserver"
)

// doors are the listeners, all on loopback.
type doors struct {
	api, edge, http, smtp net.Listener
	packets               net.PacketConn
	stream                net.Listener
}

// openDoors listens on all addresses before anything else starts, so that each
// room knows its port. Ports of the last run are taken again where they are free:
// what was handed over then still works.
func openDoors(o Options) (*doors, error) {
	d := &doors{}
	if err := d.open(o, lastRun(o.Dir)); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *doors) open(o Options, last Ready) (err error) {
	for _, l := range []struct {
		into          *net.Listener
		address, last string
	}{
		{&d.api, o.API, strings.TrimPrefix(last.APIURL, "http://")},
		{&d.edge, o.Edge, last.EdgeHTTPS},
		{&d.http, o.HTTP, last.EdgeHTTP},
		{&d.smtp, o.SMTP, last.SMTP},
	} {
		if *l.into, err = listen(l.address, l.last); err != nil {
			return err
		}
	}
	d.packets, d.stream, err = listenDNS(o.DNS, last.DNS)
	return err
}

func listen(address, last string) (net.Listener, error) {
	addresses, err := candidates(address, last)
	if err != nil {
		return nil, err
	}
	var l net.Listener
	for _, a := range addresses {
		if l, err = net.Listen("tcp", a); err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("listening on %s: %w", address, err)
}

func listenDNS(address, last string) (packets net.PacketConn, stream net.Listener, err error) {
	addresses, err := candidates(address, last)
	if err != nil {
		return nil, nil, err
	}
	for _, a := range addresses {
		if packets, stream, err = nameserver.Listen(a); err == nil {
			return packets, stream, nil
		}
	}
	return nil, nil, fmt.Errorf("listening on %s: %w", address, err)
}

// candidates are the addresses to try. Anything but loopback is refused: the
// cloud is for its owner's own code, on this machine only.
func candidates(address, last string) ([]string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("reading address %q: %w", address, err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("address %q is not on loopback", address)
	}
	address = net.JoinHostPort(host, port)
	if lastHost, _, err := net.SplitHostPort(last); port == "0" && err == nil && lastHost == host {
		return []string{last, address}, nil
	}
	return []string{address}, nil
}

func (d *doors) close() {
	for _, l := range []net.Listener{d.api, d.edge, d.http, d.smtp, d.stream} {
		if l != nil {
			_ = l.Close() // closed by its server already in an orderly stop
		}
	}
	if d.packets != nil {
		_ = d.packets.Close()
	}
}

func (d *doors) url() string { return "http://" + d.api.Addr().String() }

func (d *doors) ready(root string) Ready {
	return Ready{
		ManifestURL: d.url() + "/manifest.json", APIURL: d.url(), EdgeHTTPS: d.edge.Addr().String(), EdgeHTTP: d.http.Addr().String(),
		DNS: d.stream.Addr().String(), SMTP: d.smtp.Addr().String(), RootPEM: root, PID: os.Getpid(),
	}
}

func runFile(dir string) string { return filepath.Join(dir, "run", "cloud.json") }

// remember writes the run file. It stays after the end, because the next run
// reads its ports; its pid tells nothing then.
func (d *doors) remember(dir string, r Ready) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("writing the run file: %w", err)
	}
	path := runFile(dir)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("writing the run file: %w", err)
	}
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the run file: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return errors.Join(fmt.Errorf("writing the run file: %w", err), os.Remove(path+".new"))
	}
	return nil
}

// lastRun reads the run file; without one, or with rubbish in it, ports are free.
func lastRun(dir string) Ready {
	var r Ready
	text, err := os.ReadFile(runFile(dir))
	if err != nil || json.Unmarshal(text, &r) != nil {
		return Ready{}
	}
	return r
}

// loopbackHost reports whether a Host header names this machine.
func loopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
