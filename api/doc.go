// Package api holds Nebula's nouns: the documents on the wire and in the store, the rules that make them
// valid, and the one error type that people see.
//
// It is the only source of these shapes; etcd values, REST bodies and the Go client all use it. It imports
// the standard library alone, does no I/O and reads no clock: times are arguments, in Unix milliseconds.
package api
