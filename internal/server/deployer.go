package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/bridge/cloudflare"
	"github.com/purser-dev/purser/internal/office"
)

// The credentials that lead to a hosting account with Cloudflare's API.
const (
	accessURL     = "CLOUDFLARE_API_BASE_URL"
	accessAccount = "CLOUDFLARE_ACCOUNT_ID"
	accessToken   = "CLOUDFLARE_API_TOKEN" // the name of a variable, not a value
)

// vendorURL is used where a resource names no address of its own.
const vendorURL = "https://api.cloudflare.com/client/v4"

// deployer puts files where a resource's credentials lead.
type deployer struct{}

// hosting are the categories of services that serve files. A DNS zone hands over
// the same account and serves none.
var hosting = []string{"compute", "cdn", "hosting"}

// Takes reports whether a service serves files and hands over what a deployment
// needs.
func (deployer) Takes(categories, outputs []string) bool {
	serves := func(category string) bool { return slices.Contains(hosting, category) }
	return slices.ContainsFunc(categories, serves) && slices.Contains(outputs, accessAccount) && slices.Contains(outputs, accessToken)
}

// Deploy makes the files live and returns their address. The same again changes
// nothing.
func (deployer) Deploy(ctx context.Context, d office.Deployment) (string, error) {
	files, err := filesOf(d)
	if err != nil {
		return "", err
	}
	base := d.Access[accessURL]
	if base == "" {
		base = vendorURL
	}
	result, err := cloudflare.Deploy(ctx,
		cloudflare.Target{BaseURL: base, AccountID: d.Access[accessAccount], Token: d.Access[accessToken]},
		cloudflare.Deployment{Script: script(d.Name), Files: files, Domain: d.Domain, NotFoundHandling: notFound(files)})
	if err != nil {
		return "", explain(err)
	}
	return result.URL, nil
}

func filesOf(d office.Deployment) ([]cloudflare.File, error) {
	var files []cloudflare.File
	for _, f := range d.Files {
		sum, err := hex.DecodeString(f.SHA256)
		if err != nil || len(sum) != sha256.Size {
			return nil, purser.Errorf(purser.InvalidRequest, "a file of the manifest has no SHA-256")
		}
		files = append(files, cloudflare.File{
			Path: "/" + f.Path, Size: f.Size, SHA256: [sha256.Size]byte(sum),
			Open: func() (io.ReadCloser, error) { return d.Open(f.SHA256) },
		})
	}
	return files, nil
}

// notFound serves the site's own page where it has one.
func notFound(files []cloudflare.File) string {
	if slices.ContainsFunc(files, func(f cloudflare.File) bool { return f.Path == "/404.html" }) {
		return "404-page"
	}
	return ""
}

var notInScript = regexp.MustCompile(`[^a-z0-9-]+`)

// script is the vendor's form of a name: a DNS label.
func script(name string) string {
	s := strings.Trim(notInScript.ReplaceAllString(strings.ToLower(name), "-"), "-")
	if s == "" {
		s = "site"
	}
	return strings.TrimRight(s[:min(len(s), 54)], "-")
}

// explain gives the vendor's failure a code. Its words stay quoted.
func explain(err error) error {
	var file *cloudflare.FileError
	if errors.As(err, &file) {
		return purser.Errorf(purser.UnsafeFolder, "%s cannot be deployed: %s", file.Path, file.Reason).WithCause(err)
	}
	var vendor *cloudflare.Error
	if !errors.As(err, &vendor) {
		return err
	}
	e := purser.Errorf(purser.ProviderFailure, "the host refused the deployment").WithCause(err)
	switch {
	case vendor.Unknown:
		e = purser.Errorf(purser.OutcomeUnknown, "the host's answer was lost; deploying the same files again is safe").WithCause(err)
	case vendor.Status == 0:
		e = purser.Errorf(purser.ProviderDown, "the host does not answer").WithCause(err)
	}
	if vendor.Message != "" {
		e.Provider = &purser.ProviderSaid{Message: quote(vendor.Message), Status: vendor.Status}
	}
	return e
}

// quote keeps a stranger's text short and printable.
func quote(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if runes := []rune(text); len(runes) > 300 {
		text = string(runes[:300]) + "..."
	}
	return text
}
