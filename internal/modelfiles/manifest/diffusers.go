package manifest

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

// PipelineIndex is at the root of a model that is made of components, each in a folder of its own.
const PipelineIndex = "model_index.json"

// componentWeights is how a component's file of weights is named: base, variant, shard, and an older place of the variant.
var componentWeights = regexp.MustCompile(`^([^.]+?)(?:\.([A-Za-z][A-Za-z0-9_]*))?(?:-(\d{5})-of-(\d{5}))?(?:\.([A-Za-z][A-Za-z0-9_]*))?\.(safetensors|bin)$`)

// selectPipeline chooses from a repository of components.
//
// Branches of each component's folder, in order:
//  1. Safetensors; when there is only pickle: refuse, because loading it runs what is inside.
//  2. Of these the variant that is asked for ("fp16"), else those without one, else those of the first variant there is.
//  3. Of a split file all parts, and each must exist.
//
// To them belong the small files of the component and of the root. Weights at the root are the same model once more, for
// other programs.
func selectPipeline(entries []Entry, want Want) (Manifest, error) {
	byFolder := map[string][]Entry{}
	var folders []string
	for _, e := range entries {
		dir := path.Dir(e.Path)
		if AtRoot(e) || strings.Contains(dir, "/") || !componentWeights.MatchString(path.Base(e.Path)) || matchesAny(never, e.Path) {
			continue
		}
		if byFolder[dir] == nil {
			folders = append(folders, dir)
		}
		byFolder[dir] = append(byFolder[dir], e)
	}
	if len(folders) == 0 {
		return Manifest{}, fail.Final(api.FailInvalidModel, fail.NoWeights, "%s names components, but none has weights; found %s. Choose another repository.", PipelineIndex, SomeNames(entries))
	}
	variant := bareTag(entries, want.Patterns)
	chosen, found := map[string]bool{}, variant == ""
	for _, dir := range folders {
		weights, err := safe(dir, byFolder[dir]) // 1
		if err != nil {
			return Manifest{}, err
		}
		weights, has := inVariant(weights, variant) // 2
		found = found || has
		if err := allShards(dir, weights); err != nil { // 3
			return Manifest{}, err
		}
		for _, w := range weights {
			chosen[w.Path] = true
		}
	}
	if !found {
		return Manifest{}, fail.Final(api.FailInvalidModel, fail.NoMatch, "no file and no variant is named %q; the source has %s. Change `files` of the model.",
			fail.Clip(variant), SomeNames(entries))
	}
	return Manifest{Format: FormatSafetensors, Files: filter(entries, func(e Entry) bool {
		small := e.Size <= MaxIndex && matchesAny(sideFiles, path.Base(e.Path)) && !matchesAny(never, e.Path)
		return chosen[e.Path] || small && strings.Count(e.Path, "/") <= 1
	})}, nil
}

// variantOf returns the variant in a name, or "": model.fp16.safetensors, model.fp16-00001-of-00002.safetensors.
func variantOf(e Entry) string {
	m := componentWeights.FindStringSubmatch(path.Base(e.Path))
	return m[2] + m[5]
}

// inVariant returns the files of a component in a variant, and whether that is the one that was asked for.
func inVariant(files []Entry, variant string) ([]Entry, bool) {
	var there []string
	for _, f := range files {
		if v := variantOf(f); !slices.Contains(there, v) {
			there = append(there, v)
		}
	}
	take := there[0]
	for _, v := range []string{"", variant} {
		if slices.Contains(there, v) {
			take = v
		}
	}
	return filter(files, func(e Entry) bool { return variantOf(e) == take }), take == variant
}

func safe(dir string, weights []Entry) ([]Entry, error) {
	out := filter(weights, func(e Entry) bool { return strings.HasSuffix(e.Path, ".safetensors") })
	if len(out) > 0 {
		return out, nil
	}
	return nil, fail.Final(api.FailInvalidModel, fail.Pickle,
		"the component %q has only pickle weights (%s), which can run code when they are loaded. To take them all the same, name all files that you want in `files`; better use a repository with safetensors.",
		fail.Clip(dir), SomeNames(weights))
}

// allShards refuses a split file of which a part is missing.
func allShards(dir string, weights []Entry) error {
	have := map[string]int{}
	for _, w := range weights {
		m := componentWeights.FindStringSubmatch(path.Base(w.Path))
		have[m[1]+"/"+m[4]]++
	}
	for _, set := range slices.Sorted(maps.Keys(have)) {
		n := have[set]
		of := strings.TrimLeft(set[strings.LastIndex(set, "/")+1:], "0")
		if of != "" && of != strconv.Itoa(n) {
			return fail.Final(api.FailInvalidModel, fail.Incomplete, "the component %q is split into %s parts and %d are there: the model is not complete. Wait until its upload is done, or choose another.",
				fail.Clip(dir), of, n)
		}
	}
	return nil
}
