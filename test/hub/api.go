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
	api.HandleFunc("GET /api/models", h.search)
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

// refusal is an answer that says no, or where to ask instead.
type refusal struct {
	status        int
	code, message string
	renamed       string // new id
}

// find returns the version that a request names, or answers why not.
func (h *Hub) find(w http.ResponseWriter, r *http.Request, rev string) (version, bool) {
	v, no := h.look(r, rev)
	switch {
	case no == nil:
		return v, true
	case no.renamed != "":
		old := "/" + r.PathValue("org") + "/" + r.PathValue("name")
		w.Header().Set("Location", strings.Replace(r.URL.RequestURI(), old, "/"+no.renamed, 1))
		w.WriteHeader(http.StatusTemporaryRedirect)
	default:
		problem(w, no.status, no.code, no.message)
	}
	return version{}, false
}

func (h *Hub) look(r *http.Request, rev string) (version, *refusal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	token, given := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	id := strings.ToLower(r.PathValue("org") + "/" + r.PathValue("name"))
	at, ok := h.repos[id]
	switch {
	case given && !h.tokens[token]:
		return version{}, &refusal{status: 401, message: "Invalid credentials in Authorization header"}
	case !ok && h.renamed[id] != "":
		return version{}, &refusal{renamed: h.renamed[id]}
	case !ok && !given, ok && at.now.Private && !given:
		return version{}, &refusal{status: 401, message: "Invalid username or password."}
	case !ok, at.now.Private && !at.now.allows(token):
		return version{}, &refusal{status: 404, code: "RepoNotFound", message: "Repository not found"}
	case at.now.Disabled:
		return version{}, &refusal{status: 403, message: "Access to this resource is disabled."}
	}
	commit := rev
	if c, ok := at.branches[rev]; ok {
		commit = c
	}
	v, ok := at.commits[commit]
	if !ok {
		return version{}, &refusal{status: 404, code: "RevisionNotFound", message: "Invalid rev id: " + rev}
	}
	return v, nil
}

// sibling is a file in the description of a repository; only ?blobs=true tells more than the name.
type sibling struct {
	Name   string   `json:"rfilename"`
	Size   *int64   `json:"size,omitempty"`
	BlobID string   `json:"blobId,omitempty"`
	LFS    *blobLFS `json:"lfs,omitempty"`
}

// blobLFS has other names than the same thing in a listing.
type blobLFS struct {
	SHA256      string `json:"sha256"`
	Size        int64  `json:"size"`
	PointerSize int    `json:"pointerSize"`
}

func (h *Hub) info(w http.ResponseWriter, r *http.Request) {
	rev := r.PathValue("rev")
	if rev == "" {
		rev = "main"
	}
	repo, ok := h.find(w, r, rev)
	if !ok {
		return
	}
	siblings := []sibling{}
	for _, e := range entries(repo) {
		s := sibling{Name: e.Path}
		if r.URL.Query().Get("blobs") != "" {
			s.Size, s.BlobID = &e.Size, e.OID
			if e.LFS != nil {
				s.LFS = &blobLFS{e.LFS.OID, e.LFS.Size, e.LFS.PointerSize}
			}
		}
		if e.Type == "file" {
			siblings = append(siblings, s)
		}
	}
	var gated any = false
	if repo.Gated {
		gated = "auto"
	}
	reply(w, map[string]any{
		"id": repo.ID, "modelId": repo.ID, "sha": repo.commit, "private": repo.Private, "gated": gated, "disabled": false,
		"siblings": siblings, "tags": []string{}, "lastModified": "2026-01-01T00:00:00.000Z",
	})
}

func (h *Hub) refs(w http.ResponseWriter, r *http.Request) {
	if _, no := h.look(r, "main"); no != nil && no.code != "RevisionNotFound" { // it may have other branches alone
		h.find(w, r, "main")
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
	repo, ok := h.find(w, r, r.PathValue("rev"))
	if !ok {
		return
	}
	defer h.listed()
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

func entries(repo version) []entry {
	out := []entry{}
	folders := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(repo.files)) {
		for i, c := range name {
			if dir := name[:i]; c == '/' && !folders[dir] {
				folders[dir] = true
				out = append(out, entry{Type: "directory", OID: GitSHA1([]byte(dir)), Path: dir})
			}
		}
		c := repo.files[name]
		e := entry{Type: "file", OID: c.gitSHA1, Size: c.size, Path: name}
		if repo.isLFS(name) {
			e.OID = GitSHA1([]byte("pointer " + c.sha256))
			e.LFS = &lfs{c.sha256, c.size, 135}
			e.XetHash = sha256Hex([]byte("xet " + c.sha256))
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
	repo, ok := h.find(w, r, r.PathValue("rev"))
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
		w.Header().Set("X-Repo-Commit", repo.commit)
	}
	c, ok := repo.files[name]
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
		q := url.Values{"etag": {`"` + c.gitSHA1 + `"`}}
		at := (&url.URL{Path: fmt.Sprintf("/api/resolve-cache/models/%s/%s/%s", repo.ID, repo.commit, name)}).EscapedPath()
		w.Header().Set("Location", at+"?"+q.Encode())
		w.WriteHeader(307)
		return
	}
	etag := c.sha256
	if f.OtherETag {
		etag = strings.Repeat("e", 64)
	}
	w.Header().Set("X-Linked-Etag", `"`+etag+`"`)
	w.Header().Set("X-Linked-Size", strconv.FormatInt(c.size, 10))
	w.Header().Set("Accept-Ranges", "bytes")
	w.Header().Set("X-Xet-Hash", sha256Hex([]byte("xet "+c.sha256)))
	w.Header().Set("Location", h.sign(repo.ID, repo.commit, name))
	w.WriteHeader(302)
}

func (h *Hub) small(w http.ResponseWriter, r *http.Request) {
	repo, ok := h.find(w, r, r.PathValue("commit"))
	if !ok {
		return
	}
	c, ok := repo.files[r.PathValue("path")]
	if !ok {
		problem(w, 404, "EntryNotFound", "Entry not found")
		return
	}
	w.Header().Set("ETag", `"`+c.gitSHA1+`"`)
	w.Header().Set("X-Repo-Commit", repo.commit)
	h.send(w, r, c)
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(v)
}
