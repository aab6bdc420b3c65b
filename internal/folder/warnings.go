package folder

import (
	"fmt"
	"path"
)

// secretive are patterns of base names that hold secrets more often than pages.
var secretive = []string{
	".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "*.kdbx", "*.jks", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519",
	".npmrc", ".pypirc", ".netrc", ".htpasswd", ".git-credentials", "credentials.json", "*.sqlite", "*.db",
}

// warnings names files that are probably not meant to be published. They are
// shown, not refused: a site may well serve a public key.
func warnings(names []string) (found []string) {
	for _, name := range names {
		if looksSecret(path.Base(name)) {
			found = append(found, fmt.Sprintf("%s may hold a secret, and would be public", name))
		}
	}
	return found
}

func looksSecret(base string) bool {
	for _, pattern := range secretive {
		if ok, _ := path.Match(pattern, base); ok { // the patterns are constants; they parse
			return base != ".env.example"
		}
	}
	return false
}
