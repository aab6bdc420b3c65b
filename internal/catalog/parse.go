package catalog

import (
	"strconv"
	"strings"
)

// parser reads
//
//	list     = ["usage-based:"] price { ("," | ";" | "+") price } ["."]
//	price    = [item [":"]] money { per } ["minimum"] [item] [included]
//	money    = sign number [code] | code number | number code
//	per      = ("/" | "per" | "a" | "an") (period | [number] [scale] unit ["-" period]) | adverb | "one-time" | "once"
//	included = "(" number [scale] [unit] ("included" | "free") ")"
//
// and nothing else.
type parser struct {
	tokens []token
	at     int
}

func (p *parser) list() ([]priced, bool) {
	if p.words("usage", "-", "based") && !p.take(":") {
		return nil, false
	}
	var found []priced
	for join := ""; ; {
		c, ok := p.price()
		if !ok {
			return nil, false
		}
		found = append(found, priced{c, join})
		if join = p.mark(",", ";", "+"); join != "" {
			continue
		}
		p.take(".")
		return found, p.at == len(p.tokens)
	}
}

func (p *parser) price() (Component, bool) {
	var c Component
	before := p.item(&c)
	if before {
		p.take(":")
	}
	if !p.money(&c) {
		return c, false
	}
	for {
		found, ok := p.per(&c)
		if !ok {
			return c, false
		}
		if !found {
			break
		}
	}
	c.Minimum = p.take("minimum")
	if !before {
		p.item(&c)
	}
	return c, p.included(&c)
}

func (p *parser) item(c *Component) bool {
	if name, ok := items[p.peek(0).lower()]; ok {
		c.Item, p.at = name, p.at+1
		return true
	}
	return false
}

func (p *parser) money(c *Component) bool {
	if p.peek(0).text == "US" && p.peek(1).text == "$" && p.peek(1).glued {
		p.at++
	}
	currency := p.currency()
	t := p.peek(0)
	d, ok := readDecimal(t.text)
	if t.kind != tokenNumber || !ok {
		return false
	}
	p.at++
	if code := p.code(); code != "" {
		if currency != "" && currency != code {
			return false
		}
		currency = code
	}
	return currency != "" && c.setAmount(d, currency)
}

// currency takes a sign or a code in front of the number.
func (p *parser) currency() string {
	if p.peek(0).kind == tokenMark {
		if code, ok := currencies[p.peek(0).text]; ok {
			p.at++
			return code
		}
		return ""
	}
	return p.code()
}

func (p *parser) code() string {
	t := p.peek(0)
	code := currencies[t.text]
	if t.kind != tokenWord || code == "" {
		return ""
	}
	p.at++
	return code
}

// per reads one "for what". found is false when the next words are something else;
// ok is false when they begin like one and cannot be read.
func (p *parser) per(c *Component) (found, ok bool) {
	if period, known := adverbs[p.peek(0).lower()]; known {
		p.at++
		return true, c.setPeriod(period)
	}
	if p.words("one", "-", "time") || p.words("once") {
		return true, c.setPeriod("once")
	}
	if !p.take("/") && !p.take("per") && !p.take("a") && !p.take("an") {
		return false, true
	}
	if period, known := periods[p.peek(0).lower()]; known {
		p.at++
		return true, c.setPeriod(period)
	}
	count, ok := p.count()
	if !ok {
		return true, false
	}
	unit := p.unit()
	if unit == "" || c.Unit != "" {
		return true, false
	}
	c.Unit, c.Per = unit, count
	if p.peek(0).text != "-" {
		return true, true
	}
	period, known := periods[p.peek(1).lower()]
	p.at += 2
	return true, known && c.setPeriod(period)
}

func (c *Component) setPeriod(period string) bool {
	if c.Period != "" {
		return false
	}
	c.Period = period
	return true
}

// count reads "1,000", "million" or "10 million"; nothing is 1. It answers false
// for a count that is not whole or not positive.
func (p *parser) count() (int64, bool) {
	count := int64(1)
	if t := p.peek(0); t.kind == tokenNumber {
		d, ok := readDecimal(t.text)
		if !ok || d.fraction != "" {
			return 0, false
		}
		n, err := strconv.ParseInt(d.whole, 10, 64)
		if err != nil || n < 1 {
			return 0, false
		}
		count, p.at = n, p.at+1
	}
	scale, ok := scales[p.peek(0).lower()]
	if !ok {
		return count, true
	}
	p.at++
	if count > 1e15/scale {
		return 0, false
	}
	return count * scale, true
}

func (p *parser) unit() string {
	active := p.peek(0).lower() == "active" && wordUnits[p.peek(1).lower()].measure == bySeat
	if active {
		p.at++
	}
	t := p.peek(0)
	name := wordUnits[t.lower()].name
	if dataUnits[t.text] {
		name = t.text
	}
	if t.kind != tokenWord || name == "" {
		return ""
	}
	p.at++
	if active {
		return "active " + name
	}
	return name
}

// included reads "(10GB included)". The unit must be the one that is priced.
func (p *parser) included(c *Component) bool {
	if !p.take("(") {
		return true
	}
	if p.peek(0).kind != tokenNumber {
		return false
	}
	count, ok := p.count()
	if !ok || p.unit() != c.Unit {
		return false
	}
	c.Included = count
	return (p.take("included") || p.take("free")) && p.take(")")
}

// peek gives the token at an offset; past the end it is empty.
func (p *parser) peek(offset int) token {
	if p.at+offset < len(p.tokens) {
		return p.tokens[p.at+offset]
	}
	return token{kind: -1}
}

func (p *parser) take(text string) bool {
	if p.peek(0).lower() != text {
		return false
	}
	p.at++
	return true
}

func (p *parser) mark(choices ...string) string {
	for _, c := range choices {
		if p.take(c) {
			return c
		}
	}
	return ""
}

func (p *parser) words(all ...string) bool {
	for i, w := range all {
		if p.peek(i).lower() != w {
			return false
		}
	}
	p.at += len(all)
	return true
}

func (t token) lower() string { return strings.ToLower(t.text) }
