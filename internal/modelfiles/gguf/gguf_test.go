package gguf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// file writes GGUF files, right ones and wrong ones.
type file struct{ bytes.Buffer }

func (f *file) u32(v uint32) *file {
	_ = binary.Write(f, binary.LittleEndian, v)
	return f
}

func (f *file) u64(v uint64) *file {
	_ = binary.Write(f, binary.LittleEndian, v)
	return f
}

func (f *file) text(s string) *file {
	f.u64(uint64(len(s)))
	f.WriteString(s)
	return f
}

func begin(version uint32, tensors, pairs uint64) *file {
	f := new(file)
	f.WriteString("GGUF")
	return f.u32(version).u64(tensors).u64(pairs)
}

// model is a small valid file: a pooling type, an array of strings, an array of arrays, one F32 tensor of 8 and one Q4_0 of 64.
func model() *file {
	f := begin(3, 2, 7)
	f.text("general.architecture").u32(typeText).text("nomic-bert")
	f.text("nomic-bert.context_length").u32(typeU32).u32(2048)
	f.text("nomic-bert.pooling_type").u32(typeU32).u32(1)
	f.text("tokenizer.ggml.tokens").u32(typeArray).u32(typeText).u64(3).text("a").text("").text("c")
	f.text("nested").u32(typeArray).u32(typeArray).u64(2).u32(typeU8).u64(2)
	f.WriteString("xy")
	f.u32(typeU32).u64(1).u32(7)
	f.text("general.name").u32(typeText).text("Test")
	f.text("tokenizer.chat_template").u32(typeText).text("{{ x }}")
	f.text("a").u32(1).u64(8).u32(0).u64(0)
	f.text("b").u32(2).u64(32).u64(2).u32(2).u64(32)
	return f
}

// complete pads a header and adds data as the format asks for.
func complete(f *file, data int) []byte {
	for f.Len()%32 != 0 {
		f.WriteByte(0)
	}
	f.Write(make([]byte, data))
	return f.Bytes()
}

func TestRead_tellsWhatTheModelIs(t *testing.T) {
	b := complete(model(), 32+36)
	got, err := Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	want := Header{
		Version: 3, Tensors: 2, Architecture: "nomic-bert", Name: "Test", ContextLength: 2048, Pooling: PoolingMean,
		ChatTemplate: true, Size: int64(len(b)),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if !got.Embedding() {
		t.Error("an encoder that pools gives vectors")
	}
}

// TestRead_everyShorterFile cuts a valid file at every byte: never a panic, never taken for complete.
func TestRead_everyShorterFile(t *testing.T) {
	b := complete(model(), 32+36)
	for n := range b {
		_, err := Read(bytes.NewReader(b[:n]), int64(n))
		want := ErrTruncated
		if n < 4 {
			want = ErrNotGGUF
		}
		if !errors.Is(err, want) {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(b), err)
		}
	}
}

func TestRead_refuses(t *testing.T) {
	pair := func(key string) *file { return begin(3, 0, 1).text(key) }
	cases := []struct {
		name string
		file *file
		want error
	}{
		{"empty", new(file), ErrNotGGUF},
		{"another format", &file{*bytes.NewBufferString("PK\x03\x04 not this at all")}, ErrNotGGUF},
		{"version 1", begin(1, 0, 0), ErrInvalid},
		{"big-endian", &file{*bytes.NewBufferString("GGUF\x00\x00\x00\x03")}, ErrInvalid},
		{"too many tensors", begin(3, 1<<40, 0), ErrInvalid},
		{"too many entries", begin(3, 0, 1<<40), ErrInvalid},
		{"a key longer than the file", begin(3, 0, 1).u64(1 << 62), ErrTruncated},
		{"an unknown type of value", pair("k").u32(99), ErrInvalid},
		{"an array longer than the file", pair("k").u32(typeArray).u32(typeF64).u64(1 << 62), ErrTruncated},
		{"an endless array of nothing", pair("k").u32(typeArray).u32(typeText).u64(1 << 62), ErrTruncated},
		{"arrays too deep", pair("k").u32(9).u32(9).u64(1).u32(9).u64(1).u32(9).u64(1).u32(9).u64(1).u32(9).u64(1), ErrInvalid},
		{"alignment 0", pair("general.alignment").u32(typeU32).u32(0), ErrInvalid},
		{"alignment 3", pair("general.alignment").u32(typeU32).u32(3), ErrInvalid},
		{"99 dimensions", begin(3, 1, 0).text("t").u32(99), ErrInvalid},
		{"a tensor past every file", begin(3, 1, 0).text("t").u32(2).u64(1 << 63).u64(1 << 63).u32(0).u64(0), ErrInvalid},
		{"an offset past every file", begin(3, 1, 0).text("t").u32(1).u64(8).u32(0).u64(1<<64 - 8), ErrInvalid},
		{"tensors that are not there", begin(3, 1, 0).text("t").u32(1).u64(1 << 20).u32(1).u64(0), ErrTruncated},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Read(bytes.NewReader(c.file.Bytes()), int64(c.file.Len())); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestHeader_embedding(t *testing.T) {
	for arch, want := range map[string]bool{
		"llama": false, "qwen2": false, "bert": true, "nomic-bert": true, "nomic-bert-moe": true, "jina-bert-v2": true,
		"gemma-embedding": true, "modern-bert": true, "t5": false, "t5encoder": true,
	} {
		h := Header{Architecture: arch, Pooling: PoolingAbsent}
		if h.Embedding() != want {
			t.Errorf("%s: embedding = %t", arch, !want)
		}
	}
	if h := (Header{Architecture: "qwen3", Pooling: PoolingLast}); !h.Embedding() {
		t.Error("a decoder that pools gives vectors")
	}
	if h := (Header{Architecture: "qwen3", Pooling: PoolingNone}); h.Embedding() {
		t.Error("pooling type none is no embedding model")
	}
}

func TestTensorSize(t *testing.T) {
	for _, c := range []struct {
		kind           uint32
		elements, want uint64
	}{{0, 8, 32}, {1, 8, 16}, {2, 64, 36}, {12, 512, 288}, {39, 32, 17}, {999, 64, 0}, {0, 1 << 63, 1<<64 - 1}} {
		if got := tensorSize(c.kind, c.elements); got != c.want {
			t.Errorf("type %d, %d elements: %d bytes, want %d", c.kind, c.elements, got, c.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	b := complete(model(), 32+36)
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Add([]byte("GGUF"))
	f.Add([]byte(strings.Repeat("GGUF\x03\x00\x00\x00", 9)))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := Read(bytes.NewReader(b), int64(len(b)))
		switch {
		case err == nil && h.Size > int64(len(b)):
			t.Fatalf("complete with %d of %d bytes", len(b), h.Size)
		case err != nil && !errors.Is(err, ErrNotGGUF) && !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrInvalid):
			t.Fatalf("an error of no known kind: %v", err)
		}
	})
}
