// Package purser is the contract: the requests, results, identifiers, money, states and errors that every door, operation and store agree on.
//
// It needs the standard library only and does no I/O. Member names in JSON are the same in HTTP, MCP and the command line's --json.
// Amounts are integers in minor units with the ISO 4217 currency beside them; times are RFC 3339 in UTC.
package purser
