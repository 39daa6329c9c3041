package client_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
)

// TestErrors holds how answers that are no success reach the caller.
func TestErrors(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	tests := []struct {
		name   string
		status int
		body   string
		want   api.Error
		exit   int
	}{
		{
			"ours", 400, `{"error":{"code":"invalid_request","message":"no","request_id":"req_1","details":[{"field":"replicas","reason":"is missing"}]}}`,
			api.Error{Code: api.CodeInvalidRequest, Message: "no", RequestID: "req_1", Details: []api.Field{{Field: "replicas", Reason: "is missing"}}},
			2,
		},
		{
			"ours, a special code", 409, `{"error":{"code":"model_stopped","message":"start it"}}`,
			api.Error{Code: api.CodeModelStopped, Message: "start it", RequestID: "req_header"},
			4,
		},
		{
			"OpenAI's", 404, `{"error":{"message":"no such model","type":"invalid_request_error","param":null,"code":"model_not_found"}}`,
			api.Error{Code: api.CodeNotFound, Message: "no such model", RequestID: "req_header"},
			3,
		},
		{
			"OpenAI's without a code", 429, `{"error":{"message":"slow down","type":"rate_limit_error","param":null,"code":null}}`,
			api.Error{Code: api.CodeTooManyRequests, Message: "slow down", RequestID: "req_header"},
			1,
		},
		{
			"an engine's", 503, `{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}`,
			api.Error{Code: api.CodeUnavailable, Message: "Loading model", RequestID: "req_header"},
			1,
		},
		{
			"a text", 403, `{"error":"not you"}`,
			api.Error{Code: api.CodeForbidden, Message: "not you", RequestID: "req_header"},
			1,
		},
		{
			"a code that belongs to another status", 500, `{"error":{"code":"not_found","message":"m"}}`,
			api.Error{Code: api.CodeInternal, Message: "m", RequestID: "req_header"},
			1,
		},
		{
			"a status that no code has", 418, `{"error":{"code":"teapot","message":"m"}}`,
			api.Error{Code: api.CodeInvalidRequest, Message: "m", RequestID: "req_header"},
			2,
		},
		{"a lost race", 412, `{"error":{"code":"revision_mismatch","message":"m"}}`, api.Error{Code: api.CodeRevisionMismatch, Message: "m", RequestID: "req_header"}, 4},
		{"a time-out", 504, `{"error":{"code":"timeout","message":"m"}}`, api.Error{Code: api.CodeTimeout, Message: "m", RequestID: "req_header"}, 5},
		{"another host", 421, `{"error":{"code":"misdirected_request","message":"m"}}`, api.Error{Code: api.CodeMisdirected, Message: "m", RequestID: "req_header"}, 1},
		{"another host, as a proxy says it", 421, `no`, api.Error{Code: api.CodeMisdirected, RequestID: "req_header"}, 1},
		{"a proxy's page", 502, `<html>Bad Gateway</html>`, api.Error{Code: api.CodeUpstream, RequestID: "req_header"}, 1},
		{"plain text", 404, `404 page not found`, api.Error{Code: api.CodeNotFound, RequestID: "req_header"}, 3},
		{"nothing", 401, ``, api.Error{Code: api.CodeUnauthorized, RequestID: "req_header"}, 1},
		{"no message", 500, `{"error":{}}`, api.Error{Code: api.CodeInternal, RequestID: "req_header"}, 1},
		{"null", 500, `null`, api.Error{Code: api.CodeInternal, RequestID: "req_header"}, 1},
		{"wrong types", 500, `{"error":{"message":7}}`, api.Error{Code: api.CodeInternal, RequestID: "req_header"}, 1},
		{"not modified", 304, ``, api.Error{Code: api.CodeInternal, RequestID: "req_header"}, 1},
		{"a megabyte", 400, `{"error":{"message":"` + long + `"}}`, api.Error{Code: api.CodeInvalidRequest, RequestID: "req_header"}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Request-Id", "req_header")
				answer(tt.status, tt.body)(w, r)
			})
			_, err := c.Version(t.Context())
			e, ok := api.AsError(err)
			if !ok {
				t.Fatalf("%v is not an *api.Error", err)
			}
			if tt.want.Message == "" { // our own words
				if !strings.Contains(e.Message, http.StatusText(tt.status)) || !strings.Contains(e.Message, c.Base()) || len(e.Message) > 300 {
					t.Errorf("the message does not say who answered what: %.300s", e.Message)
				}
				tt.want.Message = e.Message
			}
			if d := cmp.Diff(tt.want, *e); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			if e.Code.ExitCode() != tt.exit {
				t.Errorf("exit status %d, want %d", e.Code.ExitCode(), tt.exit)
			}
		})
	}
}
