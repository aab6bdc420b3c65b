// Package office decides: every operation of Purser, each in one file, between the doors and the store.
package office
