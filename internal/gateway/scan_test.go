package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestScanRequest_finds(t *testing.T) {
	for name, c := range map[string]struct {
		body, model string
		stream      bool
		streamAt    string
		optionsAt   string
	}{
		"plain":         {`{"model":"m"}`, "m", false, "", ""},
		"spaces":        {" \t\r\n{ \"model\" :\n\"m\" , \"stream\" : true } \n", "m", true, "true", ""},
		"nested model":  {`{"metadata":{"model":"x"},"messages":[{"model":"y"}],"model":"m"}`, "m", false, "", ""},
		"model in text": {`{"prompt":"\"model\":\"x\"","model":"m"}`, "m", false, "", ""},
		"escapes":       {`{"\u006dodel":"\u006d\/\ud83d\ude00"}`, "m/😀", false, "", ""},
		"options":       {`{"stream":false,"stream_options":{"include_usage":true},"model":"m"}`, "m", false, "false", `{"include_usage":true}`},
		"nulls":         {`{"stream":null,"stream_options":null,"model":"m"}`, "m", false, "null", "null"},
		"other twice":   {`{"a":1,"a":2,"A":3,"model":"m"}`, "m", false, "", ""},
		"numbers":       {`{"n":[0,-0,1.5e-3,1E+9,-12.0],"model":"m"}`, "m", false, "", ""},
		"deep":          {`{"a":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + `,"model":"m"}`, "m", false, "", ""},
		"unicode":       {`{"prompt":"日本語 ` + "\x7f" + `","model":"modèle"}`, "modèle", false, "", ""},
	} {
		req, f := scanRequest([]byte(c.body))
		if f != nil {
			t.Errorf("%s: %s", name, f.err.Message)
			continue
		}
		text := func(s span) string { return c.body[s.at:s.end] }
		if req.model != c.model || req.stream != c.stream || text(req.streamAt) != c.streamAt || text(req.optionsAt) != c.optionsAt {
			t.Errorf("%s: got %+v", name, req)
		}
	}
}

func TestScanRequest_refuses(t *testing.T) {
	for body, want := range map[string]string{
		``:                                 "the body is empty",
		"  ":                               "the body is empty",
		`null`:                             "must be a JSON object",
		`[{"model":"m"}]`:                  "must be a JSON object",
		`"model"`:                          "must be a JSON object",
		"\ufeff{\"model\":\"m\"}":          "must be a JSON object",
		`{}`:                               "names no model",
		`{"messages":[]}`:                  "names no model",
		`{"model":""}`:                     "name of a model",
		`{"model":1}`:                      "model must be a string",
		`{"model":null}`:                   "model must be a string",
		`{"model":["m"]}`:                  "model must be a string",
		`{"model":"m","stream":1}`:         "stream must be true or false",
		`{"model":"m","stream":"true"}`:    "stream must be true or false",
		`{"model":"m","stream_options":1}`: "stream_options must be an object",
		`{"model":"a","model":"b"}`:        "model is given twice",
		`{"model":"a","\u006dodel":"a"}`:   "model is given twice",
		`{"stream":true,"stream":true,"model":"a"}`:                 "stream is given twice",
		`{"stream_options":null,"stream_options":null,"model":"a"}`: "stream_options is given twice",
		`{"model":"a","Model":"b"}`:                                 `it is spelled \"model\"`,
		`{"MODEL":"a"}`:                                             `it is spelled \"model\"`,
		`{"model":"a","ſtream":true}`:                               `it is spelled \"stream\"`, // K. and ſ fold to ASCII in encoding/json
		`{"model":"a","\u0053tream":true}`:                          `it is spelled \"stream\"`,
		`{"model":"m"} {}`:                                          "goes on behind",
		`{"model":"m"}x`:                                            "goes on behind",
		"{\"model\":\"\xff\"}":                                      "not UTF-8",
		"{\"model\":\"m\",\xff:1}":                                  "not valid JSON",
		"{\"model\":\"a\x00\"}":                                     "control character",
		"{\"model\":\"a\nb\"}":                                      "control character",
		`{"model":"m"`:                                              "not valid JSON",
		`{"model":"m",}`:                                            "not valid JSON",
		`{"model":"m","a":NaN}`:                                     "not valid JSON",
		`{"model":"m","a":01}`:                                      "not valid JSON",
		`{"model":"m","a":+1}`:                                      "not valid JSON",
		`{"model":"m","a":1.}`:                                      "not valid JSON",
		`{"model":"m","a":.5}`:                                      "not valid JSON",
		`{"model":"m","a":1e}`:                                      "not valid JSON",
		`{"model":"m","a":tru}`:                                     "not valid JSON",
		`{"model":"m","a":[1,]}`:                                    "not valid JSON",
		`{"model":"m","a":[1 2]}`:                                   "not valid JSON",
		`{"model":"m","a":"\x"}`:                                    "not valid JSON",
		`{"model":"m","a":"\u12g4"}`:                                "not valid JSON",
		"{\"model\":\"m\",\"a\":\"\\u12\x134\"}":                    "not valid JSON",
		`{"model":"m","a":"`:                                        "not valid JSON",
		`{"model":"m" "a":1}`:                                       "not valid JSON",
		`{"model" "m"}`:                                             "not valid JSON",
		`{model:"m"}`:                                               "not valid JSON",
		`{'model':'m'}`:                                             "not valid JSON",
		`{"model":"m","a":` + strings.Repeat("[", 10_000):           "nests too deep",
		`{"model":"m","a":` + strings.Repeat(`{"a":`, 10_000):       "nests too deep",
	} {
		req, f := scanRequest([]byte(body))
		switch {
		case f == nil:
			t.Errorf("%.80q is taken: %+v", body, req)
		case f.status != 400 || !strings.Contains(fmt.Sprintf("%q", f.err.Message), want):
			t.Errorf("%.80q: %d %s, want %q", body, f.status, f.err.Message, want)
		}
	}
}

// reference reads a body with encoding/json alone.
type reference struct {
	model   any
	stream  any
	options any
}

var errOdd = errors.New("refused by a rule of ours")

func readReference(body []byte) (reference, error) {
	var ref reference
	if !utf8.Valid(body) || !json.Valid(body) {
		return ref, errors.New("not valid")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return ref, errors.New("no object")
	}
	into := map[string]*any{"model": &ref.model, "stream": &ref.stream, "stream_options": &ref.options}
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return ref, err
		}
		key := tok.(string)
		var val any
		if err := dec.Decode(&val); err != nil {
			return ref, err
		}
		for name, at := range into {
			if !strings.EqualFold(name, key) {
				continue
			}
			if name != key || seen[name] {
				return ref, errOdd
			}
			seen[name], *at = true, val
		}
	}
	_, isString := ref.model.(string)
	_, isBool := ref.stream.(bool)
	_, isObject := ref.options.(map[string]any)
	if !isString || ref.model == "" || ref.stream != nil && !isBool || ref.options != nil && !isObject || depth(body) > maxDepth {
		return ref, errOdd
	}
	return ref, nil
}

func depth(body []byte) int {
	dec := json.NewDecoder(bytes.NewReader(body))
	deepest, now := 0, 0
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			return deepest
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			now++
			deepest = max(deepest, now)
		case json.Delim('}'), json.Delim(']'):
			now--
		}
	}
}

// The scanner takes exactly what encoding/json takes under our rules, finds the same values, and a body spliced by what it found is
// the same document with that one value changed.
func FuzzScanRequest(f *testing.F) {
	for _, s := range []string{
		`{"model":"m","stream":true,"stream_options":{"include_usage":false},"messages":[{"role":"user","content":"a\nb\u00e9\"model\""}]}`,
		`{"Model":"m"}`, `{"model":"a","model":"b"}`, `{"\u006dodel":"m","n":-1.5e+3}`, ` { "model" : "m" , "a" : [ ] } `,
		`{"model":"m","x":"12345678\\12345678\"1234567日本"}`, `{"model":"m"}{}`, `{"ſtream":1,"model":"m"}`, `{"a":[[[[{}]]]],"model":"\ud800"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		ref, err := readReference(body)
		req, bad := scanRequest(body)
		if (err == nil) != (bad == nil) {
			t.Fatalf("encoding/json says %v, the scanner %+v\n%q", err, bad, body)
		}
		if bad != nil {
			return
		}
		if req.model != ref.model || req.stream != (ref.stream == true) || (ref.options == nil) != (req.optionsAt.empty() || body[req.optionsAt.at] == 'n') {
			t.Fatalf("found %+v, want %+v\n%q", req, ref, body)
		}
		spliced := bytes.Join(splice(nil, body, []edit{{req.modelAt, []byte(`"other"`)}}), nil)
		got, err := readReference(spliced)
		if err != nil || got.model != "other" || !reflect.DeepEqual(got.stream, ref.stream) || !reflect.DeepEqual(got.options, ref.options) {
			t.Fatalf("spliced to %+v %v\n%q\n%q", got, err, body, spliced)
		}
		if len(spliced) != len(body)-(req.modelAt.end-req.modelAt.at)+len(`"other"`) {
			t.Fatalf("other bytes changed:\n%q\n%q", body, spliced)
		}
	})
}

// body makes a chat request of about n bytes, with what makes prompts slow to walk: quotes, line ends and other scripts.
func chatBody(model string, n int) []byte {
	line := `He said \"no\", and then 日本語 — twice.\n` + strings.Repeat("A line of plain English text without anything to escape. ", 4) + `\n`
	text := strings.Repeat(line, n/len(line)+1)[:max(0, n-140)]
	for text != "" && (!utf8.ValidString(text) || text[len(text)-1] == '\\') {
		text = text[:len(text)-1]
	}
	return fmt.Appendf(nil, `{"messages":[{"role":"user","content":"%s"}],"temperature":0.7,"max_tokens":64,"model":%q}`, text, model)
}

func BenchmarkScanRequest(b *testing.B) {
	for _, n := range []int{1 << 10, 32 << 10, 400 << 10} {
		body := chatBody("some-model", n)
		if _, f := scanRequest(body); f != nil {
			b.Fatal(f.err.Message)
		}
		b.Run(fmt.Sprintf("%dkB", n>>10), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, f := scanRequest(body); f != nil {
					b.Fatal(f.err.Message)
				}
			}
		})
	}
}
