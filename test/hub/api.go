package hub

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

func (h *Hub) routes() http.Handler {
	api, files := http.NewServeMux(), http.NewServeMux()
	api.HandleFunc("GET /api/resolve-cache/models/{org}/{name}/{commit}/{path...}", h.small)
	api.HandleFunc("GET /api/models/{org}/{name}", h.info)
	api.HandleFunc("GET /api/models/{org}/{name}/revision/{rev}", h.info)
	api.HandleFunc("GET /api/models/{org}/{name}/refs", h.refs)
	api.HandleFunc("GET /api/models/{org}/{name}/tree/{rev}", h.tree)
	files.HandleFunc("GET /{org}/{name}/resolve/{rev}/{path...}", h.resolve)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/") {
			api.ServeHTTP(w, r)
			return
		}
		files.ServeHTTP(w, r)
	})
}

// refusal is an answer that says no.
type refusal struct {
	status        int
	code, message string
}

// find returns the version that a request names, or answers why not.
func (h *Hub) find(w http.ResponseWriter, r *http.Request, rev string) (Repo, string, bool) {
	repo, commit, no := h.look(r, rev)
	if no != nil {
		problem(w, no.status, no.code, no.message)
		return Repo{}, "", false
	}
	return repo, commit, true
}

func (h *Hub) look(r *http.Request, rev string) (Repo, string, *refusal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	token, given := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	at, ok := h.repos[strings.ToLower(r.PathValue("org")+"/"+r.PathValue("name"))]
	switch {
	case given && !h.tokens[token]:
		return Repo{}, "", &refusal{401, "", "Invalid credentials in Authorization header"}
	case !ok && !given, ok && at.now.Private && !given:
		return Repo{}, "", &refusal{401, "", "Invalid username or password."}
	case !ok, at.now.Private && !at.now.allows(token):
		return Repo{}, "", &refusal{404, "RepoNotFound", "Repository not found"}
	case at.now.Disabled:
		return Repo{}, "", &refusal{403, "", "Access to this resource is disabled."}
	}
	commit := rev
	if c, ok := at.branches[rev]; ok {
		commit = c
	}
	repo, ok := at.commits[commit]
	if !ok {
		return Repo{}, "", &refusal{404, "RevisionNotFound", "Invalid rev id: " + rev}
	}
	return repo, commit, nil
}

func (h *Hub) info(w http.ResponseWriter, r *http.Request) {
	rev := r.PathValue("rev")
	if rev == "" {
		rev = "main"
	}
	repo, commit, ok := h.find(w, r, rev)
	if !ok {
		return
	}
	siblings := []map[string]string{}
	for _, n := range slices.Sorted(maps.Keys(repo.Files)) {
		siblings = append(siblings, map[string]string{"rfilename": n})
	}
	var gated any = false
	if repo.Gated {
		gated = "auto"
	}
	reply(w, map[string]any{
		"id": repo.ID, "modelId": repo.ID, "sha": commit, "private": repo.Private, "gated": gated, "disabled": false,
		"siblings": siblings, "tags": []string{}, "lastModified": "2026-01-01T00:00:00.000Z",
	})
}

func (h *Hub) refs(w http.ResponseWriter, r *http.Request) {
	if _, _, ok := h.find(w, r, "main"); !ok {
		return
	}
	h.mu.Lock()
	branches := maps.Clone(h.repos[strings.ToLower(r.PathValue("org")+"/"+r.PathValue("name"))].branches)
	h.mu.Unlock()
	out := []map[string]string{}
	for _, b := range slices.Sorted(maps.Keys(branches)) {
		out = append(out, map[string]string{"name": b, "ref": "refs/heads/" + b, "targetCommit": branches[b]})
	}
	reply(w, map[string]any{"branches": out, "tags": []any{}, "converts": []any{}})
}

type lfs struct {
	OID         string `json:"oid"`
	Size        int64  `json:"size"`
	PointerSize int    `json:"pointerSize"`
}

type entry struct {
	Type    string `json:"type"`
	OID     string `json:"oid"`
	Size    int64  `json:"size"`
	LFS     *lfs   `json:"lfs,omitempty"`
	XetHash string `json:"xetHash,omitempty"`
	Path    string `json:"path"`
}

// tree lists files and folders, in pages that a Link header connects.
func (h *Hub) tree(w http.ResponseWriter, r *http.Request) {
	repo, _, ok := h.find(w, r, r.PathValue("rev"))
	if !ok {
		return
	}
	f := h.fault()
	if f.BadListing {
		_, _ = w.Write([]byte(`[{"type":"file","path":"a"},<html>`))
		return
	}
	all := entries(repo)
	from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
	from = min(max(from, 0), len(all))
	to := len(all)
	if f.PageSize > 0 {
		to = min(from+f.PageSize, to)
	}
	next := to
	if next == len(all) && f.EndlessNext {
		next = 0
	}
	if next < len(all) || f.HugeListing {
		origin := h.URL
		if f.NextHost != "" {
			origin = f.NextHost
		}
		q := r.URL.Query()
		q.Set("cursor", strconv.Itoa(next))
		if f.HugeListing {
			n, _ := strconv.Atoi(q.Get("page"))
			q.Set("page", strconv.Itoa(n+1))
			for i := range 4_000 {
				all = append(all, entry{Type: "file", OID: strings.Repeat("0", 40), Path: fmt.Sprintf("f-%d-%d", n, i)})
			}
			to = len(all)
		}
		w.Header().Set("Link", fmt.Sprintf(`<%s%s?%s>; rel="next"`, origin, r.URL.EscapedPath(), q.Encode()))
	}
	reply(w, all[from:to])
}

func entries(repo Repo) []entry {
	out := []entry{}
	folders := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(repo.Files)) {
		for i, c := range name {
			if dir := name[:i]; c == '/' && !folders[dir] {
				folders[dir] = true
				out = append(out, entry{Type: "directory", OID: GitSHA1([]byte(dir)), Path: dir})
			}
		}
		b := repo.Files[name]
		e := entry{Type: "file", OID: GitSHA1(b), Size: int64(len(b)), Path: name}
		if repo.isLFS(name) {
			sum := sha256Hex(b)
			e.OID = GitSHA1([]byte("pointer " + sum))
			e.LFS = &lfs{sum, int64(len(b)), 135}
			e.XetHash = sha256Hex([]byte("xet " + sum))
		}
		out = append(out, e)
	}
	for _, l := range repo.Listed {
		out = append(out, entry{Type: "file", OID: GitSHA1([]byte(l.Path)), Size: l.Size, Path: l.Path})
	}
	return out
}

// resolve leads to a file: large ones to the CDN by an absolute, signed address, small ones by a relative one.
func (h *Hub) resolve(w http.ResponseWriter, r *http.Request) {
	repo, commit, ok := h.find(w, r, r.PathValue("rev"))
	if !ok {
		return
	}
	name, f := r.PathValue("path"), h.fault()
	token, given := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if repo.Gated && !repo.allows(token) {
		status := 401
		if given {
			status = 403
		}
		problem(w, status, "GatedRepo", "Access to model "+repo.ID+" is restricted. You must be authenticated to access it.")
		return
	}
	if f.OtherCommit {
		w.Header().Set("X-Repo-Commit", strings.Repeat("e", 40))
	} else {
		w.Header().Set("X-Repo-Commit", commit)
	}
	content, ok := repo.Files[name]
	if !ok || slices.Contains(f.Gone, name) {
		problem(w, 404, "EntryNotFound", "Entry not found")
		return
	}
	if h.fire(func(f *Faults) *int { return &f.Redirect }) {
		w.Header().Set("Location", f.RedirectTo)
		w.WriteHeader(302)
		return
	}
	if !repo.isLFS(name) {
		q := url.Values{"etag": {`"` + GitSHA1(content) + `"`}}
		at := (&url.URL{Path: fmt.Sprintf("/api/resolve-cache/models/%s/%s/%s", repo.ID, commit, name)}).EscapedPath()
		w.Header().Set("Location", at+"?"+q.Encode())
		w.WriteHeader(307)
		return
	}
	sum := sha256Hex(content)
	etag := sum
	if f.OtherETag {
		etag = strings.Repeat("e", 64)
	}
	w.Header().Set("X-Linked-Etag", `"`+etag+`"`)
	w.Header().Set("X-Linked-Size", strconv.Itoa(len(content)))
	w.Header().Set("Accept-Ranges", "bytes")
	w.Header().Set("X-Xet-Hash", sha256Hex([]byte("xet "+sum)))
	w.Header().Set("Location", h.sign(repo.ID, commit, name))
	w.WriteHeader(302)
}

func (h *Hub) small(w http.ResponseWriter, r *http.Request) {
	repo, commit, ok := h.find(w, r, r.PathValue("commit"))
	if !ok {
		return
	}
	content, ok := repo.Files[r.PathValue("path")]
	if !ok {
		problem(w, 404, "EntryNotFound", "Entry not found")
		return
	}
	w.Header().Set("ETag", `"`+GitSHA1(content)+`"`)
	w.Header().Set("X-Repo-Commit", commit)
	h.send(w, r, content)
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(v)
}
