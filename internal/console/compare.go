package console

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/purser-dev/purser"
)

// piece is a run of letters of a text that another text has there too, or not.
type piece struct {
	text    string
	differs bool
}

// compared takes a text apart by what it has in common with another one: the
// longest common sequence of letters.
func compared(text, other string) []piece {
	a, b := []rune(text), []rune(other)
	table := make([][]int, len(a)+1)
	for i := range table {
		table[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				table[i][j] = table[i+1][j+1] + 1
			} else {
				table[i][j] = max(table[i+1][j], table[i][j+1])
			}
		}
	}
	var out []piece
	add := func(c rune, differs bool) {
		if n := len(out); n > 0 && out[n-1].differs == differs {
			out[n-1].text += string(c)
			return
		}
		out = append(out, piece{string(c), differs})
	}
	for i, j := 0, 0; i < len(a); {
		switch {
		case j < len(b) && a[i] == b[j]:
			add(a[i], false)
			i, j = i+1, j+1
		case j < len(b) && table[i][j+1] >= table[i+1][j]:
			j++
		default:
			add(a[i], true)
			i++
		}
	}
	return out
}

// visible keeps the lines of a foreign text, and nothing that turns or hides text.
func visible(s string, n int) string {
	var b strings.Builder
	count := 0
	for _, c := range s {
		if count++; count > n {
			b.WriteString("…")
			break
		}
		switch {
		case c == '\n' || c == '\t':
		case c == '\r':
			continue
		case !unicode.IsGraphic(c):
			c = '\uFFFD'
		}
		b.WriteRune(c)
	}
	return b.String()
}

// stepVerb says what happens at the provider that follows.
func stepVerb(s purser.PlanStep) string {
	switch s.Kind {
	case purser.LinkStep:
		return "an account at"
	case purser.DeployStep:
		return "put live at"
	case purser.UpdateStep:
		return "changed at"
	}
	return "from"
}

// capTexts say what keeps a price from growing.
var capTexts = map[string]string{
	"none":    "No cap: the provider bills by itself",
	"alert":   "No hard cap: you are told when it costs more",
	"delayed": "The cap works with a delay",
	"hard":    "Hard cap",
	"fixed":   "Fixed price",
}

func capText(c string) string {
	if c == "" {
		return "No cap is known"
	}
	return orWord(capTexts[c], "Cap: "+plain(c))
}

func reviewBudget(r purser.Review, b purser.BudgetLine) string {
	if b.Scope == "run" {
		return runName(r.Run)
	}
	return budgetName(b)
}

func bytesText(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d bytes", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
}
