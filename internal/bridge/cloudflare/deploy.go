package cloudflare

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
)

// File is one file of a site. Path begins with a slash and is not percent-encoded.
// Size is in bytes; SHA256 is what was approved: other bytes are not deployed. Open
// is called once to hash the file and once more when it is uploaded.
type File struct {
	Path   string
	Size   int64
	SHA256 [sha256.Size]byte
	Open   func() (io.ReadCloser, error)
}

// FileError is a file of the caller's that cannot be deployed. Nothing was changed.
type FileError struct {
	Path, Reason string
	cause        error
}

func (e *FileError) Error() string { return fmt.Sprintf("%s: %s", e.Path, e.Reason) }

func (e *FileError) Unwrap() error { return e.cause }

// Deployment is what is to be live: the files under the script's name, and under the
// domain unless it is "". HTMLHandling and NotFoundHandling may be "" for the
// vendor's defaults. Files named /_redirects and /_headers are settings and are not
// served. Progress, if set, is told how many files and bytes
// of how many are uploaded; calls come one at a time.
type Deployment struct {
	Script                         string
	Files                          []File
	Domain                         string
	HTMLHandling, NotFoundHandling string
	Progress                       func(Progress)
}

// Progress counts what was uploaded of what is to be uploaded; files the vendor has
// already are not counted.
type Progress struct {
	Files, OfFiles int
	Bytes, OfBytes int64
}

// Result is what is live. Uploaded counts the files that were sent. Repeated is true
// when the same content was live before and no version was made.
type Result struct {
	VersionID string
	Uploaded  int
	URL       string
	Repeated  bool
}

// Deploy makes the files live. It may be repeated: content that is live already
// makes no second version, and an answer that was lost is looked up. Whether the
// domain may be had is checked before anything is uploaded. The error is a FileError
// for the caller's own files, else an Error that says whether the outcome is known.
func Deploy(ctx context.Context, t Target, d Deployment) (Result, error) {
	c, err := newClient(t)
	if err != nil {
		return Result{}, err
	}
	site, err := newSite(ctx, d)
	if err != nil {
		return Result{}, err
	}
	if err := c.checkDomain(ctx, d.Script, d.Domain); err != nil {
		return Result{}, err
	}
	result, err := c.live(ctx, d.Script, site.tag)
	if err != nil {
		return Result{}, err
	}
	if !result.Repeated {
		if result, err = c.publish(ctx, d, site); err != nil {
			return Result{}, err
		}
	}
	result.URL, err = c.address(ctx, d)
	return result, err
}

// Remove deletes a script with its versions and domains. A script that is gone is
// removed.
func Remove(ctx context.Context, t Target, script string) error {
	c, err := newClient(t)
	if err != nil {
		return err
	}
	err = c.send(ctx, "removing the script", http.MethodDelete, c.account+"/workers/services/"+url.PathEscape(script)+"?force=true", struct{}{}, nil)
	var failed *Error
	if errors.As(err, &failed) && failed.Missing() {
		return nil
	}
	return err
}

func (c *client) scriptPath(script string) string {
	return c.account + "/workers/scripts/" + url.PathEscape(script)
}

// live finds out whether the script's active version is the one with this tag.
func (c *client) live(ctx context.Context, script, tag string) (Result, error) {
	var list struct {
		Deployments []struct {
			Versions []struct {
				ID string `json:"version_id"`
			} `json:"versions"`
		} `json:"deployments"`
	}
	var failed *Error
	err := c.get(ctx, "reading deployments", c.scriptPath(script)+"/deployments", &list)
	if errors.As(err, &failed) && failed.Missing() {
		return Result{}, nil
	}
	if err != nil || len(list.Deployments) == 0 || len(list.Deployments[0].Versions) != 1 {
		return Result{}, err
	}
	id := list.Deployments[0].Versions[0].ID
	var version struct {
		Annotations map[string]string `json:"annotations"`
	}
	err = c.get(ctx, "reading a version", c.scriptPath(script)+"/versions/"+url.PathEscape(id), &version)
	if errors.As(err, &failed) && failed.Missing() {
		return Result{}, nil
	}
	return Result{VersionID: id, Repeated: version.Annotations[tagAnnotation] == tag}, err
}

// tagAnnotation carries the digest of what was deployed, so that the active version
// can be compared with what is wanted. The vendor allows 25 characters.
const (
	tagAnnotation = "workers/tag"
	tagLength     = 25
)

// publish uploads what is missing and switches to it.
func (c *client) publish(ctx context.Context, d Deployment, s *site) (Result, error) {
	var session struct {
		JWT     string     `json:"jwt"`
		Buckets [][]string `json:"buckets"`
	}
	err := c.send(ctx, "opening an upload", http.MethodPost, c.scriptPath(d.Script)+"/assets-upload-session",
		map[string]any{"manifest": s.manifest}, &session)
	if err != nil {
		return Result{}, harmless(err)
	}
	token, uploaded, err := c.upload(ctx, s, session.JWT, session.Buckets, d.Progress)
	if err != nil {
		return Result{}, harmless(err)
	}
	id, err := c.activate(ctx, d, s, token)
	if err != nil {
		return Result{}, err
	}
	return Result{VersionID: id, Uploaded: uploaded}, nil
}

// harmless marks a failure before the switch: nothing live has changed, whatever
// became of the call.
func harmless(err error) error {
	var failed *Error
	if errors.As(err, &failed) {
		failed.Unknown = false
	}
	return err
}

// activate uploads the version and switches to it, in one request. A lost answer is
// looked up: the active version's tag tells.
func (c *client) activate(ctx context.Context, d Deployment, s *site, token string) (string, error) {
	body, contentType, err := s.metadata(token)
	if err != nil {
		return "", err
	}
	var put struct {
		Deployment string `json:"deployment_id"`
	}
	err = c.do(ctx, request{
		op: "switching to the new version", method: http.MethodPut, contentType: contentType,
		path: c.scriptPath(d.Script) + "?excludeScript=true&bindings_inherit=strict",
		body: func() (io.Reader, error) { return bytes.NewReader(body), nil },
	}, &put)
	var failed *Error
	if errors.As(err, &failed) && failed.Unknown {
		if found, lookup := c.live(ctx, d.Script, s.tag); lookup == nil && found.Repeated {
			return found.VersionID, nil
		}
	}
	if err != nil {
		return "", err
	}
	return dashed(put.Deployment), nil
}

// dashed is the UUID of a version; the switch answers it as plain hex digits.
func dashed(id string) string {
	if raw, err := hex.DecodeString(id); err != nil || len(raw) != 16 {
		return id
	}
	return strings.Join([]string{id[:8], id[8:12], id[12:16], id[16:20], id[20:]}, "-")
}

// metadata is the multipart body of a script upload that has assets only.
func (s *site) metadata(token string) (body []byte, contentType string, err error) {
	data, err := json.Marshal(map[string]any{
		"assets":             map[string]any{"jwt": token, "config": s.config},
		"compatibility_date": compatibilityDate, "compatibility_flags": []string{},
		"annotations": map[string]string{tagAnnotation: s.tag},
	})
	if err != nil {
		return nil, "", err
	}
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	if err := errors.Join(form.WriteField("metadata", string(data)), form.Close()); err != nil {
		return nil, "", err
	}
	return b.Bytes(), form.FormDataContentType(), nil
}

// compatibilityDate fixes the vendor's behaviour to what was read and tested.
const compatibilityDate = "2026-11-01"

// checkDomain refuses a domain whose zone is not in the account or that another
// script holds, before anything is done: the vendor's own order would leave a new
// version live without its domain.
func (c *client) checkDomain(ctx context.Context, script, domain string) error {
	if domain == "" {
		return nil
	}
	if err := c.checkZone(ctx, domain); err != nil {
		return err
	}
	held, err := c.holders(ctx, domain)
	if err != nil {
		return err
	}
	for _, h := range held {
		if strings.EqualFold(h.Hostname, domain) && h.Service != script {
			return &Error{Op: "checking the domain", Status: http.StatusConflict, Message: fmt.Sprintf("%s is served by %s", domain, h.Service)}
		}
	}
	return nil
}

// checkZone looks for the zone of a domain. A token that may not read zones is no
// reason to refuse: attaching the domain will tell.
func (c *client) checkZone(ctx context.Context, domain string) error {
	for name := domain; strings.Contains(name, "."); _, name, _ = strings.Cut(name, ".") {
		var zones []struct {
			Name string `json:"name"`
		}
		err := c.get(ctx, "reading zones", "/zones?name="+url.QueryEscape(name)+"&account.id="+url.QueryEscape(c.AccountID), &zones)
		var failed *Error
		if errors.As(err, &failed) && failed.Status == http.StatusForbidden {
			return nil
		}
		if err != nil || len(zones) > 0 {
			return err
		}
	}
	return &Error{Op: "checking the domain", Status: http.StatusBadRequest, Code: codeZoneMissing, Message: "the zone of " + domain + " is not in this account"}
}

// address attaches the domain, or switches the vendor's own name on, and answers
// where the site is.
func (c *client) address(ctx context.Context, d Deployment) (string, error) {
	if d.Domain != "" {
		return "https://" + d.Domain + "/", c.attach(ctx, d)
	}
	err := c.send(ctx, "switching the address on", http.MethodPost, c.scriptPath(d.Script)+"/subdomain", map[string]bool{"enabled": true}, nil)
	if err != nil {
		return "", err
	}
	var worker struct {
		Subdomain struct {
			URL string `json:"url"`
		} `json:"subdomain"`
	}
	err = c.get(ctx, "reading the address", c.account+"/workers/workers/"+url.PathEscape(d.Script), &worker)
	return worker.Subdomain.URL, err
}

// attach asks for the domain without permission to take it from anything; a lost
// answer is looked up.
func (c *client) attach(ctx context.Context, d Deployment) error {
	err := c.send(ctx, "attaching the domain", http.MethodPut, c.scriptPath(d.Script)+"/domains/records", map[string]any{
		"override_scope": true, "override_existing_origin": false, "override_existing_dns_record": false,
		"origins": []map[string]string{{"hostname": d.Domain}},
	}, nil)
	var failed *Error
	if !errors.As(err, &failed) || !failed.Unknown {
		return err
	}
	held, lookup := c.holders(ctx, d.Domain)
	if lookup != nil {
		return failed
	}
	for _, h := range held {
		if strings.EqualFold(h.Hostname, d.Domain) && h.Service == d.Script {
			return nil
		}
	}
	return failed
}

// holder is a hostname and the script that serves it.
type holder struct {
	Hostname string `json:"hostname"`
	Service  string `json:"service"`
}

func (c *client) holders(ctx context.Context, domain string) ([]holder, error) {
	var held []holder
	err := c.get(ctx, "reading domains", c.account+"/workers/domains?hostname="+url.QueryEscape(domain), &held)
	return held, err
}
