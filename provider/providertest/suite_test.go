package providertest_test

import (
	"testing"

	"github.com/purser-dev/purser/provider"
	"github.com/purser-dev/purser/provider/providertest"
)

func TestTheMemoryStoreIsAStore(t *testing.T) {
	providertest.TestStore(t, func(*testing.T) provider.Store { return provider.NewMemoryStore() })
}
