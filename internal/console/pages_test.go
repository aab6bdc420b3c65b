package console

import (
	"net/http"
	"testing"
)

func TestEachScreenIsThereWithNothingInIt(t *testing.T) {
	h := open(t)
	for _, path := range []string{"/", "/approvals", "/runs", "/projects", "/spend", "/catalog", "/agents", "/providers", "/audit", "/audit/1", "/settings"} {
		status, header, body := h.get(path)
		if status != http.StatusOK || header.Get("Content-Security-Policy") != policy {
			t.Errorf("%s: %d, %v", path, status, header)
			t.Log(body)
		}
	}
}
