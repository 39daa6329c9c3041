package demomodel

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nebula-serve/nebula/api"
)

// write returns the model for a reply, read back.
func write(t interface{ Fatal(...any) }, reply string) parsed {
	var b bytes.Buffer
	if err := Write(&b, Options{Reply: reply}); err != nil {
		t.Fatal(err)
	}
	p, err := parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// answer decodes as an engine does whose attention and feed-forward add nothing: the token's embedding,
// normalised, times the output matrix. It returns the text and the least lead that a token had, in nats.
func (p parsed) answer(last int) (string, float64, error) {
	embed, output := p.tensors["token_embd.weight"], p.tensors["output.weight"]
	tokens := p.meta["tokenizer.ggml.tokens"].([]any)
	var text strings.Builder
	lead := math.Inf(1)
	for range len(tokens) {
		x := embed.values[last*width : (last+1)*width]
		sum := 0.0
		for _, v := range x {
			sum += float64(v) * float64(v)
		}
		rms := math.Sqrt(sum/width + 1e-6)
		first, second := math.Inf(-1), math.Inf(-1)
		for token := range tokens {
			logit := 0.0
			for i, v := range output.values[token*width : (token+1)*width] {
				logit += float64(v) * float64(x[i]) / rms
			}
			if logit > first {
				first, second, last = logit, first, token
			} else {
				second = max(second, logit)
			}
		}
		lead = min(lead, first-second)
		if last == tokenEnd {
			return text.String(), lead, nil
		}
		text.WriteString(tokens[last].(string))
	}
	return "", 0, errors.New("the answer does not end")
}

var oddReplies = []string{
	"ok", "A", "é", "<", "<s>", "</s>", "<unk>", "<<s>", "<0x41>", "<|im_end|>", "[INST] no [/INST]", "[[", "a <s>",
	"no no no no no no no", "the cat and the dog and the cat and the dog", "a\na\na\na", "a a", "aa\n\n",
	" leading and trailing \n", "\n", " ", "two  spaces,\ttabs\r\nand\n\n\nlines", "日本語の答え、空白なし。",
	"naïve café 👩‍🚀 مرحبا", `{"json": [1, 2, "x"], "esc": "\u0041\\"}`, "```go\nfunc main() {}\n```\n", "1 2 3 1 2 3 1 2",
}

func TestAnswersExactlyTheReply(t *testing.T) {
	for _, reply := range append(oddReplies, strings.Repeat("spam ", 400), strings.Repeat("ab c ", 40)) {
		for _, last := range []int{tokenUnknown, tokenBegin, tokenEnd, tokenByte0 + 'x', tokenSpace} {
			got, lead, err := write(t, reply).answer(last)
			if err != nil || got != reply {
				t.Errorf("after token %d the answer is %q, %v; want %q", last, got, err, reply)
			}
			if lead < 2*gain {
				t.Errorf("%q: a token leads by %v nats only", reply, lead)
			}
		}
	}
}

func TestAnswersAnyReply(t *testing.T) {
	word := rapid.OneOf(rapid.SampledFrom([]string{"a", "b", "no", "the", "<s>", "</s>", "<0x0A>", "[", "<", "☃", "Ünï"}), rapid.StringN(1, 6, -1))
	space := rapid.SampledFrom([]string{"", " ", "  ", "\n", " \t"})
	rapid.Check(t, func(t *rapid.T) {
		var reply strings.Builder
		for range rapid.IntRange(1, 40).Draw(t, "words") {
			reply.WriteString(word.Draw(t, "word"))
			reply.WriteString(space.Draw(t, "space"))
		}
		text := strings.NewReplacer("\x00", "", metaspace, "").Replace(strings.ToValidUTF8(reply.String(), ""))
		if text == "" {
			t.Skip("nothing left")
		}
		p := write(t, text)
		tokens := p.meta["tokenizer.ggml.tokens"].([]any)
		seen := map[any]bool{}
		for _, token := range tokens {
			if seen[token] { // engines refuse to load such a vocabulary
				t.Fatalf("token %q twice for %q", token, text)
			}
			seen[token] = true
		}
		for _, token := range tokens[tokenPiece0:] {
			if !unreachable(token.(string)) && len(tokens) > tokenPiece0+2 {
				t.Fatalf("a prompt can hold the piece %q of %q", token, text)
			}
		}
		if got, _, err := p.answer(tokenBegin); err != nil || got != text {
			t.Fatalf("the answer is %q, %v; want %q", got, err, text)
		}
	})
}

func TestPieces(t *testing.T) {
	for _, test := range []struct {
		reply string
		want  []string
	}{
		{"Hello there, world.", []string{"Hello", " there,", " world."}},
		{"I am here", []string{"I am", " here"}},
		{"one two one two", []string{"one", " two", " one two"}},
		{"one two two three two", []string{"one", " two", " two three two"}},
		{"line\nnext  gap ", []string{"line", "\nnext", "  gap", " "}},
		{"</s>", []string{"<", "/s>"}},
		{"ok", []string{"ok"}},
	} {
		if diff := cmp.Diff(test.want, split(test.reply, map[string]bool{"</s>": true})); diff != "" {
			t.Errorf("%q: %s", test.reply, diff)
		}
	}
}

func TestModelIsOfTheLlamaArchitecture(t *testing.T) {
	var b bytes.Buffer
	if err := Write(&b, Options{Reply: "Hello there", Name: "replica 2"}); err != nil {
		t.Fatal(err)
	}
	if b.Len() > 150_000 {
		t.Errorf("the model has %d bytes", b.Len())
	}
	p, err := parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if d := p.meta["general.description"].(string); !strings.HasPrefix(d, "A demo model") {
		t.Errorf("the description %q does not say that it is a demo model", d)
	}
	for key, want := range map[string]any{
		"general.architecture": "llama", "general.name": "replica 2", "llama.context_length": uint32(ContextLength),
		"llama.vocab_size": uint32(262), "tokenizer.ggml.model": "llama", "tokenizer.ggml.add_space_prefix": false,
	} {
		if diff := cmp.Diff(want, p.meta[key]); diff != "" {
			t.Errorf("%s: %s", key, diff)
		}
	}
	for _, key := range []string{"tokens", "scores", "token_type"} {
		if n := len(p.meta["tokenizer.ggml."+key].([]any)); n != 262 {
			t.Errorf("%d %s, want 262", n, key)
		}
	}
	shapes := map[string][]int{}
	for name, tensor := range p.tensors {
		shapes[name] = tensor.shape
		if strings.HasPrefix(name, "blk.0.") && !strings.HasSuffix(name, "norm.weight") && slices.Max(tensor.values) != 0 {
			t.Errorf("%s is not zero", name)
		}
	}
	want := map[string][]int{
		"token_embd.weight": {32, 262}, "output.weight": {32, 262},
		"output_norm.weight": {32}, "blk.0.attn_norm.weight": {32}, "blk.0.ffn_norm.weight": {32},
	}
	for _, name := range []string{"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"} {
		want["blk.0."+name+".weight"] = []int{32, 32}
	}
	if diff := cmp.Diff(want, shapes); diff != "" {
		t.Errorf("tensors: %s", diff)
	}
}

func TestRefusesBadOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"empty":         {},
		"too long":      {Reply: strings.Repeat("x", MaxReply+1)},
		"invalid UTF-8": {Reply: "a\xff"},
		"NUL":           {Reply: "a\x00b"},
		"metaspace":     {Reply: "a" + metaspace},
		"name with NUL": {Reply: "a", Name: "\x00"},
		"long name":     {Reply: "a", Name: strings.Repeat("n", 129)},
	} {
		path := filepath.Join(t.TempDir(), "model.gguf")
		if err := WriteFile(path, o); !api.HasCode(err, api.CodeInvalidRequest) {
			t.Errorf("%s: error %v, want an invalid request", name, err)
		}
		if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) > 0 {
			t.Errorf("%s: left %v, %v", name, entries, err)
		}
	}
	if err := Write(&bytes.Buffer{}, Options{Reply: strings.Repeat("a ", MaxReply/2)}); err != nil {
		t.Errorf("the longest reply: %v", err)
	}
}

func TestWriteFileReplacesAndRepeats(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.gguf")
	read := func(reply string) string {
		t.Helper()
		if err := WriteFile(path, Options{Reply: reply}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	first, other, again := read("one answer"), read("another"), read("one answer")
	if first == other || first != again {
		t.Error("the file does not follow from the reply alone")
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestWriteReportsItsWriter(t *testing.T) {
	if err := WriteFile(filepath.Join(t.TempDir(), "none", "model.gguf"), Options{Reply: "a"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want %v", err, os.ErrNotExist)
	}
	full := errors.New("disk full")
	if err := Write(failingWriter{full}, Options{Reply: "a"}); !errors.Is(err, full) {
		t.Errorf("error %v, want %v", err, full)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, fmt.Errorf("write: %w", w.err) }
