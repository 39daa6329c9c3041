package api

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Code names a kind of error for machines; it maps to one HTTP status and one exit code.
type Code string

// The codes. Those of the existing Nebula keep their names.
const (
	CodeInvalidRequest   Code = "invalid_request"
	CodeInvalidUID       Code = "invalid_model_uid"
	CodeUnauthorized     Code = "unauthorized"
	CodeForbidden        Code = "forbidden"
	CodeNotFound         Code = "not_found"
	CodeMethodNotAllowed Code = "method_not_allowed"
	CodeMisdirected      Code = "misdirected_request" // the Host header names another server
	CodeModelExists      Code = "model_exists"
	CodeTemplateExists   Code = "template_exists"
	CodeModelStopped     Code = "model_stopped"
	CodeConflict         Code = "conflict"
	CodeGone             Code = "gone"              // it was there once, and never will be again
	CodeRevisionMismatch Code = "revision_mismatch" // If-Match did not hold
	CodeTooLarge         Code = "too_large"
	CodeUnsupportedMedia Code = "unsupported_media_type"
	CodeTooManyRequests  Code = "too_many_requests"
	CodeUnavailable      Code = "unavailable" // the store or a part of Nebula does not answer now
	CodeTimeout          Code = "timeout"
	CodeUpstream         Code = "upstream_error"
	CodeInternal         Code = "internal"
	CodeNotImplemented   Code = "not_implemented" // Nebula does not do that, and its message says what does
)

// HTTPStatus returns the HTTP status of a code; 500 for one it does not know.
func (c Code) HTTPStatus() int {
	if s, ok := statusOf[c]; ok {
		return s
	}
	return 500
}

var statusOf = map[Code]int{
	CodeInvalidRequest: 400, CodeInvalidUID: 400, CodeUnauthorized: 401, CodeForbidden: 403, CodeNotFound: 404,
	CodeMethodNotAllowed: 405, CodeModelExists: 409, CodeTemplateExists: 409, CodeModelStopped: 409, CodeConflict: 409, CodeGone: 410,
	CodeRevisionMismatch: 412, CodeTooLarge: 413, CodeUnsupportedMedia: 415, CodeMisdirected: 421, CodeTooManyRequests: 429,
	CodeInternal: 500, CodeNotImplemented: 501, CodeUpstream: 502, CodeUnavailable: 503, CodeTimeout: 504,
}

// Codes returns every code, sorted.
func Codes() []Code { return slices.Sorted(maps.Keys(statusOf)) }

// ExitCode returns the exit status of a command that ends with this code: 1 error, 2 usage, 3 not found,
// 4 conflict, 5 timeout.
func (c Code) ExitCode() int {
	switch c {
	case CodeInvalidRequest, CodeInvalidUID, CodeTooLarge, CodeUnsupportedMedia:
		return 2
	case CodeNotFound:
		return 3
	case CodeModelExists, CodeTemplateExists, CodeModelStopped, CodeConflict, CodeRevisionMismatch:
		return 4
	case CodeTimeout:
		return 5
	}
	return 1
}

// Error is the one error that people see. Message says what is wrong and what to do next.
type Error struct {
	Code      Code    `json:"code"`
	Message   string  `json:"message"`
	RequestID string  `json:"request_id,omitempty"`
	Details   []Field `json:"details,omitempty"`
}

// Field is one thing wrong with a request.
type Field struct {
	Field  string `json:"field"`
	Reason string `json:"reason"`
}

// Error returns the message, which says everything that the details say.
func (e *Error) Error() string { return e.Message }

// Envelope is the body of every error answer outside /v1.
type Envelope struct {
	Error Error `json:"error"`
}

// Errorf builds an Error.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// AsError finds the *Error in err's chain.
func AsError(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// HasCode tells whether err carries an Error with that code.
func HasCode(err error, code Code) bool {
	e, ok := AsError(err)
	return ok && e.Code == code
}

// OpenAIEnvelope is the body of every error answer on /v1: OpenAI's shape.
type OpenAIEnvelope struct {
	Error OpenAIError `json:"error"`
}

// OpenAIError is the error object of OpenAI's API.
type OpenAIError struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

// OpenAI returns the error in OpenAI's shape; type follows the HTTP status as OpenAI's own API does.
func (e *Error) OpenAI() OpenAIEnvelope {
	kind := "invalid_request_error"
	switch s := e.Code.HTTPStatus(); {
	case s == 401:
		kind = "authentication_error"
	case s == 403:
		kind = "permission_error"
	case s == 429:
		kind = "rate_limit_error"
	case s >= 500:
		kind = "server_error"
	}
	code := string(e.Code)
	return OpenAIEnvelope{OpenAIError{Message: e.Message, Type: kind, Code: &code}}
}
