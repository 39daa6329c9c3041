package manifest

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

// Base names that hold something else than the model.
var notModels = []string{"mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-"}

// defaultTags is the order in which llama.cpp looks for a quantisation when none is named.
var defaultTags = []string{"Q4_K_M", "Q8_0"}

var (
	splitName = regexp.MustCompile(`^(.*)-(\d{5})-of-(\d{5})\.gguf$`)
	lastTag   = regexp.MustCompile(`[-.]([^-.]+)$`)
	number    = regexp.MustCompile(`\d+`)
)

// selectGGUF chooses as `llama.cpp -hf name[:tag]` does, so that both agree on what a name means.
//
// Branches, in order:
//  1. One pattern that is a bare word ("Q5_K_M") and matches no file is a tag.
//  2. Patterns: exactly what they match, with split models completed; the model is chosen among them as in 4.
//  3. A llama.cpp preset at the root: refuse, because it means something else than the files beside it.
//  4. The first file whose path contains the tag; without a tag Q4_K_M, then Q8_0, then the first file.
//  5. Of a split model all parts, and each must exist.
//  6. The vision projector that fits it best.
func selectGGUF(entries []Entry, want Want, _ Indexes) (Manifest, error) {
	tag := bareTag(entries, want.Patterns) // 1
	if len(want.Patterns) > 0 && tag == "" {
		return selectGGUFNamed(entries, want.Patterns) // 2
	}
	if Has(entries, "preset.ini") { // 3
		return Manifest{}, fail.Final(api.FailInvalidModel, fail.Preset,
			"the repository holds a llama.cpp preset (preset.ini), which Nebula does not read. Name the model file in `files`.")
	}
	model, err := pickModel(entries, tag) // 4
	if err != nil {
		return Manifest{}, err
	}
	parts, err := Parts(ByPath(entries), model) // 5
	if err != nil {
		return Manifest{}, err
	}
	m := Manifest{Files: parts, Primary: parts[0].Path, Format: FormatGGUF}
	if p, ok := projector(entries, model); ok { // 6
		m.MMProj = p.Path
		m.Files = append(m.Files, p)
	}
	return m, nil
}

// bareTag returns the tag when the patterns are one word that names no file.
func bareTag(entries []Entry, patterns []string) string {
	if len(patterns) != 1 || strings.ContainsAny(patterns[0], "*?[/. ") || Has(entries, patterns[0]) {
		return ""
	}
	return patterns[0]
}

func selectGGUFNamed(entries []Entry, patterns []string) (Manifest, error) {
	files, err := matching(entries, patterns)
	if err != nil {
		return Manifest{}, err
	}
	m := Manifest{Files: files, Format: FormatGGUF}
	all, chosen := ByPath(entries), ByPath(files)
	sets := map[string]bool{} // each is completed once
	for _, f := range files {
		set := splitName.ReplaceAllString(f.Path, "$1/$3")
		if sets[set] {
			continue
		}
		sets[set] = true
		parts, err := Parts(all, f)
		if err != nil {
			return Manifest{}, err
		}
		for _, p := range parts {
			if _, ok := chosen[p.Path]; !ok {
				chosen[p.Path] = p
				m.Files = append(m.Files, p)
			}
		}
	}
	model, err := pickModel(m.Files, "")
	if err != nil {
		return Manifest{}, err
	}
	m.Primary = model.Path
	if p, ok := projector(m.Files, model); ok {
		m.MMProj = p.Path
	}
	return m, nil
}

// Candidates lists the files that can be the model: of a split one the first part alone.
func Candidates(entries []Entry) []Entry {
	return filter(entries, func(e Entry) bool {
		base := path.Base(e.Path)
		if !IsGGUF(base) || slices.ContainsFunc(notModels, func(n string) bool { return strings.Contains(base, n) }) {
			return false
		}
		s := splitName.FindStringSubmatch(base)
		return s == nil || s[2] == "00001"
	})
}

func pickModel(entries []Entry, tag string) (Entry, error) {
	all := Candidates(entries)
	if len(all) == 0 {
		return Entry{}, fail.Final(api.FailInvalidModel, fail.NoWeights,
			"there is no GGUF model for llama.cpp; found %s. Use a GGUF repository (often named …-GGUF), or engine_type vllm for safetensors.",
			SomeNames(entries))
	}
	tags := defaultTags
	if tag != "" {
		tags = []string{tag}
	}
	for _, t := range tags {
		is := regexp.MustCompile(`(?i)` + regexp.QuoteMeta(t) + `[.-]`)
		if i := slices.IndexFunc(all, func(e Entry) bool { return is.MatchString(e.Path) }); i >= 0 {
			return all[i], nil
		}
	}
	if tag != "" {
		return Entry{}, fail.Final(api.FailInvalidModel, fail.NoMatch, "no file and no quantisation is named %q; the source has %s. Change `files` of the model.",
			fail.Clip(tag), SomeNames(all))
	}
	return all[0], nil
}

// Parts returns the parts of a split model in order, or just the file.
func Parts(listed map[string]Entry, model Entry) ([]Entry, error) {
	dir, base := path.Split(model.Path)
	s := splitName.FindStringSubmatch(base)
	if s == nil {
		return []Entry{model}, nil
	}
	n, err := strconv.Atoi(s[3])
	if err != nil || n < 1 {
		return nil, fail.Final(api.FailInvalidModel, fail.Incomplete, "%q says that it is a part of %s parts", fail.Clip(model.Path), s[3])
	}
	var parts []Entry
	var missing []string
	for i := 1; i <= n; i++ {
		name := fmt.Sprintf("%s%s-%05d-of-%s.gguf", dir, s[1], i, s[3])
		if e, ok := listed[name]; ok {
			parts = append(parts, e)
		} else {
			missing = append(missing, path.Base(name))
		}
	}
	if len(missing) > 0 {
		return nil, fail.Final(api.FailInvalidModel, fail.Incomplete, "the model is split into %d parts and %d are missing: %s. Choose another quantisation with `files`, or another repository.",
			n, len(missing), fail.Quoted(missing[:min(len(missing), 4)]))
	}
	return parts, nil
}

// projector returns the vision projector for a model: in the model's folder or above it, the deepest first, then the
// one whose bits per weight are nearest.
func projector(entries []Entry, model Entry) (Entry, bool) {
	var best Entry
	bestDepth, bestGap := -1, 0
	dir, bits := path.Dir(model.Path), bitsOf(model.Path)
	for _, e := range entries {
		base := path.Base(e.Path)
		at := path.Dir(e.Path)
		if !IsGGUF(base) || !strings.Contains(base, "mmproj") || at != "." && at != dir && !strings.HasPrefix(dir, at+"/") {
			continue
		}
		depth := 0
		if at != "." {
			depth = 1 + strings.Count(at, "/")
		}
		gap := bitsOf(e.Path) - bits
		gap = max(gap, -gap)
		if depth > bestDepth || depth == bestDepth && gap < bestGap {
			best, bestDepth, bestGap = e, depth, gap
		}
	}
	return best, bestDepth >= 0
}

// bitsOf reads the bits per weight from a name's last tag: Q4_K_M is 4, BF16 is 16; 0 when it has none.
func bitsOf(name string) int {
	base := path.Base(name)
	if s := splitName.FindStringSubmatch(base); s != nil {
		base = s[1]
	} else {
		base = base[:len(base)-len(".gguf")]
	}
	tag := lastTag.FindStringSubmatch(base)
	if tag == nil {
		return 0
	}
	n, err := strconv.Atoi(number.FindString(tag[1]))
	if err != nil {
		return 0
	}
	return n
}

// IsPart tells whether a base name is that of one part of a split model.
func IsPart(base string) bool { return splitName.MatchString(base) }
