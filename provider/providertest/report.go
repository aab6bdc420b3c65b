package providertest

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// The parts of a JUnit file that its readers agree on.
type (
	junitSuite struct {
		XMLName  xml.Name    `xml:"testsuite"`
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}

	junitCase struct {
		Class   string       `xml:"classname,attr"`
		Name    string       `xml:"name,attr"`
		Time    string       `xml:"time,attr"`
		Failure *junitDetail `xml:"failure"`
		Skipped *junitDetail `xml:"skipped"`
	}

	junitDetail struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes the report as JUnit XML, one test case per case of the suite.
func (r Report) WriteJUnit(w io.Writer) error {
	suite := junitSuite{
		Name: "APP 0.1d", Tests: len(r.Results), Failures: len(r.IDs(Failed)), Skipped: len(r.IDs(Skipped)),
	}
	total := 0.0
	for _, result := range r.Results {
		total += result.Took.Seconds()
		c := junitCase{
			Class: "app.section-" + strings.NewReplacer(", ", "-", ".", "_").Replace(result.Section),
			Name:  result.ID + " " + result.Title, Time: fmt.Sprintf("%.3f", result.Took.Seconds()),
		}
		switch result.Outcome {
		case Failed:
			c.Failure = &junitDetail{Message: "APP " + result.Section, Text: printable(result.Detail)}
		case Skipped:
			c.Skipped = &junitDetail{Message: printable(result.Detail)}
		}
		suite.Cases = append(suite.Cases, c)
	}
	suite.Time = fmt.Sprintf("%.3f", total)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("writing report: %w", err)
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(suite); err != nil {
		return fmt.Errorf("writing report: %w", err)
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return fmt.Errorf("writing report: %w", err)
	}
	return nil
}

// printable replaces what XML and terminals do not take; a provider wrote it.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r >= ' ' && r != 0x7f && (r < 0x80 || r > 0x9f) && r != 0xfffe && r != 0xffff {
			return r
		}
		return '\u00b7'
	}, s)
}
