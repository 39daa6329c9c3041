// Package fail says why a model's files are not here, in words for people.
package fail

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// Reason names what went wrong, finer than [api.FailureCode]: for tests, logs and counters.
type Reason string

// The reasons.
const (
	UnsafeName     Reason = "unsafe_name"      // a listed or given name that could leave its folder
	Inconsistent   Reason = "inconsistent"     // the repository contradicts itself
	Incomplete     Reason = "incomplete"       // a part of a split model is missing
	NoWeights      Reason = "no_weights"       // nothing in the repository fits the engine
	Ambiguous      Reason = "ambiguous"        // several models fit and nothing says which
	Pickle         Reason = "pickle_only"      // weights that can run code, and nobody asked for them
	Preset         Reason = "preset_repo"      // a llama.cpp preset instead of a model
	NoMatch        Reason = "no_match"         // the patterns match nothing
	NotFound       Reason = "repo_not_found"   // missing, or private without access: the hub does not tell which
	Gated          Reason = "gated"            // access must be asked for
	BadToken       Reason = "bad_token"        // the hub refuses the token itself
	Disabled       Reason = "repo_disabled"    // taken down by the hub
	NoRevision     Reason = "no_revision"      // no such branch, tag or commit
	NoEntry        Reason = "no_entry"         // listed, but not there
	RateLimited    Reason = "rate_limited"     // 429
	Server         Reason = "server"           // 408, 5xx
	Network        Reason = "network"          // no connection, or it broke or stalled
	BadServer      Reason = "bad_server"       // answers that break the protocol
	Redirect       Reason = "redirect"         // a redirect that must not be followed
	Corrupt        Reason = "corrupt"          // the bytes do not have the listed hash
	DiskSpace      Reason = "disk_space"       // does not fit, or the disk filled up on the way
	Disk           Reason = "disk"             // the disk or its permissions fail
	Missing        Reason = "missing"          // a local path that does not exist
	Unreadable     Reason = "unreadable"       // a local path that may not be read, or is no file or folder
	NotGGUF        Reason = "not_gguf"         // not a GGUF file
	Truncated      Reason = "truncated"        // shorter than its header says
	BadFile        Reason = "bad_file"         // a header that makes no sense
	Unsupported    Reason = "unsupported"      // a source this version cannot fetch from
	RangeIgnored   Reason = "range_ignored"    // a server that gives whole files only
	XetRequired    Reason = "xet_required"     // too large for plain HTTP
	TooLarge       Reason = "listing_too_long" // past the limits of a listing
	ExpiredAddress Reason = "expired_address"  // a signed address that no longer works; the hub is asked for a new one
)

// Error is why a model's files are not here, for people: what happened, the numbers, what to do next. It never carries
// a credential.
type Error struct {
	Code    api.FailureCode
	Reason  Reason
	Message string
	Final   bool  // trying again is useless until the model, its files or its access change
	Err     error // the cause, where there is one
}

// Error returns the sentence.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// As finds the *Error in err's chain.
func As(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// Has tells whether err carries that reason.
func Has(err error, r Reason) bool {
	e, ok := As(err)
	return ok && e.Reason == r
}

// Final builds an error that no retry mends.
func Final(code api.FailureCode, r Reason, format string, args ...any) *Error {
	return &Error{Code: code, Reason: r, Message: fmt.Sprintf(format, args...), Final: true}
}

// Passing builds an error that time may mend.
func Passing(code api.FailureCode, r Reason, format string, args ...any) *Error {
	return &Error{Code: code, Reason: r, Message: fmt.Sprintf(format, args...)}
}

// Because adds the cause.
func (e *Error) Because(err error) *Error {
	e.Err = err
	return e
}

// Size writes a number of bytes for people, in decimal units as hubs and disks do.
func Size[T int64 | uint64](n T) string {
	v, unit := float64(n), "B"
	for _, u := range []string{"kB", "MB", "GB", "TB"} {
		if v < 999.95 {
			break
		}
		v, unit = v/1000, u
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}

// Quoted lists names that strangers chose, each in quotes.
func Quoted(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = fmt.Sprintf("%q", Clip(n))
	}
	return strings.Join(out, ", ")
}

// Clip shortens text that strangers chose.
func Clip(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
