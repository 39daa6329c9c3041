// Package manifest chooses the files of a model that an engine needs, from a listing of what there is. It is pure.
package manifest

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

// Algo is a way to name content by its bytes.
type Algo string

// The two that the Hub uses, and the lack of one.
const (
	SHA256  Algo = "sha256"   // of the content: large files
	GitSHA1 Algo = "git-sha1" // sha1 of "blob ", the decimal length, NUL and the content: small files
	None    Algo = "none"     // the source did not say: a name made of path and size, until the content is here
)

// Hash names content. The zero value means that nobody told.
type Hash struct {
	Algo Algo   `json:"algo"`
	Hex  string `json:"hash"` // lower case; 64 digits for sha256, 40 for git-sha1
}

// MaxSize is more than any file of a model has, in bytes; a larger figure is a mistake or an attack.
const MaxSize = 1 << 50

// Entry is one file as a repository or folder lists it.
type Entry struct {
	Path string `json:"path"` // relative, with "/"
	Size int64  `json:"size"`
	Hash

	// Unverified tells that the source gave no hash: Hash is of what came.
	Unverified bool   `json:"unverified,omitempty"`
	XetHash    string `json:"xet_hash,omitempty"` // the Hub's name of the content in its newer store; nothing is done with it
}

// Format is what the chosen weights are.
type Format string

// The formats.
const (
	FormatGGUF        Format = "gguf"
	FormatSafetensors Format = "safetensors"
	FormatMistral     Format = "mistral" // consolidated*.safetensors with params.json
	FormatPickle      Format = "pickle"  // only when people name the files themselves
)

// Want says what the files are for.
type Want struct {
	Engine   string   // one of api.Engines()
	Patterns []string // of the spec; empty = Nebula chooses
}

// Skipped is a file that was left where it is, and why; only the larger ones are told.
type Skipped struct {
	Path string
	Size int64
	Why  string
}

// Manifest is the choice: exactly the files that the engine needs.
type Manifest struct {
	Files   []Entry
	Primary string // of the file that the engine is given; empty = the folder
	MMProj  string // vision projector, if any
	Format  Format
	Skipped []Skipped
}

// Total is the size of all files in bytes.
func (m *Manifest) Total() int64 {
	var n int64
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// tellSkipped is the size from which a skipped file is worth a word.
const tellSkipped = 1 << 20

// Indexes holds the shard names of index files, by the index's path.
type Indexes map[string][]string

// Select chooses from a listing. It is pure: the same listing gives the same choice on every node.
//
// Branches, in order:
//  1. A name in the listing that could leave its folder: refuse all of it.
//  2. GGUF engine: as `llama.cpp -hf` chooses (manifest_gguf.go).
//  3. Other engines: safetensors by index (manifest_safetensors.go).
//
// In both, patterns override the choice. What was chosen must not clash on a disk that ignores case.
func Select(entries []Entry, want Want, idx Indexes) (Manifest, error) {
	if err := CheckNames(entries); err != nil { // 1
		return Manifest{}, err
	}
	choose := selectTensors // 3
	if want.Engine == api.EngineLlamaCPP {
		choose = selectGGUF // 2
	}
	m, err := choose(entries, want, idx)
	if err != nil {
		return Manifest{}, err
	}
	if err := checkCase(m.Files); err != nil {
		return Manifest{}, err
	}
	m.Skipped = skipped(entries, m)
	return m, nil
}

func skipped(entries []Entry, m Manifest) []Skipped {
	chosen := ByPath(m.Files)
	var out []Skipped
	for _, e := range entries {
		if _, ok := chosen[e.Path]; !ok && e.Size >= tellSkipped {
			out = append(out, Skipped{e.Path, e.Size, whySkipped(e, m.Format, chosen)})
		}
	}
	return out
}

// otherKinds says what files are that no engine of ours opens.
var otherKinds = []struct {
	patterns []string
	why      string
}{
	{[]string{"original/*"}, "the weights as they were before they were converted"},
	{[]string{"onnx/*", "*.onnx*"}, "weights for ONNX"},
	{[]string{"openvino/*"}, "weights for OpenVINO"},
	{[]string{"coreml/*", "*.mlpackage/*"}, "weights for Core ML"},
	{[]string{"flax_model*", "*.msgpack"}, "weights for Flax"},
	{[]string{"tf_model*", "*.h5"}, "weights for TensorFlow"},
	{[]string{"*.ot"}, "weights for Rust programs"},
	{[]string{"optimizer.*", "scheduler.*", "scaler.*", "rng_state*", "training_args.bin", "checkpoint-*/*", "runs/*", "*.tfevents*"}, "left over from training"},
	{[]string{"*.png", "*.jpg", "*.jpeg", "*.gif", "*.webp", "*.mp4", "*.pdf", "*.wav"}, "pictures and films"},
}

// whySkipped gives the reason for people who wonder what became of a large file.
func whySkipped(e Entry, f Format, chosen map[string]Entry) string {
	name := e.Path
	base := path.Base(name)
	for _, k := range otherKinds {
		if f != FormatGGUF && matchesAny(k.patterns, name) {
			return k.why
		}
	}
	switch {
	case f == FormatGGUF && IsGGUF(name) && slices.ContainsFunc(notModels, func(n string) bool { return strings.Contains(base, n) }):
		return "a helper of the model that is not needed"
	case f == FormatGGUF && IsGGUF(name):
		return "another quantisation or part"
	case f == FormatGGUF:
		return "llama.cpp reads GGUF only"
	case IsGGUF(name):
		return "this engine does not read GGUF"
	case strings.HasPrefix(base, "adapter_"):
		return "an adapter, not the model"
	case isConsolidated(e) && f != FormatMistral:
		return "the same weights in Mistral's own format"
	case isPickle(name) && f != FormatPickle:
		return "the same weights as pickle, which can run code"
	case chosen[PipelineIndex].Path != "" && AtRoot(e) && isWeights(name):
		return "the whole model once more, for other programs"
	case chosen[PipelineIndex].Path != "" && isWeights(name):
		return "another variant of a component"
	case isWeights(name):
		return "not the weights that the engine loads"
	}
	return "the engine does not open it"
}

func isPickle(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".bin", ".pt", ".pth", ".ckpt", ".pkl":
		return true
	}
	return false
}

// Has tells whether a file of that path is listed.
func Has(files []Entry, name string) bool {
	return slices.ContainsFunc(files, func(e Entry) bool { return e.Path == name })
}

// ByPath indexes entries: hostile listings are long.
func ByPath(entries []Entry) map[string]Entry {
	out := make(map[string]Entry, len(entries))
	for _, e := range entries {
		out[e.Path] = e
	}
	return out
}

func filter(entries []Entry, keep func(Entry) bool) []Entry {
	var out []Entry
	for _, e := range entries {
		if keep(e) {
			out = append(out, e)
		}
	}
	return out
}

// matching returns the entries that any pattern matches, in the listing's order.
func matching(entries []Entry, patterns []string) ([]Entry, error) {
	out := filter(entries, func(e Entry) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return matchGlob(p, e.Path) })
	})
	if len(out) == 0 {
		return nil, fail.Final(api.FailInvalidModel, fail.NoMatch, "no file matches %s; the source has %s. Change `files` of the model.",
			fail.Quoted(patterns), SomeNames(entries))
	}
	return out, nil
}

// IsGGUF tells whether a name is that of a GGUF file.
func IsGGUF(name string) bool { return strings.HasSuffix(strings.ToLower(name), ".gguf") }

func isWeights(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx":
		return true
	}
	return false
}

// SomeNames lists what there is, the weights first, shortened for a sentence.
func SomeNames(entries []Entry) string {
	names := make([]string, 0, len(entries))
	for _, weights := range []bool{true, false} {
		for _, e := range entries {
			if isWeights(e.Path) == weights {
				names = append(names, e.Path)
			}
		}
	}
	if len(names) == 0 {
		return "no files"
	}
	const most = 6
	if extra := len(names) - most; extra > 0 {
		return fmt.Sprintf("%s and %d more", fail.Quoted(names[:most]), extra)
	}
	return fail.Quoted(names)
}

// Metadata is what the files say about the model.
type Metadata struct {
	Architecture  string `json:"architecture,omitempty"` // "llama", "LlamaForCausalLM"
	Name          string `json:"name,omitempty"`
	ContextLength uint32 `json:"context_length,omitempty"` // tokens it was trained for; 0 = unknown
	Embedding     bool   `json:"embedding,omitempty"`      // it gives vectors, not text
	ChatTemplate  bool   `json:"chat_template,omitempty"`
}
