package openapi

import (
	"net/http"
	"reflect"
	"strings"

	"github.com/nebula-serve/nebula/api"
)

// Failure is a shape of the body that says what went wrong. It is the beginning of the name of the responses that have it.
type Failure string

// The shapes. All but the first are those that clients of other APIs know.
const (
	FailureOwn    Failure = "Error"
	FailureOpenAI Failure = "OpenAIError"
	FailureDenied Failure = "V1Denied"    // of version 1, to who may not ask
	FailureAuth   Failure = "V1AuthError" // of version 1, under /api/auth
	FailureText   Failure = "V1Text"      // of version 1, at a gateway: a sentence, as text/plain
)

var failureTypes = map[Failure]reflect.Type{
	FailureOwn: reflect.TypeFor[api.Envelope](), FailureOpenAI: reflect.TypeFor[api.OpenAIEnvelope](),
	FailureDenied: reflect.TypeFor[api.V1Denied](), FailureAuth: reflect.TypeFor[api.V1AuthError](), FailureText: nil,
}

// failure is a response that says what went wrong.
type failure struct {
	shape  Failure
	status int
}

// FailureOf is the shape in which the route at path, which is that of a row, fails with a status.
func FailureOf(path string, status int) Failure {
	switch {
	case strings.HasPrefix(path, V1Gateway):
		if status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusTooManyRequests {
			return FailureDenied
		}
		return FailureText
	case path == "/v1" || strings.HasPrefix(path, "/v1/"):
		return FailureOpenAI
	case !IsV1(path) || status == http.StatusMisdirectedRequest: // the latter is answered before the row is known
		return FailureOwn
	case path == v1Login: // it has no door: whatever it refuses is its own answer
		return FailureAuth
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return FailureDenied
	case strings.HasPrefix(path, "/api/auth/"):
		return FailureAuth
	}
	return FailureOwn
}

const v1Login = "/api/auth/login"

// V1Gateway is what the paths begin with under which the gateway of the existing Nebula was administered.
const V1Gateway = "/v1/admin/"

// IsInference tells whether a path is one of OpenAI's API.
func IsInference(path string) bool {
	return strings.HasPrefix(path, "/v1/") && !strings.HasPrefix(path, V1Gateway)
}

// IsV1 tells whether a path is one of the API of the existing Nebula, beside what the two have alike.
func IsV1(path string) bool {
	return strings.HasPrefix(path, V1Gateway) || strings.HasPrefix(path, "/api/") && !strings.HasPrefix(path, "/api/v2/") && path != "/api/openapi.json" && path != "/api/docs"
}
