package apply

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/nebula-serve/nebula/api"
)

// Limits of what is read.
const (
	MaxFileBytes = 1 << 20
	MaxDocs      = 10_000
)

// File is a file with documents.
type File struct {
	Name string // as people know it
	Data []byte
}

// Parse reads the documents of all files, in their order. A document that is empty or holds comments alone is skipped; one that names an object which
// another one names too is refused. What is wrong comes back as one error that names file, line and field of up to 20 problems.
func Parse(files []File) ([]Doc, error) {
	var docs []Doc
	var problems []api.Field
	first := map[Ref]Position{}
	for _, f := range files {
		found, wrong := parseFile(f)
		problems = append(problems, wrong...)
		for _, d := range found {
			if at, twice := first[d.Ref]; twice {
				problems = append(problems, api.Field{Field: d.At.String(), Reason: d.String() + " is declared already at " + at.String() + ": keep one of the two"})
				continue
			}
			first[d.Ref] = d.At
			docs = append(docs, d)
		}
		if len(docs) > MaxDocs {
			return nil, api.Errorf(api.CodeTooLarge, "these are more than %d documents: apply them in parts", MaxDocs)
		}
	}
	if len(problems) > 0 {
		return nil, invalid(firstProblems(problems))
	}
	return docs, nil
}

func parseFile(f File) ([]Doc, []api.Field) {
	at := func(line int, format string, args ...any) []api.Field {
		return []api.Field{{Field: Position{f.Name, line}.String(), Reason: fmt.Sprintf(format, args...)}}
	}
	if len(f.Data) > MaxFileBytes {
		return nil, at(1, "the file is larger than 1 MiB: split it")
	}
	data := bytes.TrimPrefix(f.Data, []byte("\ufeff"))
	if !utf8.Valid(data) {
		return nil, at(badLine(data), "the file is not UTF-8 text")
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var docs []Doc
	var problems []api.Field
	for {
		var root yaml.Node
		err := dec.Decode(&root)
		if errors.Is(err, io.EOF) {
			return docs, problems
		}
		if err != nil { // where the next document begins is not known
			return docs, append(problems, syntaxProblem(f.Name, data, err))
		}
		if empty(&root) {
			continue
		}
		d, wrong := readDoc(f.Name, root.Content[0])
		if problems = append(problems, wrong...); len(wrong) == 0 {
			docs = append(docs, d)
		}
	}
}

func empty(root *yaml.Node) bool {
	return len(root.Content) == 0 || root.Content[0].Kind == yaml.ScalarNode && root.Content[0].ShortTag() == "!!null"
}

// badLine is the line of the first byte that is not UTF-8.
func badLine(b []byte) int {
	for line := 1; ; line++ {
		l, rest, more := bytes.Cut(b, []byte("\n"))
		if !utf8.Valid(l) || !more {
			return line
		}
		b = rest
	}
}

var (
	yamlLine      = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)
	fromZero      = regexp.MustCompile(`^did not find expected (?:','|'-'|key|<|node content)`) // these count lines from zero
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced`)
)

// syntaxProblem words an error of the YAML reader.
func syntaxProblem(file string, data []byte, err error) api.Field {
	text := err.Error()
	line := 1
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		text = text[len(m[0]):]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
			if fromZero.MatchString(text) {
				line++
			}
		}
	}
	if m := unknownAnchor.FindStringSubmatch(text); m != nil {
		line = lineWith(data, "*"+m[1])
	}
	if i := tabLine(data); i > 0 && strings.Contains(text, "cannot start any token") {
		line, text = i, "is indented with a tab: YAML takes spaces alone"
	} else {
		text = "is not YAML: " + text
	}
	return api.Field{Field: Position{file, line}.String(), Reason: text}
}

// lineWith is the first line that holds text; 1 when none does.
func lineWith(data []byte, text string) int {
	before, _, found := bytes.Cut(data, []byte(text))
	if !found {
		return 1
	}
	return bytes.Count(before, []byte("\n")) + 1
}

// tabLine is the first line whose indentation holds a tab; 0 when there is none.
func tabLine(data []byte) int {
	n := 0
	for line := range bytes.Lines(data) {
		n++
		if text := bytes.TrimLeft(line, " "); len(text) > 0 && text[0] == '\t' && len(bytes.TrimSpace(text)) > 0 {
			return n
		}
	}
	return 0
}

// readDoc reads one document. Its problems are told all at once.
func readDoc(file string, root *yaml.Node) (Doc, []api.Field) {
	d := Doc{At: Position{file, root.Line}, lines: map[string]int{}}
	r := &reader{file: file, lines: d.lines, budget: MaxFileBytes}
	if root.Kind != yaml.MappingNode {
		r.wrong(root, "a document is a set of fields, such as kind: Model")
		return d, r.problems
	}
	rules, ok := r.header(root, &d)
	if !ok {
		return d, r.problems
	}
	patch, _ := r.value(root, typeOf(rules.fields()), "").(map[string]any)
	if len(r.problems) > 0 {
		return d, r.problems
	}
	delete(patch, "api_version")
	delete(patch, "kind")
	d.ID, _ = patch[rules.id].(string)
	if d.ID == "" {
		d.ID = rules.derive(patch)
	}
	if !api.KnownUID(d.ID) {
		r.problems = append(r.problems, api.Field{Field: d.line(rules.id).String(), Reason: nameProblem(rules, d.ID)})
		return d, r.problems
	}
	patch[rules.id] = d.ID
	b, err := json.Marshal(patch)
	if err != nil {
		r.wrong(root, "%v", err)
	}
	d.Patch = b
	return d, r.problems
}

func nameProblem(rules kindRules, id string) string {
	if id == "" {
		return rules.id + " is missing: name the " + rules.noun
	}
	return fmt.Sprintf("%s %.80q is not legal: use a-z, 0-9 and \"-\", start with a letter or digit, at most %d characters", rules.id, id, api.MaxUID)
}

// header reads api_version and kind.
func (r *reader) header(root *yaml.Node, d *Doc) (kindRules, bool) {
	kind, version := field(root, "kind"), field(root, "api_version")
	if version != nil && version.Value != APIVersion {
		r.wrong(version, "api_version %.80q is not known: this program reads %s", version.Value, APIVersion)
		return kindRules{}, false
	}
	if kind == nil || kind.Kind != yaml.ScalarNode {
		r.wrong(root, "kind is missing: begin the document with kind: Model or kind: Template")
		return kindRules{}, false
	}
	for _, k := range Kinds() {
		if strings.EqualFold(string(k), kind.Value) {
			d.Kind = k
			rules, ok := rulesOf(k)
			return rules, ok
		}
	}
	hint := ""
	var names []string
	for _, k := range Kinds() {
		names = append(names, string(k))
	}
	if near := closest(kind.Value, names); near != "" {
		hint = ": did you mean " + near + "?"
	}
	r.wrong(kind, "kind %.80q is unknown%s", kind.Value, hint)
	return kindRules{}, false
}

// field is the value of a mapping's key, or nil.
func field(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// closest is the option that somebody meant who wrote word, or "" when none is near.
func closest(word string, options []string) string {
	word = strings.ToLower(word)
	best, least := "", max(1, len(word)/3)+1
	for _, o := range slices.Sorted(maps.Keys(setOf(options))) {
		low := strings.ToLower(o)
		if n := distance(word, low); n < least {
			best, least = o, n
		}
	}
	if best != "" || len(word) < 3 {
		return best
	}
	for _, o := range options { // uid for model_uid, gpu_affinity for gpu_indices
		parts := strings.Split(strings.ToLower(o), "_")
		if slices.Contains(parts, word) || slices.Contains(parts, strings.Split(word, "_")[0]) {
			return o
		}
	}
	return ""
}

func setOf(list []string) map[string]bool {
	out := make(map[string]bool, len(list))
	for _, s := range list {
		out[s] = true
	}
	return out
}

// distance is the number of letters to add, drop or replace (Levenshtein).
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
