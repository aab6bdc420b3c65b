package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/purser-dev/purser"
)

// setting is one leaf of Config: its words, and where its value goes.
type setting struct {
	key, def, help string
	field          reflect.Value
}

// env is the environment variable of the setting: log.level is PURSER_LOG_LEVEL.
func (s setting) env() string {
	return prefix + strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
}

// settings walks the struct in its order. A field without the tag `key` is none;
// one with `key` but no `help` is a group.
func settings(c *Config) []setting {
	var all []setting
	var walk func(at reflect.Value, path string)
	walk = func(at reflect.Value, path string) {
		for i := range at.NumField() {
			tag := at.Type().Field(i).Tag
			key, ok := tag.Lookup("key")
			if !ok {
				continue
			}
			if help := tag.Get("help"); help != "" {
				all = append(all, setting{path + key, tag.Get("default"), help, at.Field(i)})
			} else {
				walk(at.Field(i), path+key+".")
			}
		}
	}
	walk(reflect.ValueOf(c).Elem(), "")
	return all
}

// decode takes the value from the last layer that has one, or the default.
func (s setting) decode(layers []layer, f *faults) Explained {
	var raw any = s.def
	source, set := "default", s.def != ""
	for _, l := range layers {
		if v, ok := l.values[s.key]; ok {
			raw, source, set = v, l.source(s), true
		}
	}
	if set {
		if err := s.parse(raw); err != nil {
			f.add(source, "%s: %v", s.key, err)
		}
	}
	return Explained{Key: s.key, Source: source, Help: s.help}
}

func (s setting) parse(raw any) error {
	switch to := s.field.Addr().Interface().(type) {
	case *[]string:
		words, err := words(raw)
		*to = words
		return err
	case *[]netip.Prefix:
		words, err := words(raw)
		if err == nil {
			*to, err = prefixes(words)
		}
		return err
	}
	text, err := text(raw)
	if err != nil {
		return err
	}
	switch to := s.field.Addr().Interface().(type) {
	case *string:
		*to = text
	case *Secret:
		*to = Secret(text)
	case *Database:
		*to = Database(text)
	case *bool:
		*to, err = boolean(text)
	case *int:
		*to, err = number(text)
	case *time.Duration:
		*to, err = duration(text)
	case *slog.Level:
		*to, err = level(text)
	case *purser.Money:
		*to, err = money(text)
	default:
		err = fmt.Errorf("a setting of type %T cannot be read; this is a fault of the program", to)
	}
	return err
}

// text brings a value of a flag, a variable or the file to text. A fraction is
// refused: 20.00 would arrive as 20, and 20.1 as something near it.
func text(raw any) (string, error) {
	switch v := raw.(type) {
	case string:
		return strings.TrimSpace(v), nil
	case Database:
		return v.Reveal(), nil
	case Secret:
		return v.Reveal(), nil
	case bool, int, int64, uint64, time.Duration, purser.Money, slog.Level:
		return fmt.Sprint(v), nil
	case nil:
		return "", errors.New("it is empty; remove the line to get the default")
	case []any, []string:
		return "", errors.New("it takes one value, not a list")
	case map[string]any:
		return "", errors.New("it takes one value, not a group")
	}
	return "", fmt.Errorf("put the value in quotes; %v might be rounded", raw)
}

// words brings a list to words: a list of the file, or a text with commas.
func words(raw any) ([]string, error) {
	var list []string
	switch v := raw.(type) {
	case []string:
		list = slices.Clone(v)
	case []any:
		for _, item := range v {
			word, ok := item.(string)
			if !ok {
				return nil, fmt.Errorf("%v is not text; put it in quotes", item)
			}
			list = append(list, word)
		}
	default:
		all, err := text(raw)
		if err != nil || all == "" {
			return nil, err
		}
		list = strings.Split(all, ",")
	}
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list, nil
}

func boolean(text string) (bool, error) {
	on, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("%q is neither true nor false", text)
	}
	return on, nil
}

func number(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%q is not a whole number above 0", text)
	}
	return n, nil
}

// maxDuration is far above anything meant, and far below what overflows when
// added to a time in microseconds.
const maxDuration = 10 * 365 * 24 * time.Hour

// duration reads what Go writes (90s, 1h30m) and whole days (7d).
func duration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		d = time.Duration(min(n, 1+int(maxDuration/(24*time.Hour)))) * 24 * time.Hour
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is not a duration like 90s, 10m, 24h or 7d", text)
	case d <= 0:
		return 0, fmt.Errorf("%s is not longer than nothing", text)
	case d > maxDuration:
		return 0, fmt.Errorf("%s is longer than 3650d", text)
	}
	return d, nil
}

func level(text string) (slog.Level, error) {
	switch strings.ToLower(text) {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("%q is not debug, info, warn or error", text)
}

// money wants the currency beside the number: a limit in an unsaid currency is
// the kind of default that costs somebody something.
func money(text string) (purser.Money, error) {
	if !strings.Contains(strings.TrimSpace(text), " ") {
		return purser.Money{}, fmt.Errorf("%q has no currency; write it like 20.00 USD", text)
	}
	return purser.ParseMoney(text, "")
}

func prefixes(words []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, w := range words {
		p, err := netip.ParsePrefix(w)
		if a, bare := netip.ParseAddr(w); bare == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("%q is not an address or a range like 10.0.0.0/8", w)
		}
		if p.Bits() == 0 {
			return nil, fmt.Errorf("%s would believe everybody", w)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}
