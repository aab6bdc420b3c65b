package cloudflare

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/purser-dev/purser/internal/cloud/assets"
)

// site is a deployment's files, hashed and checked.
type site struct {
	manifest assets.Manifest
	byHash   map[string]File // one file of each hash
	config   assets.Config
	tag      string
}

// The vendor's clients send these two as settings and never as files.
const (
	redirectsPath = "/_redirects"
	headersPath   = "/_headers"

	maxSettings = 1 << 20
)

// newSite reads every file once: its bytes must be the approved ones.
func newSite(ctx context.Context, d Deployment) (*site, error) {
	hashes := make([]string, len(d.Files))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, f := range d.Files {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			var err error
			hashes[i], err = hash(f)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	s := &site{
		manifest: assets.Manifest{}, byHash: map[string]File{},
		config: assets.Config{HTMLHandling: d.HTMLHandling, NotFoundHandling: d.NotFoundHandling},
	}
	seen := map[string]bool{}
	for i, f := range d.Files {
		if seen[f.Path] {
			return nil, &FileError{Path: f.Path, Reason: "is named twice"}
		}
		seen[f.Path] = true
		if f.Path == redirectsPath || f.Path == headersPath {
			if err := s.setting(f); err != nil {
				return nil, err
			}
			continue
		}
		s.manifest[f.Path] = assets.File{Hash: hashes[i], Size: f.Size}
		s.byHash[hashes[i]] = f
	}
	return s, s.label()
}

// setting reads _redirects or _headers, whose bytes are checked like any file's.
func (s *site) setting(f File) error {
	if f.Size > maxSettings {
		return &FileError{Path: f.Path, Reason: fmt.Sprintf("has %d bytes; this file may have %d", f.Size, maxSettings)}
	}
	var text bytes.Buffer
	if err := copyPlanned(&text, f); err != nil {
		return err
	}
	if f.Path == redirectsPath {
		s.config.Redirects = text.String()
	} else {
		s.config.Headers = text.String()
	}
	return nil
}

// label makes the tag that tells this content and its settings from others.
func (s *site) label() error {
	text, err := json.Marshal([]any{s.manifest, s.config})
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	s.tag = ("p" + hex.EncodeToString(sum[:]))[:tagLength]
	return nil
}

// hash checks a file and answers the name of its blob.
func hash(f File) (string, error) {
	if err := assets.CheckPath(f.Path); err != nil {
		return "", &FileError{f.Path, "cannot be deployed: " + err.Error(), err}
	}
	if f.Size > assets.MaxFileSize {
		return "", &FileError{Path: f.Path, Reason: fmt.Sprintf("has %d bytes; a file may have %d MiB", f.Size, assets.MaxFileSize>>20)}
	}
	r, err := f.Open()
	if err != nil {
		return "", &FileError{f.Path, "cannot be opened", err}
	}
	defer r.Close()
	sum := sha256.New()
	name, n, err := assets.Hash(f.Path, io.TeeReader(io.LimitReader(r, f.Size+1), sum))
	if err != nil {
		return "", &FileError{f.Path, "cannot be read", err}
	}
	if n != f.Size || [sha256.Size]byte(sum.Sum(nil)) != f.SHA256 {
		return "", &FileError{Path: f.Path, Reason: "is not the file that was planned"}
	}
	return name, nil
}

// uploadsAtOnce is what the vendor's own client does.
const uploadsAtOnce = 3

// upload sends the buckets and answers the token that names the finished upload.
func (c *client) upload(ctx context.Context, s *site, token string, buckets [][]string, progress func(Progress)) (string, int, error) {
	var mu sync.Mutex
	done := Progress{}
	for _, bucket := range buckets {
		for _, hash := range bucket {
			f, ok := s.byHash[hash]
			if !ok {
				return "", 0, &Error{Op: "opening an upload", Message: "the vendor asks for a file that is not in the manifest"}
			}
			done.OfFiles++
			done.OfBytes += f.Size
		}
	}
	session := token
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(uploadsAtOnce)
	for _, bucket := range buckets {
		group.Go(func() error {
			completion, err := c.uploadBucket(ctx, s, session, bucket)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if completion != "" {
				token = completion
			}
			for _, hash := range bucket {
				done.Files++
				done.Bytes += s.byHash[hash].Size
			}
			if progress != nil {
				progress(done)
			}
			return nil
		})
	}
	err := group.Wait()
	return token, done.Files, err
}

// uploadBucket sends one bucket. The body is made in memory: a file that cannot be
// read is known before anything is sent, and a retry sends the same bytes.
func (c *client) uploadBucket(ctx context.Context, s *site, session string, bucket []string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for _, hash := range bucket {
		if err := addFile(form, hash, s.byHash[hash]); err != nil {
			return "", err
		}
	}
	if err := form.Close(); err != nil {
		return "", err
	}
	var done struct {
		JWT string `json:"jwt"`
	}
	err := c.do(ctx, request{
		op: "uploading files", method: http.MethodPost, path: c.account + "/workers/assets/upload?base64=true",
		contentType: form.FormDataContentType(), token: session, tries: uploadTries,
		body: func() (io.Reader, error) { return bytes.NewReader(body.Bytes()), nil },
	}, &done)
	return done.JWT, err
}

func addFile(form *multipart.Writer, hash string, f File) error {
	part, err := form.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {fmt.Sprintf(`form-data; name="%s"; filename="%s"`, hash, hash)},
		"Content-Type":        {assets.ContentType(f.Path)},
	})
	if err != nil {
		return err
	}
	encoder := base64.NewEncoder(base64.StdEncoding, part)
	if err := copyPlanned(encoder, f); err != nil {
		return err
	}
	return encoder.Close()
}

// copyPlanned copies a file and refuses bytes that are not the planned ones.
func copyPlanned(w io.Writer, f File) error {
	r, err := f.Open()
	if err != nil {
		return &FileError{f.Path, "cannot be opened", err}
	}
	defer r.Close()
	sum := sha256.New()
	n, err := io.Copy(w, io.TeeReader(io.LimitReader(r, f.Size+1), sum))
	if err != nil {
		return &FileError{f.Path, "cannot be read", err}
	}
	if n != f.Size || [sha256.Size]byte(sum.Sum(nil)) != f.SHA256 {
		return &FileError{Path: f.Path, Reason: "changed while it was deployed"}
	}
	return nil
}
