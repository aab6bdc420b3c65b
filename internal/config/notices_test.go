package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretsOfNoticesAreReadFromFilesAndNeverShown(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("hunter2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := load(t, Sources{
		File:    write(t, "notices:\n  smtp: {host: mail.example, port: 465, tls: tls, user: purser, from: Purser <p@example.org>, password_file: "+file+"}\n"),
		Environ: append(home(t), "PURSER_NOTICES_WEBHOOK_URL=https://hooks.example/T0/hunter3", "PURSER_NOTICES_WEBHOOK_SECRET=hunter4"),
	})
	if got := c.Notices.SMTP.Password.Reveal(); got != "hunter2" {
		t.Errorf("the password is %q", got)
	}
	if c.Notices.Webhook.URL.Reveal() != "https://hooks.example/T0/hunter3" || c.Notices.Webhook.Secret.Reveal() != "hunter4" {
		t.Error("the webhook is another")
	}
	for _, text := range []string{fmt.Sprintf("%v", c), fmt.Sprintf("%+v", c.Explain()), fmt.Sprint(c.Notices)} {
		if strings.Contains(text, "hunter") {
			t.Errorf("a secret is in %s", text)
		}
	}
	if !strings.Contains(strings.Join(c.Warnings, " "), "password") {
		t.Errorf("nobody is warned that others can read the file: %v", c.Warnings)
	}
}
