// Package catalog knows what can be bought: it reads prices out of text, makes numeric offers of services and finds them by words. It does no I/O.
//
// Everything a provider wrote is untrusted: it is capped here, quoted by the doors and never interpreted beyond the small grammar of [Prices].
package catalog
