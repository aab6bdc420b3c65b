package config

import (
	"net/mail"
	"net/url"
	"os"
	"strings"
)

// complete reads the secrets that are kept in files of their own.
func (n *Notices) complete(home string, f *faults) {
	for _, s := range []struct {
		key  string
		into *Secret
		path *string
	}{
		{"notices.smtp.password", &n.SMTP.Password, &n.SMTP.PasswordFile},
		{"notices.webhook.secret", &n.Webhook.Secret, &n.Webhook.SecretFile},
	} {
		if *s.path == "" {
			continue
		}
		if *s.into != "" {
			f.add("settings", "%s and %s_file are both set; one is enough", s.key, s.key)
			continue
		}
		*s.path = absolute(*s.path, home, f)
		text, err := os.ReadFile(*s.path)
		if err != nil {
			f.add("settings", "%s_file: %v", s.key, plain(err))
			continue
		}
		if *s.into = Secret(strings.TrimRight(string(text), "\r\n")); *s.into == "" {
			f.add("settings", "%s_file: %s is empty", s.key, *s.path)
		}
	}
}

// check finds what would make a way silent, or a password public.
func (n *Notices) check(f *faults) {
	m := n.SMTP
	switch m.TLS {
	case "starttls", "tls", "none":
	default:
		f.add("settings", "notices.smtp.tls: %q is not starttls, tls or none", m.TLS)
	}
	if m.Host == "" {
		if m.User != "" || m.Password != "" || m.From != "" {
			f.add("settings", "notices.smtp: host is not set, so nothing would be sent")
		}
	} else {
		n.checkMail(f)
	}
	if m.Port > 65535 {
		f.add("settings", "notices.smtp.port: %d is not a port", m.Port)
	}
	if n.Webhook.URL == "" {
		if n.Webhook.Secret != "" {
			f.add("settings", "notices.webhook: url is not set, so nothing would be sent")
		}
		return
	}
	// The address itself is not shown: of some services it is the secret.
	if u, err := url.Parse(n.Webhook.URL.Reveal()); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		f.add("settings", "notices.webhook.url: it is not a URL like https://hooks.example.org/purser")
	}
}

func (n *Notices) checkMail(f *faults) {
	m := n.SMTP
	if strings.ContainsAny(m.Host, ":/@ ") && !strings.Contains(m.Host, "::") {
		f.add("settings", "notices.smtp.host: %q is not a host name; the port has a setting of its own", m.Host)
	}
	if _, err := mail.ParseAddress(m.From); err != nil {
		f.add("settings", "notices.smtp.from: %q is not an address like Purser <purser@example.org>", m.From)
	}
	if (m.User == "") != (m.Password == "") {
		f.add("settings", "notices.smtp: user and password belong together")
	}
	if m.TLS == "none" && !loopback(m.Host) {
		f.add("settings", "notices.smtp.tls: without TLS what people are told would cross the network in the clear; none is for this machine only")
	}
}

func (n *Notices) warnings() []string {
	if n.Webhook.URL == "" {
		return nil
	}
	var all []string
	if n.Webhook.Secret == "" {
		all = append(all, "notices.webhook has no secret, so its receiver cannot tell who posts; fine where the address itself is one, as Slack's")
	}
	if u, err := url.Parse(n.Webhook.URL.Reveal()); err == nil && u.Scheme == "http" && !loopback(u.Hostname()) {
		all = append(all, "notices.webhook.url is not https; whoever is on the way reads what is bought")
	}
	return all
}
