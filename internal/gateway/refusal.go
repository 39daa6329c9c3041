package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/gateway/upstream"
)

// maxComplaint bounds what is read of an engine's error.
const maxComplaint = 64 << 10

// refused reads an answer that is no success.
func (x *exchange) refused(m *model, res *upstream.Response) *failure {
	var body []byte
	for len(body) < maxComplaint {
		p, err := res.Next()
		body = append(body, p...)
		if err != nil {
			break // what there is says enough
		}
	}
	if err := x.call().Err(); err != nil {
		return x.broke(err)
	}
	after, _ := strconv.Atoi(res.RetryAfter())
	return judge(complaint{status: res.Status(), retryAfter: max(0, after), body: body}, m.uid, x.kind.path)
}

// complaint is an error as an engine words it.
type complaint struct {
	status, retryAfter int
	body               []byte
}

// words are the parts of a complaint that mean something: OpenAI's envelope, which llama-server and vLLM use, and what FastAPI says
// on its own.
type words struct {
	Message string `json:"message"`
	Type    string `json:"type"`
	Param   any    `json:"param"`
	Code    any    `json:"code"`
	Detail  any    `json:"detail"`
}

func (c complaint) words() words {
	var envelope struct {
		Error json.RawMessage `json:"error"`
		words
	}
	if json.Unmarshal(c.body, &envelope) != nil {
		return words{}
	}
	w := envelope.words
	if len(envelope.Error) > 0 && json.Unmarshal(envelope.Error, &w) != nil {
		_ = json.Unmarshal(envelope.Error, &w.Message) // some give a bare string
	}
	if w.Message == "" && w.Detail != nil {
		w.Message = fmt.Sprint(w.Detail)
	}
	return w
}

// judge works out what an engine's error means for the client, and whether another replica should be asked. First match wins:
//
//  1. The prompt is too long for the model's context: OpenAI's own code for that.
//  2. Our own doing (a key, a name that the engine does not know): as bad as an error of the engine's.
//  3. The engine lacks this API or this kind of input: the client has to ask another model.
//  4. Any other 4xx: the client's to mend; passed on.
//  5. llama-server is still loading: it has done nothing with the request.
//  6. Everything else is the engine's fault. The client is told that and no more: such texts name paths, addresses and code.
func judge(c complaint, uid, path string) *failure {
	w := c.words()
	cause := fmt.Errorf("the engine answered %d: %.500s", c.status, c.body)
	has := func(parts ...string) bool {
		text := strings.ToLower(w.Message)
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	refuse := func(status int, code string) *failure {
		f := newFault(status, code, "%s", scrub(w.Message))
		if w.Message == "" {
			f.err.Message = fmt.Sprintf("the engine of %s refused the request with status %d", uid, c.status)
		}
		if p, ok := w.Param.(string); ok {
			f = f.about(p)
		}
		return &failure{refusedRequest, f, cause}
	}
	bad := func(status int) *failure {
		f := newFault(status, codeEngineFailed, "the engine of %s failed on this request; its log has more: nebula model logs %s", uid, uid)
		return &failure{answeredBadly, f.after(max(1, c.retryAfter)), cause}
	}
	client := c.status/100 == 4
	switch {
	case client && (w.Type == "exceed_context_size_error" || has("maximum context length", "exceeds the available context size")): // 1
		return refuse(http.StatusBadRequest, codeContextTooLong)
	case c.status == 401 || c.status == 403 || c.status == 407, c.status == 404 && has("does not exist"): // 2
		return bad(http.StatusBadGateway)
	case c.status == 404 || c.status == 405 || c.status == 501: // 3
		f := newFault(http.StatusBadRequest, codeUnsupported, "the engine of %s does not offer %s", uid, path)
		return &failure{refusedRequest, f.about("model"), cause}
	case c.status == 500 && has("mmproj", "is not supported", "too large to process"): // 3
		return refuse(http.StatusBadRequest, string(api.CodeInvalidRequest))
	case c.status == http.StatusTooManyRequests: // 4
		f := refuse(c.status, codeRateLimited)
		f.fault.after(max(1, c.retryAfter))
		return f
	case c.status == http.StatusRequestTimeout:
		return bad(http.StatusGatewayTimeout)
	case client:
		return refuse(c.status, string(api.CodeInvalidRequest))
	case c.status == 503 && w.Type == "unavailable_error": // 5
		f := newFault(http.StatusServiceUnavailable, codeModelNotReady, "the engine of %s is still loading the model", uid)
		return &failure{notReached, f.after(5), cause}
	case c.status == 503 || c.status == 504: // 6
		return bad(c.status)
	}
	return bad(http.StatusBadGateway)
}

// What an engine's message may give away: paths, addresses in memory, hosts inside the cluster.
var private = regexp.MustCompile(`(?:[A-Za-z]:)?(?:[/\\][\w.@+-]+){2,}[/\\]?|0x[0-9a-fA-F]{4,}|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b|\blocalhost:\d+\b`)

// scrub makes an engine's message fit for people outside.
func scrub(message string) string {
	const most = 500
	message = strings.Join(strings.Fields(strings.ToValidUTF8(message, "")), " ")
	message = private.ReplaceAllString(message, "…")
	if r := []rune(message); len(r) > most {
		message = string(r[:most]) + "…"
	}
	return message
}
