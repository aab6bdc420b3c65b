package console

import (
	"encoding/json"
	"net/http"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/gate"
)

// proof is the part that lets the browser check a record for itself: the bytes
// that were hashed, the way to the root, and the signed checkpoint.
func (c *Console) proof(v *visit, seq int64) (part, error) {
	p, err := do[purser.AuditProof](v, "prove", purser.Prove{Seq: seq})
	if err != nil {
		return part{}, err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return part{}, err
	}
	return part{id: "proof", body: proofPart(p, string(text))}, nil
}

// export sends the organization's whole log in a format, as a file. Agents and
// programs take it from the HTTP door; a browser has a session here.
func (c *Console) export(format, kind, name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := c.visit(w, r, "export")
		if !v.admitted() {
			return
		}
		out := &download{w: w, kind: kind, name: name}
		err := c.Office.ExportAudit(v.ctx, v.by, purser.ExportAudit{Format: format}, out)
		switch {
		case err != nil && out.begun:
			gate.EntryOf(v.ctx).Fail(err)
			panic(http.ErrAbortHandler) // what is sent is not whole, and must not look so
		case err != nil:
			v.fail(err)
		}
	})
}

// download begins the answer with its first byte, so that a refusal before it can
// still be a page.
type download struct {
	w          http.ResponseWriter
	kind, name string
	begun      bool
}

func (d *download) Write(p []byte) (int, error) {
	if !d.begun {
		d.begun = true
		h := d.w.Header()
		secure(h)
		h.Set("Content-Type", d.kind)
		h.Set("Content-Disposition", `attachment; filename="`+d.name+`"`)
	}
	return d.w.Write(p)
}
