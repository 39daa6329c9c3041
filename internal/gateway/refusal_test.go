package gateway

import (
	"strings"
	"testing"
)

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		status  int
		body    string
		outcome outcome
		want    int
		code    string
		message string
	}{
		"llama.cpp: prompt too long": {
			400, `{"error":{"code":400,"message":"request (5000 tokens) exceeds the available context size (512 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":5000,"n_ctx":512}}`,
			refusedRequest, 400, codeContextTooLong, "5000 tokens",
		},
		"vllm: prompt too long": {
			400, `{"object":"error","message":"This model's maximum context length is 2048 tokens. However, you requested 4000","type":"BadRequestError","param":null,"code":400}`,
			refusedRequest, 400, codeContextTooLong, "2048 tokens",
		},
		"llama.cpp: bad parameter": {400, `{"error":{"code":400,"message":"Unsupported param: echo","type":"invalid_request_error"}}`, refusedRequest, 400, "invalid_request", "Unsupported param: echo"},
		"fastapi: bad parameter":   {422, `{"detail":[{"loc":["body","messages"],"msg":"field required"}]}`, refusedRequest, 422, "invalid_request", "field required"},
		"bare text":                {400, `not json`, refusedRequest, 400, "invalid_request", "refused the request with status 400"},
		"bare string":              {400, `{"error":"too hot"}`, refusedRequest, 400, "invalid_request", "too hot"},
		"image without projector": {
			500, `{"error":{"code":500,"message":"image input is not supported - hint: if this is unexpected, you may need to provide the mmproj","type":"server_error"}}`,
			refusedRequest, 400, "invalid_request", "image input is not supported",
		},
		"text too long to embed": {
			500, `{"error":{"code":500,"message":"input (4202 tokens) is too large to process. increase the physical batch size (current batch size: 512)","type":"server_error"}}`,
			refusedRequest, 400, "invalid_request", "4202 tokens",
		},
		"no such API":          {404, `{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}`, refusedRequest, 400, codeUnsupported, "does not offer /v1/x"},
		"API switched off":     {501, `{"error":{"code":501,"message":"This server does not support embeddings. Start it with --embeddings","type":"not_supported_error"}}`, refusedRequest, 400, codeUnsupported, "does not offer /v1/x"},
		"name unknown":         {404, "{\"object\":\"error\",\"message\":\"The model `m` does not exist.\",\"type\":\"NotFoundError\",\"code\":404}", answeredBadly, 502, codeEngineFailed, "failed"},
		"our key is wrong":     {401, `{"error":{"code":401,"message":"Invalid API Key","type":"authentication_error"}}`, answeredBadly, 502, codeEngineFailed, "failed"},
		"loading":              {503, `{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}`, notReached, 503, codeModelNotReady, "still loading"},
		"busy":                 {503, `{"detail":"overloaded"}`, answeredBadly, 503, codeEngineFailed, "failed"},
		"too many":             {429, `{"error":{"message":"slow down","type":"x"}}`, refusedRequest, 429, codeRateLimited, "slow down"},
		"time-out of its own":  {408, ``, answeredBadly, 504, codeEngineFailed, "failed"},
		"an exception":         {500, canary, answeredBadly, 502, codeEngineFailed, "nebula model logs m"},
		"a redirect":           {302, ``, answeredBadly, 502, codeEngineFailed, "failed"},
		"an odd success":       {204, ``, answeredBadly, 502, codeEngineFailed, "failed"},
		"secrets in a refusal": {400, `{"error":{"message":"bad grammar at 0xdeadbeef10 in /opt/secret/engine.py, C:\\secret\\x.py, 10.1.2.3:4567 or localhost:4567"}}`, refusedRequest, 400, "invalid_request", "bad grammar at … in …"},
	} {
		t.Run(name, func(t *testing.T) {
			f := judge(complaint{status: c.status, body: []byte(c.body)}, "m", "/v1/x")
			if f.outcome != c.outcome || f.fault.status != c.want || *f.fault.err.Code != c.code {
				t.Errorf("outcome %d, %d %s: %s", f.outcome, f.fault.status, *f.fault.err.Code, f.fault.err.Message)
			}
			if !strings.Contains(f.fault.err.Message, c.message) {
				t.Errorf("the message is %q, want %q in it", f.fault.err.Message, c.message)
			}
			noCanary(t, answer{body: f.fault.err.Message})
			if !strings.Contains(f.cause.Error(), c.body[:min(len(c.body), 20)]) {
				t.Errorf("the operator is not told: %v", f.cause)
			}
		})
	}
}

func TestScrub_boundsMessages(t *testing.T) {
	if got := scrub(strings.Repeat("é \n\x00", 2000)); len([]rune(got)) > 501 {
		t.Errorf("%d characters", len([]rune(got)))
	}
	const plain = `max_tokens=5 and/or temperature 0.7 (see https://example.com) for "a/b"`
	if got := scrub(plain); !strings.HasPrefix(got, `max_tokens=5 and/or temperature 0.7`) || !strings.HasSuffix(got, `for "a/b"`) {
		t.Errorf("harmless text is changed: %s", got)
	}
}

func TestFirstError(t *testing.T) {
	for text, want := range map[string]int{
		"data: {\"error\":{\"code\":400}}\n\n": 400, "data:{ \"error\": {\"code\":503}}\n\n": 503, "error: {\"code\":429}\n\n": 429,
		"\n\ndata: {\"error\":{\"message\":\"x\"}}\n\n": 500, "error: broken\n\n": 500, "data: {\"error\":{\"code\":200}}\n\n": 500,
		"data: {\"errors\":0}\n\n": 0, "data: {\"choices\":[]}\n\n": 0, ": error: x\n\n": 0, "event: error\n\n": 0, "data: [DONE]\n\n": 0,
	} {
		c, found := firstError([]byte(text))
		if found != (want != 0) || c.status != want {
			t.Errorf("%q: %v, status %d, want %d", text, found, c.status, want)
		}
	}
}
