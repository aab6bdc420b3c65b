package console

import (
	"fmt"
	"strings"
	"testing"

	"github.com/purser-dev/purser"
)

// The page of a stop is sent again with each revocation, of which there may be thousands.
func TestAStopOfThousandsOfTokensIsAPage(t *testing.T) {
	s := purser.StopInfo{ID: "stp_1"}
	for i := range 5000 {
		s.Effects = append(s.Effects, purser.StopEffect{Kind: "token", Target: fmt.Sprintf("tok_%d", i), State: "done"})
	}
	var page strings.Builder
	if err := effectsPart(s).Render(t.Context(), &page); err != nil {
		t.Fatal(err)
	}
	if rows := strings.Count(page.String(), "<tr>"); rows != 1+100 || !strings.Contains(page.String(), "And 4900 more: purser stop show stp_1") {
		t.Errorf("%d rows in %d bytes", rows, page.Len())
	}
	page.Reset()
	s.Effects = s.Effects[:3]
	if err := effectsPart(s).Render(t.Context(), &page); err != nil {
		t.Fatal(err)
	}
	if rows := strings.Count(page.String(), "<tr>"); rows != 1+3 || strings.Contains(page.String(), "more:") {
		t.Errorf("%d rows of 3", rows)
	}
}
