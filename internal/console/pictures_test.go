//go:build pictures

package console

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/canonical"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/oauth"
	"github.com/purser-dev/purser/internal/office"
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
		h := open(t, func(c *office.Config) {
			if much {
				c.Couriers = map[string]office.Courier{notice.Mail: letters{}, notice.Webhook: letters{true}}
			}
		})
		screens := h.furnish(much)
		if err := h.office.Tell(context.Background()); err != nil {
			t.Fatal(err)
		}
		screens["sign-in"], screens["recover"] = "/sign-in", "/recover"
		maps.Copy(screens, h.guests(much))
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

// guests are the pages for those who come in by a link: people, devices, programs.
func (h *house) guests(much bool) map[string]string {
	h.tb.Helper()
	ctx, anyone := context.Background(), purser.Actor{Source: "192.0.2.7"}
	h.sql(fmt.Sprintf("INSERT INTO setup_codes (hash, expires_at) VALUES ('%s', %d)", canonical.DigestBytes([]byte("first")), h.now().Add(time.Hour).UnixMicro()))
	invite := purser.Invite{Role: purser.Approver}
	invite.Act = h.sign("invite", invite)
	invited := must[purser.Invitation](h, h.owner, "invite", invite)
	_, link, _ := strings.Cut(invited.Link, "//")
	name, client := "laptop of Ada", oauth.Metadata{ClientName: "Claude Code", Redirects: []string{"http://127.0.0.1:33418/callback"}}
	if much {
		name = "a-host-with-a-very-long-name-in-the-build-farm-of-harbour-lane.example.org"
		client = oauth.Metadata{ClientName: "The agent workbench of a company with a long name, nightly build", Redirects: []string{"https://workbench.a-company-with-a-long-name.example/oauth/callback"}}
	}
	device, err := h.office.AskDevice(ctx, anyone, name)
	if err != nil {
		h.tb.Fatal(err)
	}
	client.Method = oauth.MethodNone
	registered, err := h.office.RegisterClient(ctx, anyone, client)
	if err != nil {
		h.tb.Fatal(err)
	}
	known, err := h.office.Client(ctx, anyone, registered.ClientID)
	if err != nil {
		h.tb.Fatal(err)
	}
	asks, err := h.office.AskAuthorization(ctx, anyone, known, oauth.Request{
		Client: known.ID, Redirect: known.Redirects[0], Challenge: strings.Repeat("x", 43), Scope: "read spend", Resource: "http://localhost:7627/mcp",
	})
	if err != nil {
		h.tb.Fatal(err)
	}
	pages := map[string]string{
		"set-up": "/set-up?code=first", "invitation": link[strings.IndexByte(link, '/'):], "connect": "/connect/" + asks,
		"device-code": "/device?code=" + url.QueryEscape(device.UserCode), "link-over": "/set-up?code=wrong",
	}
	if much {
		conn, err := sql.Open("sqlite", "file:"+h.db)
		if err != nil {
			h.tb.Fatal(err)
		}
		defer conn.Close()
		var hash string
		if err := conn.QueryRowContext(ctx, "SELECT hash FROM terms").Scan(&hash); err != nil {
			h.tb.Fatal(err)
		}
		pages["terms"] = "/terms/" + hash
		_, agent := h.run("shop-keeper", "a name for the winter shop", 4000)
		older := h.plan(agent, "The first that was free.", domain("harbor", "wintershop.club"))
		h.plan(agent, "A shorter one is free too.", domain("harbor", "winter.club"))
		pages["older"] = "/approvals/" + older.ID
	}
	return pages
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

// TestPicturesOfTheREADME makes docs/images: make pictures.
func TestPicturesOfTheREADME(t *testing.T) {
	h := open(t)
	screens := h.furnish(true)
	for _, s := range must[purser.List[purser.StopInfo]](h, h.owner, "list_stops", purser.None{}).Items {
		in := purser.Resume{Stop: s.ID}
		in.Act = h.sign("resume", in)
		must[purser.StopInfo](h, h.owner, "resume", in)
	}
	ctx := browser(t)
	for name, p := range map[string]struct {
		screen, theme string
		width, height int
	}{
		"approval": {"approval", "light", 1200, 900}, "phone": {"approval", "dark", 390, 900}, "spend": {"spend", "dark", 1200, 900}, "now": {"now", "light", 1200, 820},
	} {
		whole, err := png.Decode(bytes.NewReader(picture(t, ctx, h.server.URL+screens[p.screen], int64(p.width), p.theme)))
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, few(whole, p.width, p.height)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join("..", "..", "docs", "images", name+".png"), b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// few is the upper part of a picture, in the 256 colours that it has most of.
func few(whole image.Image, width, height int) image.Image {
	size := image.Rect(0, 0, width, min(height, whole.Bounds().Dy()))
	counts := map[color.RGBA]int{}
	for y := range size.Dy() {
		for x := range size.Dx() {
			counts[color.RGBAModel.Convert(whole.At(x, y)).(color.RGBA)]++
		}
	}
	all := slices.SortedFunc(maps.Keys(counts), func(a, b color.RGBA) int { return counts[b] - counts[a] })
	var palette color.Palette
	for _, c := range all[:min(256, len(all))] {
		palette = append(palette, c)
	}
	out := image.NewPaletted(size, palette)
	draw.Draw(out, size, whole, image.Point{}, draw.Src)
	return out
}
