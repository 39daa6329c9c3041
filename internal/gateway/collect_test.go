package gateway

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
)

func asValue(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// The chunks are those of a real llama-server, shortened.
func TestCollector_addsUp(t *testing.T) {
	chat := func(choices string) string {
		return `{"choices":[` + choices + `],"created":17,"id":"chatcmpl-1","model":"m","system_fingerprint":"b1","object":"chat.completion.chunk"}`
	}
	const top = `"created":17,"id":"chatcmpl-1","model":"m","system_fingerprint":"b1","object":"chat.completion"`
	for name, c := range map[string]struct {
		form   *form
		chunks []string
		want   string
	}{
		"text and usage": {&chatForm, []string{
			chat(`{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}`),
			chat(`{"finish_reason":null,"index":0,"delta":{"content":"Hé \""}}`),
			chat(`{"finish_reason":null,"index":0,"delta":{"content":"\ud83d"}}`),
			chat(`{"finish_reason":null,"index":0,"delta":{"content":"\ude00\n"}}`),
			chat(`{"finish_reason":"stop","index":0,"delta":{}}`),
			`{"choices":[],"usage":{"completion_tokens":3,"prompt_tokens":2,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":1}},"timings":{"cache_n":1,"predicted_ms":1.50}}`,
		}, `{` + top + `,"choices":[{"index":0,"message":{"role":"assistant","content":"Hé \"😀\n"},"finish_reason":"stop"}],
			"usage":{"completion_tokens":3,"prompt_tokens":2,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":1}},"timings":{"cache_n":1,"predicted_ms":1.50}}`},
		"reasoning, then text": {&chatForm, []string{
			chat(`{"finish_reason":null,"index":0,"delta":{"role":"assistant","reasoning_content":"let "}}`),
			chat(`{"finish_reason":null,"index":0,"delta":{"reasoning_content":"me see"}}`),
			chat(`{"finish_reason":"length","index":0,"delta":{"content":"4"}}`),
		}, `{` + top + `,"choices":[{"index":0,"message":{"role":"assistant","reasoning_content":"let me see","content":"4"},"finish_reason":"length"}]}`},
		"tool calls": {&chatForm, []string{
			chat(`{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"a1","type":"function","function":{"name":"add","arguments":"{\"x\""}}]}}`),
			chat(`{"finish_reason":null,"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]}}`),
			chat(`{"finish_reason":null,"index":0,"delta":{"tool_calls":[{"index":1,"id":"a2","type":"function","function":{"name":"sub","arguments":""}}]}}`),
			chat(`{"finish_reason":null,"index":0,"delta":{"tool_calls":[{"index":1,"id":"a2","type":"function","function":{"arguments":"{}"}}]}}`),
			chat(`{"finish_reason":"tool_calls","index":0,"delta":{}}`),
		}, `{` + top + `,"choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[
			{"id":"a1","type":"function","function":{"name":"add","arguments":"{\"x\":1}"}},
			{"id":"a2","type":"function","function":{"name":"sub","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}`},
		"several choices, refusal, logprobs": {&chatForm, []string{
			chat(`{"finish_reason":null,"index":1,"delta":{"content":"b"},"logprobs":{"content":[{"token":"b","logprob":-0.25}]}}`),
			chat(`{"finish_reason":null,"index":0,"delta":{"refusal":"n"},"logprobs":null},{"finish_reason":"stop","index":1,"delta":{"content":"B"},"logprobs":{"content":[{"token":"B","logprob":-1e-3},{"token":"x","logprob":0}]}}`),
			chat(`{"finish_reason":"stop","index":0,"delta":{"refusal":"o"}}`),
		}, `{` + top + `,"choices":[
			{"index":0,"message":{"role":"assistant","content":null,"refusal":"no"},"finish_reason":"stop","logprobs":null},
			{"index":1,"message":{"role":"assistant","content":"bB"},"finish_reason":"stop","logprobs":{"content":[{"token":"b","logprob":-0.25},{"token":"B","logprob":-1e-3},{"token":"x","logprob":0}]}}]}`},
		"text completion": {&textForm, []string{
			`{"choices":[{"text":"one ","index":0,"logprobs":{"tokens":["one "],"token_logprobs":[-0.5]},"finish_reason":null}],"created":17,"id":"cmpl-1","object":"text_completion"}`,
			`{"choices":[{"text":"two","index":0,"logprobs":{"tokens":["two"],"token_logprobs":[-1]},"finish_reason":"stop"}],"created":17,"id":"cmpl-1","object":"text_completion","usage":{"total_tokens":2}}`,
		}, `{"created":17,"id":"cmpl-1","object":"text_completion","choices":[{"text":"one two","index":0,
			"logprobs":{"tokens":["one ","two"],"token_logprobs":[-0.5,-1]},"finish_reason":"stop"}],"usage":{"total_tokens":2}}`},
		"several prompts": {&textForm, []string{
			`{"choices":[{"text":"a","index":0,"logprobs":null,"finish_reason":"stop"}],"object":"text_completion"}`, `null`,
			`{"choices":[{"text":"b","index":1,"logprobs":null,"finish_reason":"stop"}],"object":"text_completion"}`,
		}, `{"object":"text_completion","choices":[{"text":"a","index":0,"logprobs":null,"finish_reason":"stop"},{"text":"b","index":1,"logprobs":null,"finish_reason":"stop"}]}`},
		"nothing said": {
			&chatForm,
			[]string{chat(`{"finish_reason":"stop","index":0,"delta":{}}`)},
			`{` + top + `,"choices":[{"index":0,"message":{"role":"assistant","content":null},"finish_reason":"stop"}]}`,
		},
		"empty text": {
			&chatForm,
			[]string{chat(`{"finish_reason":"stop","index":0,"delta":{"content":""}}`)},
			`{` + top + `,"choices":[{"index":0,"message":{"role":"assistant","content":""},"finish_reason":"stop"}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			sum := collector{form: c.form}
			for _, chunk := range c.chunks {
				if err := sum.add([]byte(chunk)); err != nil {
					t.Fatal(err)
				}
			}
			got, ok := sum.answer()
			if !ok {
				t.Fatal("no answer")
			}
			if diff := cmp.Diff(asValue(t, c.want), asValue(t, string(got))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestCollector_refuses(t *testing.T) {
	for _, chunk := range []string{
		``, `[]`, `{`, `{"choices":{}}`, `{"choices":[{"index":5000}]}`, `{"choices":[]} x`, `{"choices":[{"index":0,"delta":{"tool_calls":[{"index":99999}]}}]}`,
		`{"error":{"message":"boom","code":400}}`,
	} {
		sum := collector{form: &chatForm}
		if err := sum.add([]byte(chunk)); err == nil {
			t.Errorf("%q is taken", chunk)
		}
	}
	if _, ok := (&collector{form: &chatForm}).answer(); ok {
		t.Error("a stream without a choice has an answer")
	}
}

// Whatever the chunks are, nothing panics, and an answer is valid JSON.
func FuzzCollector(f *testing.F) {
	f.Add([]byte(goodStream), []byte(`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":"{"}}],"a":[1,{"index":0}]}}]}`))
	f.Add([]byte(`{"choices":[{"index":0,"text":"\ud83d"}],"usage":null}`), []byte(`{"choices":[{"index":0,"text":[1,"a",null]}],"id":5}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		for _, form := range []*form{&chatForm, &textForm} {
			sum := collector{form: form}
			if sum.add(a) != nil || sum.add(b) != nil {
				return
			}
			if got, ok := sum.answer(); ok && !json.Valid(got) {
				t.Fatalf("not valid: %s\nfrom %s\nand %s", got, a, b)
			}
		}
	})
}

// A client of llama.cpp that did not ask for a stream gets one object, although the engine is always asked for a stream.
func TestCollect_overHTTP(t *testing.T) {
	e := startEngine(t, func(c *call) {
		c.stream()
		c.chunk(": ping\n\n")
		c.chunk("data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello \"},\"text\":\"Hello \"}]}\r\n\r\nda")
		c.chunk("ta: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"you\"},\n")
		c.chunk("data: \"text\":\"you\",\"finish_reason\":\"stop\"}]}\n\n")
		c.chunk("event: x\nid: 1\n\ndata: {\"choices\":[],\"usage\":{\"total_tokens\":7}}\n\ndata: [DONE]\n\n")
		c.end()
	})
	f := single(t, quick, api.EngineLlamaCPP, e)
	const chat = `{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hello you"},"finish_reason":"stop"}],"id":"c","usage":{"total_tokens":7}}`
	const text = `{"object":"text_completion","choices":[{"index":0,"text":"Hello you","finish_reason":"stop"}],"id":"c","usage":{"total_tokens":7}}`
	for _, c := range []struct{ path, body, sent, want string }{
		{chatPath, `{"model":"m"}`, `{"stream":true,"stream_options":{"include_usage":true},"model":"served-m"}`, chat},
		{chatPath, ` { "stream" : false , "model":"m"}`, ` {"stream_options":{"include_usage":true}, "stream" : true , "model":"served-m"}`, chat},
		{chatPath, `{"model":"m","stream_options":null,"stream":null}`, `{"model":"served-m","stream_options":{"include_usage":true},"stream":true}`, chat},
		{"/v1/completions", `{"stream_options":{"x":1},"model":"m"}`, `{"stream":true,"stream_options":{"include_usage":true},"model":"served-m"}`, text},
	} {
		got := f.do("POST", c.path, c.body)
		got.wants(t, 200)
		if got.body != c.want {
			t.Errorf("got  %s\nwant %s", got.body, c.want)
		}
		if sent := e.last().body; sent != c.sent {
			t.Errorf("the engine got %s\nwant           %s", sent, c.sent)
		}
		if got.header.Get("Content-Type") != "application/json" {
			t.Errorf("type %q", got.header.Get("Content-Type"))
		}
	}
	if n := e.connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	if n := f.metric("nebula_route_ttft_seconds", "model_uid", "m"); n != 4 {
		t.Errorf("the time to the first token was measured %v times", n)
	}
}

// An error in the middle of a stream that nobody has seen is an error answer, and the client's own mistake stays one.
func TestCollect_errorInTheStream(t *testing.T) {
	e := startEngine(t, func(c *call) {
		c.stream()
		c.event(`{"choices":[{"index":0,"delta":{"content":"a"}}]}`)
		c.event(`{"error":{"message":"the request exceeds the available context size","type":"exceed_context_size_error","code":400}}`)
		c.end()
	})
	single(t, quick, api.EngineLlamaCPP, e).chat(plainChat).wants(t, 400, codeContextTooLong)
}

func TestEvents_cut(t *testing.T) {
	stream := "data: 1\n\n: ping\n\ndata: two\r\n\r\ndata: 3\ndata: 33\n\nevent: x\ndata: [DONE]\n\n"
	for step := 1; step < len(stream); step++ {
		var e events
		var out bytes.Buffer
		for at := 0; at < len(stream); at += step {
			run := e.push([]byte(stream[at:min(at+step, len(stream))]))
			if len(run) > 0 && !bytes.HasSuffix(run, []byte("\n\n")) && !bytes.HasSuffix(run, []byte("\n\r\n")) {
				t.Fatalf("step %d: a run ends inside an event: %q", step, run)
			}
			out.Write(run)
		}
		if out.String() != stream {
			t.Fatalf("step %d: got %q", step, out.String())
		}
	}
}

func TestIsDone(t *testing.T) {
	for text, want := range map[string]bool{
		"data: [DONE]\n\n": true, "data:[DONE]\n\n": true, "data: 1\n\ndata: [DONE]\r\n\r\n": true, "data: [DONE]": true, "id: 1\ndata: [DONE]\n\n": true,
		"": false, "\n\n": false, "data: \"data: [DONE]\"\n\n": false, "x data: [DONE]\n\n": false, "data: [DONE]\n\ndata: 1\n\n": false, "[DONE]\n\n": false,
	} {
		if got := isDone([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func BenchmarkCollector(b *testing.B) {
	chunk := []byte(strings.Replace(goodStream, "good", "some words", 1))
	b.ReportAllocs()
	sum := collector{form: &chatForm}
	for b.Loop() {
		if err := sum.add(chunk); err != nil {
			b.Fatal(err)
		}
	}
}
