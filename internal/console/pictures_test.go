//go:build pictures

package console

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// TestPictures looks at every screen as a picture: two widths, two themes, with
// little and with much in it. PURSER_PICTURES is the folder; a name in
// PURSER_SCREENS takes only those.
func TestPictures(t *testing.T) {
	dir := os.Getenv("PURSER_PICTURES")
	if dir == "" {
		dir = t.TempDir()
	}
	for _, much := range []bool{true, false} {
		h := open(t)
		screens := h.furnish(much)
		ctx := browser(t)
		for name, path := range screens {
			if only := os.Getenv("PURSER_SCREENS"); only != "" && !strings.Contains(","+only+",", ","+name+",") {
				continue
			}
			for _, width := range []int64{1440, 390} {
				for _, theme := range []string{"light", "dark"} {
					file := fmt.Sprintf("%s-%d-%s.png", name, width, theme)
					if !much {
						file = "empty-" + file
					}
					if err := os.WriteFile(filepath.Join(dir, file), picture(t, ctx, h.server.URL+path, width, theme), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
}

// picture is the whole page, at most three screens high.
func picture(t *testing.T, ctx context.Context, url string, width int64, theme string) []byte {
	t.Helper()
	tab, end := chromedp.NewContext(ctx, chromedp.WithNewBrowserContext())
	defer end()
	tab, cancel := context.WithTimeout(tab, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(tab, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
	call(t, tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1, Mobile: width < 500})
	call(t, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}})
	if err := chromedp.Do(tab, chromedp.Navigate(url)); err != nil {
		t.Fatal(err)
	}
	height := eval[int64](t, tab, "(async () => { await document.fonts.ready; await new Promise((r) => setTimeout(r, 150)); return document.documentElement.scrollHeight })()")
	call(t, tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: min(max(height, 900), 2700), DeviceScaleFactor: 1, Mobile: width < 500})
	image, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	return image
}
