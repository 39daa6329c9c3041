package modelfiles

import (
	"errors"
	"fmt"

	"github.com/nebula-serve/nebula/api"
)

// Reason names what went wrong, finer than [api.FailureCode]: for tests, logs and counters.
type Reason string

// The reasons.
const (
	ReasonUnsafeName     Reason = "unsafe_name"      // a listed or given name that could leave its folder
	ReasonInconsistent   Reason = "inconsistent"     // the repository contradicts itself
	ReasonIncomplete     Reason = "incomplete"       // a part of a split model is missing
	ReasonNoWeights      Reason = "no_weights"       // nothing in the repository fits the engine
	ReasonAmbiguous      Reason = "ambiguous"        // several models fit and nothing says which
	ReasonPickle         Reason = "pickle_only"      // weights that can run code, and nobody asked for them
	ReasonPreset         Reason = "preset_repo"      // a llama.cpp preset instead of a model
	ReasonNoMatch        Reason = "no_match"         // the patterns match nothing
	ReasonNotFound       Reason = "repo_not_found"   // missing, or private without access: the hub does not tell which
	ReasonGated          Reason = "gated"            // access must be asked for
	ReasonBadToken       Reason = "bad_token"        // the hub refuses the token itself
	ReasonDisabled       Reason = "repo_disabled"    // taken down by the hub
	ReasonNoRevision     Reason = "no_revision"      // no such branch, tag or commit
	ReasonNoEntry        Reason = "no_entry"         // listed, but not there
	ReasonRateLimited    Reason = "rate_limited"     // 429
	ReasonServer         Reason = "server"           // 408, 5xx
	ReasonNetwork        Reason = "network"          // no connection, or it broke or stalled
	ReasonBadServer      Reason = "bad_server"       // answers that break the protocol
	ReasonRedirect       Reason = "redirect"         // a redirect that must not be followed
	ReasonCorrupt        Reason = "corrupt"          // the bytes do not have the listed hash
	ReasonDiskSpace      Reason = "disk_space"       // does not fit, or the disk filled up on the way
	ReasonDisk           Reason = "disk"             // the disk or its permissions fail
	ReasonMissing        Reason = "missing"          // a local path that does not exist
	ReasonUnreadable     Reason = "unreadable"       // a local path that may not be read, or is no file or folder
	ReasonNotGGUF        Reason = "not_gguf"         // not a GGUF file
	ReasonTruncated      Reason = "truncated"        // shorter than its header says
	ReasonBadFile        Reason = "bad_file"         // a header that makes no sense
	ReasonUnsupported    Reason = "unsupported"      // a source this version cannot fetch from
	ReasonTooLarge       Reason = "listing_too_long" // past the limits of a listing
	reasonExpiredAddress Reason = "expired_address"  // a signed address that no longer works; never leaves the package
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

// AsError finds the *Error in err's chain.
func AsError(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// hasReason tells whether err carries that reason.
func hasReason(err error, r Reason) bool {
	e, ok := AsError(err)
	return ok && e.Reason == r
}

// final builds an error that no retry mends.
func final(code api.FailureCode, r Reason, format string, args ...any) *Error {
	return &Error{Code: code, Reason: r, Message: fmt.Sprintf(format, args...), Final: true}
}

// passing builds an error that time may mend.
func passing(code api.FailureCode, r Reason, format string, args ...any) *Error {
	return &Error{Code: code, Reason: r, Message: fmt.Sprintf(format, args...)}
}

// because adds the cause.
func (e *Error) because(err error) *Error {
	e.Err = err
	return e
}

// size writes a number of bytes for people, in decimal units as hubs and disks do.
func size[T int64 | uint64](n T) string {
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
