package office

import (
	"context"
	"fmt"
	"io"
	"path"
	"regexp"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/canonical"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

const (
	maxFiles    = 20000
	maxFileSize = 25 << 20
)

var sha256Form = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Stage takes the list of a folder's files, never a path on this machine, and
// answers which of them are still to be sent (RULES 14).
func (o *Office) Stage(ctx context.Context, by purser.Actor, in purser.Stage) (purser.Staged, error) {
	if err := checkFiles(in.Files); err != nil {
		return purser.Staged{}, err
	}
	files := append([]purser.File(nil), in.Files...)
	sort.Slice(files, func(i, j int) bool { return files[i].Path < files[j].Path })
	digest, err := canonical.Digest(files)
	if err != nil {
		return purser.Staged{}, err
	}
	out := purser.Staged{Manifest: digest, Files: len(files), Missing: []string{}, Upload: o.PublicURL() + "/v1/blobs"}
	asked := map[string]bool{}
	for _, f := range files {
		out.Bytes += f.Size
		if !asked[f.SHA256] && !o.Blobs.Has(by.Organization, f.SHA256) {
			out.Missing = append(out.Missing, f.SHA256)
		}
		asked[f.SHA256] = true
	}
	dirty := int64(0)
	if in.Dirty {
		dirty = 1
	}
	err = o.Store.Write(ctx, func(q *db.Queries) error {
		return q.InsertManifest(ctx, db.InsertManifestParams{
			Organization: by.Organization, Digest: digest, Files: toJSON(files), Count: int64(len(files)), Bytes: out.Bytes,
			CommitID: in.Commit, Dirty: dirty, CreatedAt: store.Micro(o.Now()),
		})
	})
	return out, o.explain(ctx, err)
}

// checkFiles refuses paths that could leave the folder or hide in it.
func checkFiles(files []purser.File) error {
	if len(files) == 0 {
		return purser.Errorf(purser.UnsafeFolder, "the folder has no files")
	}
	if len(files) > maxFiles {
		return purser.Errorf(purser.TooLarge, "the folder has %d files, more than %d", len(files), maxFiles)
	}
	seen := map[string]bool{}
	for _, f := range files {
		switch {
		case f.Path == "" || len(f.Path) > 1024 || !utf8.ValidString(f.Path) || path.Clean("/"+f.Path) != "/"+f.Path || strings.ContainsAny(f.Path, "\\\x00"):
			return purser.Errorf(purser.UnsafeFolder, "the path %q is not one inside a folder", f.Path)
		case seen[f.Path]:
			return purser.Errorf(purser.UnsafeFolder, "the path %q is named twice", f.Path)
		case !sha256Form.MatchString(f.SHA256):
			return purser.Errorf(purser.InvalidRequest, "%q: sha256 must be 64 hexadecimal digits", f.Path)
		case f.Size < 0 || f.Size > maxFileSize:
			return purser.Errorf(purser.TooLarge, "%q has %d bytes, more than %d", f.Path, f.Size, maxFileSize)
		}
		seen[f.Path] = true
	}
	return nil
}

// PutBlob keeps one file that was staged; its bytes must have the hash and size
// that were named.
func (o *Office) PutBlob(ctx context.Context, by purser.Actor, sha256 string, size int64, r io.Reader) error {
	if by.Kind != purser.Person && by.Kind != purser.Agent {
		return purser.Errorf(purser.Forbidden, "files are sent by people and agents")
	}
	if !sha256Form.MatchString(sha256) || size < 0 || size > maxFileSize {
		return purser.Errorf(purser.InvalidRequest, "a blob is named by its SHA-256 and has at most %d bytes", maxFileSize)
	}
	return o.Blobs.Put(ctx, by.Organization, sha256, size, r)
}

// folder is a staged folder.
type folder struct {
	db.Manifest
	files []purser.File
}

func (o *Office) folder(ctx context.Context, q *db.Queries, org, digest string) (folder, error) {
	row, err := q.Manifest(ctx, db.ManifestParams{Organization: org, Digest: digest})
	if err != nil {
		return folder{}, notFound(err, "staged folder", digest)
	}
	files, err := fromJSON[[]purser.File](row.Files)
	return folder{row, files}, err
}

// complete refuses a folder of which files were not sent.
func (o *Office) complete(org string, f folder) error {
	lacking := 0
	for _, file := range f.files {
		if !o.Blobs.Has(org, file.SHA256) {
			lacking++
		}
	}
	if lacking > 0 {
		return purser.Errorf(purser.BlobsMissing, "%d of the folder's %d files were not sent", lacking, len(f.files)).
			WithHint("send them to %s/v1/blobs, then try again", o.PublicURL())
	}
	return nil
}

// deployment describes a folder for a plan: what will be there, and what changes
// against what is there now.
func (o *Office) deployment(ctx context.Context, q *db.Queries, org string, f folder, before, domain string) (*purser.Deployment, error) {
	d := &purser.Deployment{
		Manifest: f.Digest, Files: len(f.files), Bytes: f.Bytes, Commit: f.CommitID, Domain: domain, Warnings: warnings(f.files), Added: len(f.files),
	}
	if before == "" {
		return d, nil
	}
	old, err := o.folder(ctx, q, org, before)
	if err != nil {
		return nil, fmt.Errorf("comparing with what is deployed: %w", err)
	}
	had := map[string]string{}
	for _, file := range old.files {
		had[file.Path] = file.SHA256
	}
	d.Added = 0
	for _, file := range f.files {
		if had[file.Path] != file.SHA256 {
			d.Added++
		}
		delete(had, file.Path)
	}
	d.Removed = len(had)
	return d, nil
}

// warnings names files that rarely belong on a public page (RULES 14).
func warnings(files []purser.File) []string {
	var out []string
	for _, f := range files {
		name := strings.ToLower(path.Base(f.Path))
		secret := name == ".env" || strings.HasPrefix(name, ".env.") || strings.HasSuffix(name, ".pem") || strings.HasSuffix(name, ".key") ||
			strings.HasSuffix(name, ".p12") || name == "id_rsa" || name == "id_ed25519" || name == ".npmrc" || name == "credentials.json"
		if secret || strings.HasPrefix(f.Path, ".git/") || strings.Contains(f.Path, "/.git/") {
			out = append(out, f.Path)
		}
		if len(out) == 20 {
			break
		}
	}
	return out
}
