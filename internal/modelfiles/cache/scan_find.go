package cache

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

// layout is how a program arranges the models that it downloads.
type layout int

const (
	layoutHub     layout = iota // Hugging Face's, as the official client, llama.cpp and Nebula itself write it
	layoutScope                 // ModelScope's SDK 1.x: plain files in ORG/NAME, dots in NAME masked
	layoutScope20               // ModelScope's hub client 2.0: plain files in ORG--NAME/snapshots/REVISION
	layoutPlain                 // a folder that people made: NAME or ORG/NAME
)

// place is a folder that holds a model.
type place struct {
	layout layout
	root   Root // whose records tell what of it is complete; layoutHub only, empty for another program's cache
	dir    string
	name   string // of the model
	temp   string // a folder in which a running download has files; layoutScope only
}

// names of models, as both hubs allow them.
var repoPart = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?$`)

func isRepoPart(s string) bool {
	return repoPart.MatchString(s) && !strings.Contains(s, "--") && !strings.Contains(s, "..")
}

// repoName undoes "ORG--NAME"; "" for what no hub calls a model.
func repoName(folder string) string {
	parts := strings.Split(folder, "--")
	if len(parts) > 2 || slices.ContainsFunc(parts, func(p string) bool { return !isRepoPart(p) }) {
		return ""
	}
	return strings.Join(parts, "/")
}

// unmaskedName is a model's name from the folder that ModelScope's SDK 1.x makes: it masks dots, because a folder's name becomes that of a Python
// package.
func unmaskedName(folder string) string { return strings.ReplaceAll(folder, "___", ".") }

// reserved are folders of a root that are no models of people.
var reserved = []string{"hub", "nebula", "modelscope"}

// find lists where models may be under a root, in order of preference: a model that is in two places is told of the first that is complete.
//
//  1. hub/models--ORG--NAME: ours, in the layout of Hugging Face.
//  2. .cache/huggingface/hub/models--ORG--NAME: another program's.
//  3. What ModelScope's own tools left in the root and in .cache/modelscope.
//  4. NAME and ORG/NAME.
//
// Nebula's own models of ModelScope are under a root of their own.
func (t *tree) find(r Root) []place {
	out := t.findHub(r.Hub(), r)                                                                  // 1
	out = append(out, t.findHub(filepath.Join(string(r), ".cache", "huggingface", "hub"), "")...) // 2
	out = append(out, t.findScope(string(r))...)                                                  // 3
	out = append(out, t.findScope(filepath.Join(string(r), ".cache", "modelscope"))...)           // 3
	return append(out, t.findPlain(string(r))...)                                                 // 4
}

// folders lists a folder's folders without hidden ones; none when it does not exist.
func folders(dir string) ([]string, error) {
	all, err := os.ReadDir(dir)
	var out []string
	for _, d := range all {
		if d.IsDir() && !strings.HasPrefix(d.Name(), ".") {
			out = append(out, d.Name())
		}
	}
	return out, ignoreAbsent(err)
}

// subs lists the folders of a folder, without hidden ones.
func (t *tree) subs(dir string) []string {
	f := t.look(dir)
	if f == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(f.subs), func(n string) bool { return strings.HasPrefix(n, ".") })
}

func (t *tree) findHub(hub string, r Root) []place {
	var out []place
	for _, n := range t.subs(hub) {
		if folder, ok := strings.CutPrefix(n, "models--"); ok {
			if name := repoName(folder); name != "" {
				out = append(out, place{layout: layoutHub, root: r, dir: filepath.Join(hub, n), name: name})
			}
		}
	}
	return out
}

// findScope lists the models of ModelScope's own tools below what they take for their base: hub/ORG/NAME (until 1.20), hub/models/ORG/NAME and,
// with MODELSCOPE_CACHE, models/ORG/NAME (until 1.37), models/ORG--NAME/snapshots/REVISION (2.0). ORG/NAME, of old versions with
// MODELSCOPE_CACHE, is found as a plain folder.
func (t *tree) findScope(base string) []place {
	var out []place
	for _, under := range []string{"hub", "hub/models", "models"} {
		dir := filepath.Join(base, under)
		for _, org := range t.subs(dir) {
			switch {
			case strings.Contains(org, "--"):
				if name := repoName(org); name != "" && under == "models" && t.look(filepath.Join(dir, org, "snapshots")) != nil {
					out = append(out, place{layout: layoutScope20, dir: filepath.Join(dir, org), name: name})
				}
			case under == "hub" && org == "models", !isRepoPart(org):
			default:
				out = append(out, t.scopeModels(filepath.Join(dir, org), org, filepath.Join(dir, "._____temp", org))...)
			}
		}
	}
	return out
}

// scopeModels lists the models of an organisation.
func (t *tree) scopeModels(dir, org, temp string) []place {
	var out []place
	for _, n := range t.subs(dir) {
		p := place{layout: layoutScope, dir: filepath.Join(dir, n), name: org + "/" + unmaskedName(n), temp: filepath.Join(temp, n)}
		if isRepoPart(unmaskedName(n)) && t.isModel(p.dir) {
			out = append(out, p)
		}
	}
	return out
}

// findPlain lists the folders with weights that people put in a root. Links to folders are not followed: ModelScope's SDK makes one beside each masked
// name, and what one leads to is found under its own name, or is not in the cache.
func (t *tree) findPlain(root string) []place {
	var out []place
	add := func(name string) bool {
		dir := filepath.Join(root, name)
		if manifest.NameFault(name) != "" || !t.isModel(dir) {
			return false
		}
		p := place{layout: layoutPlain, dir: dir, name: name}
		if org, n, ok := strings.Cut(name, "/"); ok && t.isScope(dir) {
			p.layout, p.name, p.temp = layoutScope, org+"/"+unmaskedName(n), filepath.Join(root, "._____temp", name)
		}
		out = append(out, p)
		return true
	}
	for _, top := range t.subs(root) {
		if slices.Contains(reserved, top) || strings.Contains(top, "--") || add(top) {
			continue
		}
		for _, sub := range t.subs(filepath.Join(root, top)) {
			add(top + "/" + sub)
		}
	}
	return out
}

// isModel tells whether a folder holds weights at its top, or what ModelScope's SDK leaves beside them.
func (t *tree) isModel(dir string) bool {
	f := t.look(dir)
	return f != nil && (t.isScope(dir) || slices.ContainsFunc(f.files, func(e file) bool {
		return manifest.IsGGUF(e.name) || strings.HasSuffix(e.name, ".safetensors") || e.name == manifest.TensorIndex
	}))
}

// isScope tells whether ModelScope's SDK 1.x made a folder. Its own lists are pickled: they are never opened.
func (t *tree) isScope(dir string) bool {
	f := t.look(dir)
	return f != nil && slices.ContainsFunc(f.files, func(e file) bool { return e.name == ".msc" || e.name == ".mdl" || e.name == ".mv" })
}

// partial tells whether a file is what some program leaves of a download that is not done.
func partial(name string) bool {
	for _, end := range []string{
		".incomplete", ".part", ".partial", ".aria2", ".downloadInProgress", ".crdownload", ".download", ".filepart", ".!qB", ".tmp",
	} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return rsyncTemp.MatchString(name)
}

// rsyncTemp is a file that rsync is writing.
var rsyncTemp = regexp.MustCompile(`^\..+\.[A-Za-z0-9]{6}$`)
