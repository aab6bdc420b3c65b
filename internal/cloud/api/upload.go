package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"strings"

	"github.com/purser-dev/purser/internal/cloud/assets"
	"github.com/purser-dev/purser/internal/cloud/state"
)

const (
	maxManifest = 64 << 20
	maxMetadata = 4 << 20
	maxUpload   = 256 << 20

	// A bucket is what a client sends in one request: small enough that three of
	// them run beside each other, large enough that thousands of files are few requests.
	bucketBytes = 8 << 20
	bucketFiles = 800
)

// openSession answers which files of a manifest are to be uploaded.
func (a *API) openSession(c call) (any, error) {
	var in struct {
		Manifest assets.Manifest `json:"manifest"`
	}
	if err := decode(c.Request, maxManifest, &in); err != nil {
		return nil, err
	}
	if err := in.Manifest.Check(); err != nil {
		return nil, fail(http.StatusBadRequest, CodeBadRequest, "the manifest is refused: %s", err.Error())
	}
	session, err := a.o.Store.OpenSession(c.Context(), c.grant.Account, c.script, in.Manifest)
	if err != nil {
		return nil, err
	}
	missing, err := a.missing(c, in.Manifest)
	if err != nil {
		return nil, err
	}
	token, err := signToken(a.key, uploadClaims{
		Account: c.grant.Account, Script: c.script, Session: session, Token: c.grant.TokenID,
		Expires: a.o.Now().Add(state.SessionLife).Unix(),
	})
	return object{"jwt": token, "buckets": buckets(missing)}, err
}

// missing are the files the account itself has not uploaded, once per hash.
func (a *API) missing(c call, m assets.Manifest) (map[string]int64, error) {
	uploads, err := a.o.Store.Uploads(c.Context(), c.grant.Account)
	if err != nil {
		return nil, err
	}
	list := map[string]int64{}
	for _, f := range m {
		_, stored := a.o.Blobs.Size(f.Hash)
		if _, own := uploads[f.Hash]; !own || !stored {
			list[f.Hash] = f.Size
		}
	}
	return list, nil
}

func buckets(missing map[string]int64) [][]string {
	list := [][]string{}
	var bytes int64
	for hash, size := range missing {
		last := len(list) - 1
		if last < 0 || bytes+size > bucketBytes || len(list[last]) >= bucketFiles {
			list, last, bytes = append(list, nil), last+1, 0
		}
		list[last] = append(list[last], hash)
		bytes += size
	}
	return list
}

// upload stores one bucket: parts named by hash with base64 bodies. The bucket is on
// disk before it is recorded, and nothing of a bucket with a bad part is kept.
func (a *API) upload(w http.ResponseWriter, r *http.Request) {
	token, claims, err := a.uploader(r)
	if err == nil {
		err = a.storeBucket(r, claims)
	}
	a.reply(w, r, http.StatusCreated, object{"jwt": token}, err)
}

func (a *API) uploader(r *http.Request) (string, uploadClaims, error) {
	token, _ := bearer(r)
	claims, ok := readToken(a.key, token, a.o.Now())
	if !ok || claims.Account != r.PathValue("account") {
		return "", claims, fail(http.StatusUnauthorized, CodeUnauthorized, "Authentication error: the upload token is not valid or has expired")
	}
	return token, claims, a.o.Store.Check(r.Context(), state.Grant{TokenID: claims.Token, Account: claims.Account})
}

func (a *API) storeBucket(r *http.Request, claims uploadClaims) error {
	if r.URL.Query().Get("base64") != "true" {
		return fail(http.StatusBadRequest, CodeBadRequest, "uploads are taken with ?base64=true only")
	}
	manifest, err := a.o.Store.Session(r.Context(), claims.Account, claims.Session)
	if err != nil {
		return sessionMissing(err)
	}
	r.Body = http.MaxBytesReader(nil, r.Body, maxUpload)
	parts, err := r.MultipartReader()
	if err != nil {
		return fail(http.StatusBadRequest, CodeBadRequest, "an upload is multipart/form-data")
	}
	batch, err := a.o.Blobs.NewBatch(a.o.Random)
	if err != nil {
		return err
	}
	files, err := addParts(parts, byHash(manifest), batch)
	if err != nil {
		return errors.Join(err, batch.Discard())
	}
	if err := batch.Commit(); err != nil {
		return err
	}
	return a.o.Store.RecordUploads(r.Context(), claims.Account, files)
}

func sessionMissing(err error) error {
	if errors.Is(err, state.ErrNotFound) {
		return fail(http.StatusBadRequest, CodeBadRequest, "the upload session is over; start the deploy again")
	}
	return err
}

// expected is what a session's manifest says of one hash.
type expected struct {
	path string
	size int64
}

func byHash(m assets.Manifest) map[string]expected {
	files := make(map[string]expected, len(m))
	for p, f := range m {
		files[f.Hash] = expected{p, f.Size}
	}
	return files
}

func addParts(parts *multipart.Reader, wanted map[string]expected, batch *assets.Batch) (map[string]assets.File, error) {
	files := map[string]assets.File{}
	var encoded bytes.Buffer
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, badUpload(err)
		}
		hash := part.FormName()
		want, ok := wanted[hash]
		if !ok {
			return nil, fail(http.StatusBadRequest, CodeBadRequest, "%.40q is not in this upload's manifest", hash)
		}
		encoded.Reset()
		if _, err := encoded.ReadFrom(io.LimitReader(part, int64(base64.StdEncoding.EncodedLen(assets.MaxFileSize))+1)); err != nil {
			return nil, badUpload(err)
		}
		data, err := verified(hash, want, encoded.Bytes())
		if err != nil {
			return nil, err
		}
		if err := batch.Add(hash, data); err != nil {
			return nil, err
		}
		files[hash] = assets.File{Hash: hash, Size: want.size, Type: mediaType(part.Header.Get("Content-Type"))}
	}
}

func badUpload(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return err
	}
	return &failure{http.StatusBadRequest, CodeBadRequest, "the upload was cut off or is not multipart/form-data", err}
}

// verified decodes a part and refuses bytes that are not what the hash names.
func verified(hash string, want expected, encoded []byte) ([]byte, error) {
	data := make([]byte, base64.StdEncoding.DecodedLen(len(encoded)))
	n, err := base64.StdEncoding.Strict().Decode(data, encoded)
	// The decoder skips line breaks, but the hash is over the text without any.
	if err != nil || len(encoded) != base64.StdEncoding.EncodedLen(n) {
		return nil, fail(http.StatusBadRequest, CodeBadRequest, "the part %s is not base64", hash)
	}
	if int64(n) != want.size || assets.HashEncoded(want.path, encoded) != hash {
		return nil, fail(http.StatusBadRequest, CodeBadRequest, "the bytes sent as %s are not those of %.200q", hash, want.path)
	}
	return data[:n], nil
}

// mediaType keeps a part's type if it is one, so that no header can be smuggled in.
func mediaType(t string) string {
	if len(t) > 200 || strings.ContainsAny(t, "\r\n\x00") {
		return assets.NoType
	}
	return t
}

// metadata is the part of that name in a script upload. Only assets are taken.
type metadata struct {
	MainModule string `json:"main_module"`
	BodyPart   string `json:"body_part"`
	Bindings   []struct {
		Name string `json:"name"`
		Type string `json:"type"`
	} `json:"bindings"`
	Annotations map[string]string `json:"annotations"`
	Assets      *struct {
		JWT    string        `json:"jwt"`
		Config assets.Config `json:"config"`
	} `json:"assets"`
}

// putScript uploads and switches: the answer's deployment_id is the version's id
// without dashes.
func (a *API) putScript(c call) (any, error) {
	v, err := a.putVersion(c, true)
	if err != nil {
		return nil, err
	}
	return object{
		"id": c.script, "tag": v.Digest[:32], "etag": v.Digest[:32], "deployment_id": strings.ReplaceAll(v.ID, "-", ""),
		"startup_time_ms": 0, "has_assets": true, "has_modules": false,
		"created_on": stamp(v.Created), "modified_on": stamp(v.Created),
	}, nil
}

// postVersion uploads without switching.
func (a *API) postVersion(c call) (any, error) {
	v, err := a.putVersion(c, false)
	if err != nil {
		return nil, err
	}
	answer := a.versionObject(c, v)
	answer["startup_time_ms"] = 0
	return answer, nil
}

func (a *API) putVersion(c call, activate bool) (state.Version, error) {
	m, err := readMetadata(c.Request)
	if err != nil {
		return state.Version{}, err
	}
	manifest, err := a.uploaded(c, m.Assets.JWT)
	if err != nil {
		return state.Version{}, err
	}
	if err := m.Assets.Config.Check(); err != nil {
		return state.Version{}, fail(http.StatusBadRequest, CodeScriptRejected, "%s", err.Error())
	}
	return a.o.Store.PutVersion(c.Context(), c.grant, state.Upload{
		App: c.script, Tag: clip(m.Annotations["workers/tag"], 100), Message: clip(m.Annotations["workers/message"], 1000),
		Manifest: manifest, Config: m.Assets.Config, Activate: activate,
	})
}

func clip(s string, n int) string { return s[:min(len(s), n)] }

func readMetadata(r *http.Request) (metadata, error) {
	var m metadata
	r.Body = http.MaxBytesReader(nil, r.Body, maxMetadata)
	parts, err := r.MultipartReader()
	if err != nil {
		return m, fail(http.StatusBadRequest, CodeBadRequest, "a script upload is multipart/form-data")
	}
	found := false
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return m, badUpload(err)
		}
		if part.FormName() != "metadata" {
			return m, fail(http.StatusBadRequest, CodeScriptRejected, "module %.100q: only static assets are taken here, no code", part.FormName())
		}
		if err := json.NewDecoder(part).Decode(&m); err != nil {
			return m, fail(http.StatusBadRequest, CodeBadRequest, "the metadata is not the JSON this route takes")
		}
		found = true
	}
	if !found || m.Assets == nil {
		return m, fail(http.StatusBadRequest, CodeScriptRejected, "only static assets are taken here: metadata.assets is missing")
	}
	if m.MainModule != "" || m.BodyPart != "" {
		return m, fail(http.StatusBadRequest, CodeScriptRejected, "only static assets are taken here, no code")
	}
	for _, b := range m.Bindings {
		if b.Type != "assets" {
			return m, fail(http.StatusBadRequest, CodeScriptRejected, "binding %.100q of type %.100q is not supported", b.Name, b.Type)
		}
	}
	return m, nil
}

// uploaded is the manifest of a finished upload with each file's type. The session
// must be this account's and script's, and every blob one the account uploaded.
func (a *API) uploaded(c call, token string) (assets.Manifest, error) {
	claims, ok := readToken(a.key, token, a.o.Now())
	if !ok || claims.Account != c.grant.Account || claims.Script != c.script {
		return nil, fail(http.StatusBadRequest, CodeBadRequest, "the assets token is not valid for this script or has expired")
	}
	manifest, err := a.o.Store.Session(c.Context(), claims.Account, claims.Session)
	if err != nil {
		return nil, sessionMissing(err)
	}
	uploads, err := a.o.Store.Uploads(c.Context(), c.grant.Account)
	if err != nil {
		return nil, err
	}
	for p, f := range manifest {
		own, ok := uploads[f.Hash]
		if size, stored := a.o.Blobs.Size(f.Hash); !ok || !stored || size != f.Size {
			return nil, fail(http.StatusBadRequest, CodeBadRequest, "%.200q was not uploaded", p)
		}
		f.Type = own.Type
		manifest[p] = f
	}
	return manifest, nil
}
