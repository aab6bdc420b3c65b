package main

import (
	"net/http/httptest"
	"testing"

	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/provider/providertest"
)

func TestNotesConformsToAPP(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	origin := "http://" + server.Listener.Addr().String()
	handler, err := newNotes(origin, "secret of the test")
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = handler
	server.Start()
	defer server.Close()
	report := providertest.Run(t.Context(), providertest.Config{
		BaseURL: origin + "/app/", TokenURL: origin + "/app/oauth/token", SigningSecret: "secret of the test",
		Capabilities: []string{app.CapFind, app.CapQuotes, app.CapRotate, app.CapUpdate},
		FreeService:  "notebook", PaidService: "pro", PlanService: "pro", UpdateTarget: "shelf",
		PaymentType: app.PaymentSandbox, PaymentToken: "sbx_conformance",
		Transport: server.Client().Transport,
	})
	if !report.OK() {
		t.Error(report)
	}
	t.Logf("%d cases passed, skipped: %v", len(report.IDs(providertest.Passed)), report.IDs(providertest.Skipped))
}
