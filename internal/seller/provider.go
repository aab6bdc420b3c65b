package seller

import "github.com/purser-dev/purser/internal/office"

// Provider is a registered seller, as the office hands it over.
type Provider = office.Provider

var _ office.Seller = (*Seller)(nil)
