package demo

import (
	"fmt"
	"testing"

	"github.com/purser-dev/purser"
)

func TestAFileIsLookedForAtItsCleanAddress(t *testing.T) {
	for file, want := range map[string]string{
		"index.html":          "",
		"guide/index.html":    "guide/",
		"about.html":          "about",
		"myindex.html":        "myindex",
		"a b/größe.txt":       "a%20b/gr%C3%B6%C3%9Fe.txt",
		"style.css":           "style.css",
		"100%/what?.html":     "100%25/what%3F",
		"deep/down/index.htm": "deep/down/index.htm",
	} {
		if got := address(file); got != want {
			t.Errorf("%s is looked for at %q, want %q", file, got, want)
		}
	}
}

func TestASampleBeginsWithTheIndexAndIsSpread(t *testing.T) {
	files := []purser.File{{Path: "_headers"}, {Path: "404.html"}}
	for i := range 1000 {
		files = append(files, purser.File{Path: fmt.Sprintf("p%03d.html", i)})
	}
	files = append(files, purser.File{Path: "index.html"})
	got := sample(files)
	if got[0].Path != "index.html" {
		t.Errorf("the sample begins with %s", got[0].Path)
	}
	if len(got) < compared || len(got) > compared+8 {
		t.Errorf("%d files are compared, want about %d", len(got), compared)
	}
	for _, f := range got {
		if f.Path == "_headers" || f.Path == "404.html" {
			t.Errorf("%s is no page, and is in the sample", f.Path)
		}
	}
	if last := got[len(got)-1].Path; last < "p900" {
		t.Errorf("the sample ends with %s", last)
	}
}
