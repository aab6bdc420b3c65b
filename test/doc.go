// Package test proves the whole program as its users run it: real processes that are killed, lied to and fed rubbish.
//
// Server, local cloud and agent are processes of the one binary, built once for
// the test process. Between server and cloud stands a wire of the test's own that
// can hold one message, lose it, or deliver it late, so that a kill -9 hits the
// moment it is meant for, without a sleep.
package test
