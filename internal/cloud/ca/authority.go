// Package ca is the local cloud's certificate authority: one root, short-lived leaves for names it may certify.
package ca

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	rootLife = 10 * 365 * 24 * time.Hour
	// LeafLife is how long a leaf is valid; it is issued anew when a third is left.
	LeafLife = 30 * 24 * time.Hour
	// skew dates certificates back, for clocks that are slow.
	skew = time.Hour
)

// Policy decides what may be certified: it answers the zone a name lies in, or the
// reason why no certificate is issued. It is asked before each issue.
type Policy interface {
	MayCertify(ctx context.Context, name string) (zone string, err error)
}

// Options are what Open needs. Root key and root.pem lie in Dir, leaves in Leaves.
type Options struct {
	Dir, Leaves string
	Policy      Policy
	Now         func() time.Time
	Random      io.Reader
}

// Authority issues and keeps certificates. Its methods may be called at the same time.
type Authority struct {
	o    Options
	key  *ecdsa.PrivateKey
	root *x509.Certificate

	mu     sync.Mutex
	leaves map[string]*tls.Certificate
	group  singleflight.Group
}

// Open loads the authority, or makes its root the first time. The root is never put
// into a trust store; clients pass RootPath.
func Open(o Options) (*Authority, error) {
	for _, dir := range []string{o.Dir, o.Leaves} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("making the certificate folder: %w", err)
		}
	}
	a := &Authority{o: o, leaves: map[string]*tls.Certificate{}}
	err := a.loadRoot()
	if errors.Is(err, fs.ErrNotExist) {
		err = a.makeRoot()
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

// RootPath is the file with the root certificate in PEM, readable by all.
func (a *Authority) RootPath() string { return filepath.Join(a.o.Dir, "root.pem") }

// RootPEM is the root certificate in PEM.
func (a *Authority) RootPEM() []byte { return certificatePEM(a.root.Raw) }

func (a *Authority) rootKeyPath() string { return filepath.Join(a.o.Dir, "root.key") }

// loadRoot reads the key and the certificate. The key is written last, so a crash
// while making them leaves no key and the root is made again.
func (a *Authority) loadRoot() error {
	keyPEM, err := os.ReadFile(a.rootKeyPath())
	if err != nil {
		return fmt.Errorf("reading the root key: %w", err)
	}
	rootPEM, err := os.ReadFile(a.RootPath())
	if err != nil {
		return fmt.Errorf("reading the root certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(rootPEM, keyPEM)
	if err != nil {
		return fmt.Errorf("reading the root: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return errors.New("reading the root: its key is not ECDSA")
	}
	a.key, a.root = key, pair.Leaf
	return nil
}

func (a *Authority) makeRoot() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), a.o.Random)
	if err != nil {
		return fmt.Errorf("making the root key: %w", err)
	}
	serial, err := a.serial()
	if err != nil {
		return err
	}
	now := a.o.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: fmt.Sprintf("Purser local root %x", serial.Bytes()[:4])},
		NotBefore: now.Add(-skew), NotAfter: now.Add(rootLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(a.o.Random, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("signing the root: %w", err)
	}
	keyPEM, err := privatePEM(key)
	if err != nil {
		return err
	}
	if err := writeFile(a.RootPath(), certificatePEM(der), 0o644); err != nil {
		return fmt.Errorf("writing the root certificate: %w", err)
	}
	if err := writeFile(a.rootKeyPath(), keyPEM, 0o600); err != nil {
		return fmt.Errorf("writing the root key: %w", err)
	}
	return a.loadRoot()
}

// GetCertificate is for tls.Config: the leaf of the name the client asked for.
func (a *Authority) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if name == "" || net.ParseIP(name) != nil {
		return nil, errors.New("no certificate without a server name")
	}
	return a.Certificate(hello.Context(), name)
}

// Certificate is a valid leaf for a name, issued when there is none. A zone's apex
// and the names one label below share one leaf for the zone and its wildcard; deeper
// names have one each. Concurrent callers for one leaf issue once. The error of a
// refused name is the policy's.
func (a *Authority) Certificate(ctx context.Context, name string) (*tls.Certificate, error) {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.*") != "" || strings.HasPrefix(name, ".") {
		return nil, fmt.Errorf("no certificate for %.60q: it is no host name", name)
	}
	if leaf := a.held(name); leaf != nil {
		return leaf, nil
	}
	if leaf := a.kept(name); leaf != nil {
		return leaf, nil
	}
	zone, err := a.o.Policy.MayCertify(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("no certificate for %s: %w", name, err)
	}
	first, names := covering(name, zone)
	got, err, _ := a.group.Do(first, func() (any, error) {
		if leaf := a.held(first); leaf != nil {
			return leaf, nil
		}
		return a.issue(first, names)
	})
	if err != nil {
		return nil, err
	}
	return got.(*tls.Certificate), nil
}

// covering is the file name and the names of the leaf that serves name.
func covering(name, zone string) (first string, names []string) {
	_, parent, _ := strings.Cut(name, ".")
	if name == zone || parent == zone {
		return zone, []string{zone, "*." + zone}
	}
	return name, []string{name}
}

// held is a leaf in memory that covers the name and is not near its end.
func (a *Authority) held(name string) *tls.Certificate {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, parent, _ := strings.Cut(name, ".")
	for _, key := range []string{name, parent} {
		if leaf := a.leaves[key]; leaf != nil && leaf.Leaf.VerifyHostname(name) == nil && a.fresh(leaf) {
			return leaf
		}
	}
	return nil
}

func (a *Authority) fresh(leaf *tls.Certificate) bool {
	now := a.o.Now()
	return !now.Before(leaf.Leaf.NotBefore) && leaf.Leaf.NotAfter.Sub(now) > LeafLife/3
}

// kept is held for a leaf that an earlier process wrote. No policy is asked: a
// stopped account's site can still say over HTTPS that it is stopped.
func (a *Authority) kept(name string) *tls.Certificate {
	_, parent, _ := strings.Cut(name, ".")
	for _, key := range []string{name, parent} {
		leaf, err := a.read(key)
		if err == nil && leaf.Leaf.CheckSignatureFrom(a.root) == nil {
			a.hold(key, leaf)
		}
	}
	return a.held(name)
}

func (a *Authority) hold(first string, leaf *tls.Certificate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leaves[first] = leaf
}

// issue makes a leaf, writes it down and holds it.
func (a *Authority) issue(first string, names []string) (*tls.Certificate, error) {
	leaf, err := a.sign(names)
	if err != nil {
		return nil, fmt.Errorf("issuing for %s: %w", first, err)
	}
	if err := a.write(first, leaf); err != nil {
		return nil, fmt.Errorf("keeping the certificate of %s: %w", first, err)
	}
	a.hold(first, leaf)
	return leaf, nil
}

func (a *Authority) sign(names []string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), a.o.Random)
	if err != nil {
		return nil, err
	}
	serial, err := a.serial()
	if err != nil {
		return nil, err
	}
	now := a.o.Now()
	der, err := x509.CreateCertificate(a.o.Random, &x509.Certificate{
		SerialNumber: serial, DNSNames: names, NotBefore: now.Add(-skew), NotAfter: now.Add(LeafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}, a.root, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// Forget drops a zone's leaves, for a zone that is gone or was sold.
func (a *Authority) Forget(zone string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name := range a.leaves {
		if name == zone || strings.HasSuffix(name, "."+zone) {
			delete(a.leaves, name)
		}
	}
	entries, err := os.ReadDir(a.o.Leaves)
	if err != nil {
		return fmt.Errorf("listing certificates: %w", err)
	}
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), leafSuffix)
		if name == zone || strings.HasSuffix(name, "."+zone) {
			if err := os.Remove(filepath.Join(a.o.Leaves, e.Name())); err != nil {
				return fmt.Errorf("removing a certificate: %w", err)
			}
		}
	}
	return nil
}

// serial is 127 random bits, positive (RFC 5280 section 4.1.2.2).
func (a *Authority) serial() (*big.Int, error) {
	b := make([]byte, 16)
	if _, err := io.ReadFull(a.o.Random, b); err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b), nil
}

const leafSuffix = ".pem"

func (a *Authority) leafPath(first string) string {
	return filepath.Join(a.o.Leaves, first+leafSuffix) // a checked host name has no separators
}

func (a *Authority) read(first string) (*tls.Certificate, error) {
	data, err := os.ReadFile(a.leafPath(first))
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(data, data)
	return &pair, err
}

func (a *Authority) write(first string, leaf *tls.Certificate) error {
	key, err := privatePEM(leaf.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		return err
	}
	return writeFile(a.leafPath(first), append(certificatePEM(leaf.Certificate[0]), key...), 0o600)
}

// ChainPEM is the certificate of a leaf in PEM, without its key.
func ChainPEM(leaf *tls.Certificate) []byte {
	var b bytes.Buffer
	for _, der := range leaf.Certificate {
		b.Write(certificatePEM(der))
	}
	return b.Bytes()
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func privatePEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// writeFile puts a whole file in place, on disk before it has its name.
func writeFile(name string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone after the rename
	defer f.Close()
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
