package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/nebula-serve/nebula/api"
)

// fault is an answer that is an error, in OpenAI's shape.
type fault struct {
	status     int
	retryAfter int // seconds; 0 = no such header
	err        api.OpenAIError
}

// Codes in the answers of /v1, beside those of package api; where OpenAI has a code for it, it is theirs.
const (
	codeModelNotFound  = "model_not_found"
	codeModelNotReady  = "model_not_ready"
	codeUnsupported    = "unsupported_by_model"
	codeContextTooLong = "context_length_exceeded"
	codeEngineFailed   = "engine_failed"
	codeEngineTimeout  = "engine_timeout"
	codeRateLimited    = "rate_limit_exceeded"
)

func newFault(status int, code, format string, args ...any) *fault {
	f := &fault{status: status, err: api.OpenAIError{
		Message: fmt.Sprintf(format, args...), Type: errorType(status), Code: &code,
	}}
	return f
}

func badRequest(param, format string, args ...any) *fault {
	return newFault(http.StatusBadRequest, string(api.CodeInvalidRequest), format, args...).about(param)
}

// about names the parameter that is at fault; "" = none.
func (f *fault) about(param string) *fault {
	if param != "" {
		f.err.Param = &param
	}
	return f
}

func (f *fault) after(seconds int) *fault {
	f.retryAfter = seconds
	return f
}

// errorType follows the status as OpenAI's own API does.
func errorType(status int) string {
	switch {
	case status == http.StatusTooManyRequests:
		return "rate_limit_error"
	case status >= 500:
		return "server_error"
	}
	return "invalid_request_error"
}

// encode returns the body of the answer.
func (f *fault) encode() []byte {
	b, err := json.Marshal(api.OpenAIEnvelope{Error: f.err})
	if err != nil { // strings and pointers to strings: it cannot happen
		return []byte(`{"error":{"message":"the error cannot be encoded","type":"server_error","param":null,"code":null}}`)
	}
	return b
}

// event returns the error as a server-sent event, for a stream that has begun.
func (f *fault) event() []byte {
	return append(append([]byte("data: "), f.encode()...), "\n\n"...)
}

// write sends the error as the whole answer.
func (f *fault) write(w http.ResponseWriter) {
	if f.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(f.retryAfter))
	}
	writeJSON(w, f.status, f.encode())
}

// writeJSON sends a complete answer. The client may have left; there is nobody to tell then.
func writeJSON(w http.ResponseWriter, status int, body []byte) {
	jsonHead(w.Header(), len(body))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func jsonHead(h http.Header, length int) {
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(length)}
}

var jsonType = []string{"application/json"}
