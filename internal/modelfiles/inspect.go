package modelfiles

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
	"github.com/nebula-serve/nebula/internal/modelfiles/gguf"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// inspect reads the headers of a model's weights and what its configuration says. It refuses files that no engine could
// load, before one is started on them.
func inspect(m Model) (manifest.Metadata, error) {
	if m.Format == manifest.FormatGGUF && slices.Contains(m.Files, m.Path) {
		return inspectGGUF(m)
	}
	for _, name := range m.Files {
		if strings.HasSuffix(name, ".safetensors") {
			if err := checkTensors(name); err != nil {
				return manifest.Metadata{}, err
			}
		}
	}
	return readConfig(m.Path), nil
}

func inspectGGUF(m Model) (manifest.Metadata, error) {
	var out manifest.Metadata
	for _, name := range m.Files {
		if !manifest.IsGGUF(name) && name != m.Path {
			continue
		}
		h, err := readGGUF(name)
		if err != nil {
			return manifest.Metadata{}, err
		}
		if name == m.Path {
			out = manifest.Metadata{
				Architecture: h.Architecture, Name: fail.Clip(h.Name), ContextLength: uint32(min(h.ContextLength, 1<<31)),
				Embedding: h.Embedding(), ChatTemplate: h.ChatTemplate,
			}
		}
	}
	return out, nil
}

// readGGUF reads one header.
func readGGUF(name string) (gguf.Header, error) {
	f, err := os.Open(name)
	if err != nil {
		return gguf.Header{}, cache.Unreadable(name, err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return gguf.Header{}, cache.Unreadable(name, err)
	}
	h, err := gguf.Read(f, fi.Size())
	switch {
	case err == nil:
		return h, nil
	case errors.Is(err, gguf.ErrNotGGUF):
		return h, fail.Final(api.FailNotGGUF, fail.NotGGUF, "%s is not a GGUF file: it does not begin with GGUF. Give llama.cpp a .gguf file, or choose another engine.", name).Because(err)
	case errors.Is(err, gguf.ErrTruncated):
		return h, fail.Final(api.FailModelTruncated, fail.Truncated, "%s is incomplete (%s): %v. Copy or download it again.", name, fail.Size(fi.Size()), err).Because(err)
	case errors.Is(err, gguf.ErrInvalid):
		return h, fail.Final(api.FailInvalidModel, fail.BadFile, "%s begins as a GGUF file, but %v. Copy or download it again.", name, err).Because(err)
	}
	return h, cache.Unreadable(name, err)
}

// maxTensorHeader is the format's own limit.
const maxTensorHeader = 100 << 20

// checkTensors compares a safetensors file's length with its header: eight bytes length, JSON, then the data.
func checkTensors(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return cache.Unreadable(name, err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return cache.Unreadable(name, err)
	}
	short := func(need uint64) error {
		return fail.Final(api.FailModelTruncated, fail.Truncated, "%s is incomplete: it has %d bytes and needs %d. Copy or download it again.", name, fi.Size(), need)
	}
	bad := fail.Final(api.FailInvalidModel, fail.BadFile, "%s is not a safetensors file. Copy or download it again.", name)
	var n uint64
	if err := binary.Read(f, binary.LittleEndian, &n); err != nil {
		return short(8)
	}
	switch {
	case n > maxTensorHeader:
		return bad
	case 8+n > uint64(fi.Size()):
		return short(8 + n)
	}
	var tensors map[string]json.RawMessage
	if err := json.NewDecoder(io.LimitReader(f, int64(n))).Decode(&tensors); err != nil {
		return bad.Because(err)
	}
	end := uint64(0)
	for key, raw := range tensors {
		var t struct {
			Offsets [2]uint64 `json:"data_offsets"`
		}
		if key == "__metadata__" {
			continue
		}
		if json.Unmarshal(raw, &t) != nil || t.Offsets[1] > manifest.MaxSize {
			return bad
		}
		end = max(end, t.Offsets[1])
	}
	if need := 8 + n + end; need > uint64(fi.Size()) {
		return short(need)
	}
	return nil
}

// readConfig reads what a model folder says about itself; what it does not say stays empty.
func readConfig(dir string) manifest.Metadata {
	var c struct {
		Architectures []string `json:"architectures"`
		Name          string   `json:"_name_or_path"`
		Positions     uint32   `json:"max_position_embeddings"`
		Text          struct {
			Positions uint32 `json:"max_position_embeddings"`
		} `json:"text_config"`
	}
	var m manifest.Metadata
	if disk.ReadJSON(filepath.Join(dir, "config.json"), &c) == nil {
		m.Name, m.ContextLength = fail.Clip(c.Name), max(c.Positions, c.Text.Positions)
		if len(c.Architectures) > 0 {
			m.Architecture = fail.Clip(c.Architectures[0])
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "modules.json")); err == nil { // a sentence-transformers model
		m.Embedding = true
	}
	var tokenizer struct {
		ChatTemplate any `json:"chat_template"`
	}
	if disk.ReadJSON(filepath.Join(dir, "tokenizer_config.json"), &tokenizer) == nil {
		m.ChatTemplate = tokenizer.ChatTemplate != nil
	}
	if _, err := os.Stat(filepath.Join(dir, "chat_template.jinja")); err == nil {
		m.ChatTemplate = true
	}
	return m
}

// sound tells whether a file of weights is at least as long as its header says.
func sound(path string) bool {
	if manifest.IsGGUF(path) {
		_, err := readGGUF(path)
		return err == nil
	}
	return checkTensors(path) == nil
}
