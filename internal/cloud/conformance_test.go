package cloud_test

import (
	"testing"

	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/cloud/shop"
	"github.com/purser-dev/purser/provider/providertest"
)

func TestTheCloudConformsToAPP(t *testing.T) {
	w := newWorld(t)
	manifest, err := app.ParseManifest(w.fetch(w.ready.ManifestURL))
	if err != nil {
		t.Fatal(err)
	}
	providertest.Test(t, providertest.Config{
		BaseURL: manifest.BaseURL, TokenURL: manifest.OAuthTokenEndpoint, SigningSecret: signingSecret,
		Capabilities: manifest.Capabilities, FreeService: shop.HostingStatic, PaidService: shop.HostingPro, PlanService: shop.HostingPro,
		PaymentType: app.PaymentSandbox, PaymentToken: "sbx_conformance",
	})
}
