package config

import (
	"net"
	"net/url"
	"os"
	"strings"
)

// Audit says where the proof of the log is kept beside the database.
type Audit struct {
	Witness Witness `key:"witness"`
}

// Witness is a place outside that gets a copy of each signed checkpoint.
type Witness struct {
	File       string `key:"file" help:"File that gets a copy of each signed checkpoint; best where this machine cannot take it back. Empty: none."`
	URL        string `key:"url" help:"Address that each signed checkpoint is posted to, as text. Empty: none."`
	SecretFile string `key:"secret_file" help:"File with the secret that signs each post to url (HMAC-SHA256). Empty: the notes' own signature only."`
}

// witnessSecret bounds the file of the secret, in bytes.
const witnessSecret = 4096

// Secret reads the secret that signs posts; empty without a file.
func (w Witness) Secret() (string, error) {
	if w.SecretFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(w.SecretFile)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(text[:min(len(text), witnessSecret)])), nil
}

func (w *Witness) complete(home string, f *faults) {
	for _, path := range []*string{&w.File, &w.SecretFile} {
		if *path != "" {
			*path = absolute(*path, home, f)
		}
	}
}

// check refuses an address that would carry the notes in the clear over a network:
// who can change them on the way can keep a witness from hearing of them.
func (w Witness) check(f *faults) {
	if w.SecretFile != "" {
		switch secret, err := w.Secret(); {
		case err != nil:
			f.add("settings", "audit.witness.secret_file: %s cannot be read", w.SecretFile)
		case len(secret) < 16:
			f.add("settings", "audit.witness.secret_file: %s holds fewer than 16 characters", w.SecretFile)
		case w.URL == "":
			f.add("settings", "audit.witness.secret_file: it signs nothing without audit.witness.url")
		}
	}
	if w.URL == "" {
		return
	}
	u, err := url.Parse(w.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		f.add("settings", "audit.witness.url: it is not an address like https://witness.example/purser")
	case u.User != nil:
		f.add("settings", "audit.witness.url: it holds a password; put a secret into audit.witness.secret_file")
	case u.Scheme == "http" && u.Hostname() != "localhost" && !net.ParseIP(u.Hostname()).IsLoopback():
		f.add("settings", "audit.witness.url: http goes to this machine only; use https")
	}
}
