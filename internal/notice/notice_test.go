package notice

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/purser-dev/purser"
)

func TestAThresholdIsCrossedWhenTheUseReachesIt(t *testing.T) {
	for _, c := range []struct {
		name                 string
		limit, before, after int64
		percents             []int
		want                 []int
	}{
		{"below all", 1000, 0, 499, []int{50, 80, 100}, nil},
		{"exactly half", 1000, 499, 500, []int{50, 80, 100}, []int{50}},
		{"already there", 1000, 500, 799, []int{50, 80, 100}, nil},
		{"all at once", 1000, 0, 1000, []int{50, 80, 100}, []int{50, 80, 100}},
		{"the last cent", 1000, 999, 1000, []int{50, 80, 100}, []int{100}},
		{"down", 1000, 900, 100, []int{50, 80, 100}, nil},
		{"a limit of nothing", 0, 0, 0, []int{50, 80, 100}, nil},
		{"a limit that does not divide", 3, 0, 2, []int{50, 66, 67}, []int{50, 66}},
		{"above a limit that was lowered", 100, 150, 160, []int{50, 80, 100}, nil},
		{"the largest limit", 1<<63 - 1, 0, 1<<63 - 1, []int{1, 100}, []int{1, 100}},
		{"half of the largest limit", 1<<63 - 1, 1<<62 - 2, 1 << 62, []int{50}, []int{50}},
	} {
		if got := Crossed(c.limit, c.before, c.after, c.percents); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// However a way up is cut into steps, each threshold on it is crossed once.
func FuzzThresholdsAreCrossedOnceOnTheWayUp(f *testing.F) {
	f.Add(int64(1000), int64(0), int64(400), int64(1000))
	f.Add(int64(1<<62), int64(5), int64(1<<61), int64(1<<62))
	f.Fuzz(func(t *testing.T, limit, a, b, c int64) {
		way := []int64{a, b, c}
		slices.Sort(way)
		if limit <= 0 || way[0] < 0 {
			return
		}
		percents := []int{1, 33, 50, 80, 99, 100}
		whole := Crossed(limit, way[0], way[2], percents)
		steps := append(Crossed(limit, way[0], way[1], percents), Crossed(limit, way[1], way[2], percents)...)
		if !slices.Equal(whole, steps) {
			t.Errorf("limit %d, %v: %v in one, %v in steps", limit, way, whole, steps)
		}
	})
}

func TestThresholdsAreStoredAsTheyAreRead(t *testing.T) {
	text, err := FormatThresholds([]int{100, 50, 80, 50})
	if err != nil || text != DefaultThresholds || !slices.Equal(ParseThresholds(text), []int{50, 80, 100}) {
		t.Errorf("%q %v %v", text, ParseThresholds(text), err)
	}
	if text, _ := FormatThresholds([]int{90}); text != "90" || !slices.Equal(ParseThresholds(text), []int{90}) {
		t.Errorf("%q", text)
	}
	if ParseThresholds("") != nil {
		t.Error("nothing stored is something")
	}
}

func TestTheWaitBetweenTriesGrowsAndEnds(t *testing.T) {
	sum, last := time.Duration(0), time.Duration(0)
	for n := int64(1); n < 60; n++ {
		wait := Backoff(n)
		if wait < last || wait > 30*time.Minute || wait <= 0 {
			t.Fatalf("after %d tries %v", n, wait)
		}
		last, sum = wait, sum+wait
	}
	if Backoff(1) > 10*time.Second || sum < GiveUpAfter {
		t.Errorf("the first %v, all %v", Backoff(1), sum)
	}
}

// hostile is what a provider, an agent or a passer-by can put into a notice.
var hostile = []string{
	"a\r\nBcc: victim@example.org\r\n\r\nbody",
	"a\nX: y",
	"\u202egnp.exe\u0000\x1b[31m",
	`<img src="http://evil.example/pixel.png"><script>alert(1)</script>`,
	"<!channel> <https://evil.example|Approve here> *now* :tada:",
	strings.Repeat("x", 10_000),
	strings.Repeat("ü", 10_000),
	`"><a href="http://evil.example">`,
	"\xff\xfe",
	"=?utf-8?q?=0D=0ABcc:_v=40x?=",
}

func of(words string) Message {
	n := Approval(purser.Plan{
		ID: "pln_1", ExpiresAt: time.Unix(1e9, 0),
		Terms:   purser.PlanTerms{Purpose: words, Project: "prj_1", Steps: []purser.PlanStep{{N: 1, Kind: purser.ServiceStep, Provider: "p", Item: words, Effect: purser.Final, Price: purser.Price{Currency: "USD", Now: 1200}}}},
		Totals:  purser.Totals{Now: []purser.Money{{Amount: 1200, Currency: "USD"}}},
		Reasons: []purser.Reason{{Code: "first_purchase", Detail: words}},
	}, words)
	return Message{Notice: n, ID: "ntc_1", Organization: "org_1", OrganizationName: words, At: time.Unix(1e9, 0), URL: "https://purser.example/approvals/pln_1", Address: "ada@example.org"}
}

func TestNoWordsMakeAHeaderAPictureOrALinkOfAMail(t *testing.T) {
	for _, words := range hostile {
		raw, err := MailText(of(words), "Purser <purser@example.org>")
		if err != nil {
			t.Fatal(err)
		}
		m, err := mail.ReadMessage(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("%v in %s", err, raw)
		}
		var names []string
		for name, values := range m.Header {
			names = append(names, name)
			if len(values) != 1 {
				t.Errorf("%.20q: %s is there %d times", words, name, len(values))
			}
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != "Auto-Submitted Content-Type Date From Message-Id Mime-Version Subject To" {
			t.Errorf("%.20q: headers %s", words, got)
		}
		if m.Header.Get("To") != "<ada@example.org>" {
			t.Errorf("it goes to %s", m.Header.Get("To"))
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
		if err != nil || strings.ContainsAny(subject, "\r\n\u202e") || len(subject) > 400 {
			t.Errorf("%.20q: subject %q %v", words, subject, err)
		}
		text, page := partsOf(t, m)
		for _, line := range strings.Split(text, "\r\n") {
			if strings.HasPrefix(line, "Bcc") || strings.HasPrefix(line, "body") {
				t.Errorf("%.20q: it has a line of its own: %q", words, line)
			}
		}
		if got := loads(t, page); got != "a https://purser.example/approvals/pln_1" {
			t.Errorf("%.20q: the page leads to %q:\n%s", words, got, page)
		}
		if len(raw) > 20_000 {
			t.Errorf("%.20q: %d bytes", words, len(raw))
		}
		for line := range strings.SplitSeq(string(raw), "\r\n") {
			if len(line) > 998 {
				t.Errorf("%.20q: a line of %d bytes", words, len(line))
			}
		}
		again, _ := MailText(of(words), "Purser <purser@example.org>")
		if !bytes.Equal(raw, again) {
			t.Errorf("%.20q: the same message has other bytes", words)
		}
	}
}

// loads lists what a page leads to or loads, and the elements that it should not have.
func loads(t *testing.T, page string) string {
	t.Helper()
	var out []string
	for z := html.NewTokenizer(strings.NewReader(page)); ; {
		if z.Next() == html.ErrorToken {
			return strings.Join(out, ", ")
		}
		token := z.Token()
		if slices.Contains([]string{"img", "script", "link", "style", "iframe", "form", "object"}, token.Data) && token.Type != html.TextToken {
			out = append(out, token.Data)
		}
		for _, a := range token.Attr {
			if token.Type != html.DoctypeToken && a.Key != "style" && a.Key != "align" && a.Key != "valign" && a.Key != "cellpadding" {
				out = append(out, token.Data+" "+a.Val)
			}
		}
	}
}

func partsOf(t *testing.T, m *mail.Message) (text, page string) {
	t.Helper()
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	r := multipart.NewReader(m.Body, params["boundary"])
	for {
		p, err := r.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, string(b))
	}
	if len(parts) != 2 {
		t.Fatalf("%d parts", len(parts))
	}
	return parts[0], parts[1]
}

func TestAnAddressThatIsNoneIsRefused(t *testing.T) {
	for _, to := range []string{"", "ada", "ada@example.org\r\nBcc: b@example.org", "a@b, c@d"} {
		m := of("x")
		m.Address = to
		if raw, err := MailText(m, "purser@example.org"); err == nil {
			t.Errorf("%q: %s", to, raw)
		}
	}
	if _, err := MailText(of("x"), "not an address"); err == nil {
		t.Error("any sender will do")
	}
}

// Slack's limits (api.slack.com/reference/block-kit): 150 in a header, 3000 in a
// section; < and > only as we write them.
func TestNoWordsMakeAMentionOrALinkOfAWebhook(t *testing.T) {
	for _, words := range hostile {
		body, err := HookText(of(words))
		if err != nil {
			t.Fatal(err)
		}
		var got hook
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		if err := d.Decode(&got); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(got.Text, "<>\n") || got.UnfurlLinks || got.UnfurlMedia {
			t.Errorf("%.20q: text %q", words, got.Text)
		}
		for _, b := range got.Blocks {
			limit := map[string]int{"header": 150, "section": 3000}[b.Type]
			if n := len([]rune(b.Text.Text)); n == 0 || n > limit {
				t.Errorf("%.20q: a %s of %d characters", words, b.Type, n)
			}
			if b.Text.Type == "mrkdwn" && b.Text.Text != "<https://purser.example/approvals/pln_1|Open it in Purser>" {
				t.Errorf("%.20q: it is read as markup: %q", words, b.Text.Text)
			}
		}
		p := got.Metadata.EventPayload
		if got.Metadata.EventType != "purser_approval_needed" || p.About != "pln_1" || p.ID != "ntc_1" || p.URL == "" {
			t.Errorf("%+v", got.Metadata)
		}
	}
}

func TestASignatureHoldsForItsSecretTimeAndBody(t *testing.T) {
	at, body := time.Unix(1_700_000_000, 0), []byte(`{"text":"x"}`)
	// From: printf '1700000000.{"text":"x"}' | openssl dgst -sha256 -hmac secret
	const known = "v1=95828cdf0193f2c5d4ff03d8951c5c7b2ed216699996680da93f0ba416579299"
	signature := Sign("secret", at, body)
	if signature != known {
		t.Errorf("%s, want %s", signature, known)
	}
	if !Verified("secret", "1700000000", signature, body, at.Add(4*time.Minute), 5*time.Minute) {
		t.Error("the right one does not hold")
	}
	for name, bad := range map[string]bool{
		"another secret":     Verified("other", "1700000000", signature, body, at, time.Minute),
		"another body":       Verified("secret", "1700000000", signature, []byte(`{"text":"y"}`), at, time.Minute),
		"another time":       Verified("secret", "1700000001", signature, body, at, time.Minute),
		"an old one":         Verified("secret", "1700000000", signature, body, at.Add(6*time.Minute), 5*time.Minute),
		"one of tomorrow":    Verified("secret", "1700000000", signature, body, at.Add(-6*time.Minute), 5*time.Minute),
		"no time":            Verified("secret", "", signature, body, at, time.Minute),
		"no signature":       Verified("secret", "1700000000", "", body, at, time.Minute),
		"another version":    Verified("secret", "1700000000", strings.Replace(signature, "v1", "v0", 1), body, at, time.Minute),
		"a larger timestamp": Verified("secret", "99999999999999999999", signature, body, at, time.Minute),
	} {
		if bad {
			t.Errorf("%s holds", name)
		}
	}
}

func TestAChoiceForAKindIsStrongerThanOneForAllAndOnesOwnThanAllOthers(t *testing.T) {
	choices := []Choice{
		{"", All, []string{Webhook}}, {"", "stopped", []string{Mail}}, {"ada", All, []string{}}, {"ada", "renewal_soon", []string{Mail}},
	}
	for _, c := range []struct {
		person string
		kind   Kind
		want   string
		own    bool
	}{
		{"ada", RenewalSoon, "mail", true},
		{"ada", Stopped, "", true},
		{"bob", Stopped, "mail", false},
		{"bob", RenewalSoon, "webhook", false},
		{"", Stopped, "mail", true},
	} {
		ways, own := WaysOf(choices, c.person, c.kind)
		if strings.Join(ways, " ") != c.want || own != c.own {
			t.Errorf("%s, %s: %v %v", c.person, c.kind, ways, own)
		}
	}
	if ways, own := WaysOf(nil, "ada", Stopped); len(ways) != 2 || own {
		t.Errorf("without any choice: %v", ways)
	}
}

// What is told once has one mark, and what is told again another.
func TestMarksTellApartWhatIsToldAgain(t *testing.T) {
	line := purser.BudgetLine{Scope: "run", ID: "run_1", Period: "run", Window: "run_1", Limit: purser.Money{Amount: 1000, Currency: "USD"}}
	marks := map[string]string{}
	add := func(name string, n Notice) {
		if other, ok := marks[n.Mark]; ok {
			t.Errorf("%s has the mark of %s", name, other)
		}
		marks[n.Mark] = name
	}
	add("half", Threshold(line, 50, 500))
	if got, want := Threshold(line, 50, 500).Subject, "50% of the run's budget is used: 5.00 USD of 10.00 USD"; got != want {
		t.Errorf("the subject is %q, want %q", got, want)
	}
	add("all", Threshold(line, 100, 1000))
	add("half of what an agent lowered", Lowered(line, 50, 500))
	next := line
	next.Window = "run_2"
	add("the next window", Threshold(next, 50, 500))
	raised := line
	raised.Limit.Amount = 2000
	add("another limit", Threshold(raised, 50, 1000))
	if Lowered(raised, 50, 1000).Mark != Lowered(line, 50, 500).Mark {
		t.Error("each limit that an agent sets is told of")
	}
	euro := line
	euro.Limit.Currency = "EUR"
	add("another currency", Threshold(euro, 50, 500))
	if Threshold(line, 50, 700).Mark != Threshold(line, 50, 500).Mark {
		t.Error("the same threshold is told again")
	}
	sub := purser.Subscription{ID: "sub_1", Amount: purser.Money{Amount: 500, Currency: "USD"}}
	add("a renewal", Renewal(sub, time.Unix(1e9, 0)))
	add("the next renewal", Renewal(sub, time.Unix(1e9+1, 0)))
	add("unpaid", Unpaid(sub, time.Unix(1e9, 0), purser.Errorf(purser.BudgetExceeded, "no")))
	for i, kind := range Kinds() {
		if slices.Index(Kinds(), kind) != i {
			t.Errorf("%s is there twice", kind)
		}
	}
	add("a request", Approval(purser.Plan{ID: "pln_1"}, ""))
	add("its reminder", Reminder(purser.Plan{ID: "pln_1"}, ""))
	if got := Reminder(purser.Plan{ID: "pln_1"}, "").Mark; got != "approval_reminder/pln_1" {
		t.Errorf("queries/notices.sql looks for another mark than %q", got)
	}
}
