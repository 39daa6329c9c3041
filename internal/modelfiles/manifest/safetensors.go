package manifest

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

const (
	// TensorIndex names the file that names the shards.
	TensorIndex = "model.safetensors.index.json"
	pickleIndex = "pytorch_model.bin.index.json"

	// MaxIndex is the size up to which a file beside the weights is taken along.
	MaxIndex = 64 << 20
)

// sideFiles are what an engine reads beside the weights: configuration, tokenizer, chat template, custom code.
var sideFiles = []string{
	"*.json", "*.txt", "*.model", "*.model.v*", "*.tiktoken", "*.jinja", "*.py", "*.yaml", "vocab.*", "chat_template*",
	"LICENSE*", "README.md",
}

// never is what an engine never opens, whatever its extension says.
var never = []string{
	"original/*", "onnx/*", "openvino/*", "*.onnx*", "coreml/*", "*.mlpackage/*", "flax_model*", "tf_model*", "*.h5",
	"*.msgpack", "*.ot", "*.ckpt", "runs/*", "*.tfevents*", "optimizer.*", "scheduler.*", "scaler.*", "rng_state*",
	"training_args.bin", "checkpoint-*/*", ".git*", "*/.git*",
}

// templates is where tokenizers keep more than one chat template.
const templates = "additional_chat_templates"

// module is a folder of a sentence-transformers model, as its modules.json lists them: "1_Pooling".
var module = regexp.MustCompile(`^\d+_[A-Za-z]+$`)

// IndexName returns the index file whose shard names Select needs first, or "".
func IndexName(entries []Entry, want Want) string {
	if want.Engine == api.EngineLlamaCPP || len(want.Patterns) > 0 || Has(entries, PipelineIndex) {
		return ""
	}
	if Has(entries, TensorIndex) {
		return TensorIndex
	}
	return ""
}

// selectTensors chooses for the engines that read a folder. What is put there decides which format they load, so it
// must be one format only.
//
// Branches, in order:
//  1. A model of components (model_index.json), each chosen from by itself (diffusers.go); of patterns it takes one bare
//     word, the variant.
//  2. Patterns: exactly what they match, also pickle: naming it is asking for it.
//  3. model.safetensors.index.json: exactly the shards it names; each must be listed.
//  4. *.safetensors at the root, but neither consolidated* nor adapters.
//  5. consolidated*.safetensors at the root: Mistral's own format.
//  6. Pickle weights: refuse, because loading them runs what is inside.
//  7. Nothing: refuse with what was seen.
//
// To 3, 4 and 5 belong the small files beside the weights.
func selectTensors(entries []Entry, want Want, idx Indexes) (Manifest, error) {
	if Has(entries, PipelineIndex) && (len(want.Patterns) == 0 || bareTag(entries, want.Patterns) != "") { // 1
		return selectPipeline(entries, want)
	}
	if len(want.Patterns) > 0 { // 2
		files, err := matching(entries, want.Patterns)
		return Manifest{Files: files, Format: formatOf(files)}, err
	}
	if Has(entries, TensorIndex) { // 3
		weights, err := indexed(entries, idx)
		if err != nil {
			return Manifest{}, err
		}
		return withSides(entries, weights, FormatSafetensors), nil
	}
	if weights := rootTensors(entries); len(weights) > 0 { // 4
		return withSides(entries, weights, FormatSafetensors), nil
	}
	if weights := consolidated(entries); len(weights) > 0 { // 5
		return withSides(entries, weights, FormatMistral), nil
	}
	return Manifest{}, noTensors(entries) // 6, 7
}

func noTensors(entries []Entry) error {
	pickle := filter(entries, func(e Entry) bool {
		return AtRoot(e) && (matchGlob("pytorch_model*.bin", e.Path) || matchGlob("*.pt", e.Path) || matchGlob("*.pth", e.Path))
	})
	if len(pickle) > 0 || Has(entries, pickleIndex) {
		return fail.Final(api.FailInvalidModel, fail.Pickle,
			"there are only pickle weights (%s), which can run code when they are loaded. To take them all the same, name them and config.json in `files`; better use a repository with safetensors.",
			SomeNames(pickle))
	}
	hint := "Choose another repository, or name the files in `files`."
	if slices.ContainsFunc(entries, func(e Entry) bool { return IsGGUF(e.Path) }) {
		hint = "For GGUF use engine_type llamacpp."
	}
	return fail.Final(api.FailInvalidModel, fail.NoWeights, "there are no safetensors weights; found %s. %s", SomeNames(entries), hint)
}

// AtRoot tells whether a file is in no folder.
func AtRoot(e Entry) bool { return !strings.Contains(e.Path, "/") }

func isConsolidated(e Entry) bool { return AtRoot(e) && matchGlob("consolidated*.safetensors", e.Path) }

func rootTensors(entries []Entry) []Entry {
	return filter(entries, func(e Entry) bool {
		return AtRoot(e) && matchGlob("*.safetensors", e.Path) && !isConsolidated(e) && !strings.HasPrefix(e.Path, "adapter_")
	})
}

func consolidated(entries []Entry) []Entry { return filter(entries, isConsolidated) }

// indexed returns the shards that the index names.
func indexed(entries []Entry, idx Indexes) ([]Entry, error) {
	names, ok := idx[TensorIndex]
	if !ok || len(names) == 0 {
		return nil, fail.Final(api.FailInvalidModel, fail.Inconsistent, "%s names no files. The repository is broken; choose another.", TensorIndex)
	}
	listed := ByPath(entries)
	var out []Entry
	for _, n := range names {
		e, ok := listed[n]
		if !ok {
			return nil, fail.Final(api.FailInvalidModel, fail.Incomplete,
				"%s names %q, which is not there: the model is not complete. Wait until its upload is done, or choose another.", TensorIndex, fail.Clip(n))
		}
		out = append(out, e)
	}
	return out, nil
}

// withSides adds what belongs to the weights, in the listing's order.
func withSides(entries, weights []Entry, format Format) Manifest {
	chosen := ByPath(weights)
	modules := Has(entries, "modules.json")
	files := filter(entries, func(e Entry) bool {
		if _, ok := chosen[e.Path]; ok {
			return true
		}
		dir := path.Dir(e.Path)
		if dir != "." && dir != templates && (!modules || !module.MatchString(dir)) {
			return false
		}
		small := e.Size <= MaxIndex && matchesAny(sideFiles, path.Base(e.Path)) && !matchesAny(never, e.Path) && e.Path != pickleIndex
		moduleWeights := dir != "." && dir != templates && matchGlob("*.safetensors", e.Path)
		return small || moduleWeights
	})
	return Manifest{Files: files, Format: format}
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matchGlob(p, name) })
}

// formatOf tells what named files are.
func formatOf(files []Entry) Format {
	switch {
	case slices.ContainsFunc(files, isConsolidated) && len(rootTensors(files)) == 0:
		return FormatMistral
	case slices.ContainsFunc(files, func(e Entry) bool { return strings.HasSuffix(e.Path, ".safetensors") }):
		return FormatSafetensors
	case slices.ContainsFunc(files, func(e Entry) bool { return IsGGUF(e.Path) }):
		return FormatGGUF
	}
	return FormatPickle
}
