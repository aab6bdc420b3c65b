package app

import "strings"

// EnvName is the environment variable of a credential (11.8): the resource's name
// and the key in upper case, with underscores. override is the provider's or the
// service's x_env map.
func EnvName(resource, key string, override map[string]string) string {
	if name := override[key]; name != "" {
		return name
	}
	name := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(resource+"_"+key))
	if name[0] >= '0' && name[0] <= '9' {
		name = "_" + name
	}
	return name
}
