package hub

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Codes of ModelScope's answers. All its refusals are HTTP 404: only the code tells them apart.
const (
	scopeOK         = 200
	scopeNoModel    = 10010205001
	scopeNoAccess   = 10010200001 // private or gated; it does not say which
	scopeNoTree     = 10990101004 // nothing at that revision
	scopeNoFile     = 10990101003 // made up: the real one is not known here
	scopeMostListed = 3000        // entries of one listing; what is more is left out without a word
)

const scopeAPI = "/api/v1/models/{org}/{name}"

func (h *Hub) scopeRoutes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /openapi/v1/models", h.scopeSearch)
	m.HandleFunc("GET "+scopeAPI+"/revisions", h.scopeRevisions)
	m.HandleFunc("GET "+scopeAPI+"/repo/files", h.scopeList)
	m.HandleFunc("GET "+scopeAPI+"/repo", h.scopeFile)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code := h.fault().ScopeCode; code != 0 {
			h.mu.Lock()
			h.happened.ScopeCode++
			h.mu.Unlock()
			scopeReply(w, http.StatusOK, code, "something is wrong", nil)
			return
		}
		m.ServeHTTP(w, r)
	})
}

// isScopeFile tells the path under which ModelScope itself sends files.
func isScopeFile(p string) bool {
	return strings.HasPrefix(p, "/api/v1/models/") && strings.HasSuffix(p, "/repo")
}

// scopeReply is the envelope of every answer that is no file.
func scopeReply(w http.ResponseWriter, status, code int, message string, data any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	reply(w, map[string]any{"Code": code, "Message": message, "RequestId": "test", "Success": code == scopeOK, "Data": data})
}

// scopeToken is what a request identifies itself with: the token in the cookie and in the header, or nobody. Old and new
// services of ModelScope look at one of them each.
func scopeToken(r *http.Request) string {
	cookie, err := r.Cookie("m_session_id")
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if err != nil || cookie.Value != bearer {
		return ""
	}
	return bearer
}

// scopeFind returns the version that a request names, or answers why not.
func (h *Hub) scopeFind(w http.ResponseWriter, r *http.Request) (version, bool) {
	h.mu.Lock()
	at, ok := h.repos[strings.ToLower(r.PathValue("org")+"/"+r.PathValue("name"))]
	var v version
	no := 0
	switch {
	case !ok:
		no = scopeNoModel
	case (at.now.Private || at.now.Disabled) && !at.now.allows(scopeToken(r)):
		no = scopeNoAccess
	default:
		if v, ok = at.commits[at.branches[scopeRevision(at, r.URL.Query().Get("Revision"))]]; !ok {
			no = scopeNoTree
		}
	}
	h.mu.Unlock()
	if no != 0 {
		scopeReply(w, http.StatusNotFound, no, "record not found", nil)
		return version{}, false
	}
	return v, true
}

// scopeRevision is the branch that a request means: the default one is master here, and main at the other hub.
func scopeRevision(at *history, asked string) string {
	if asked == "" {
		asked = "master"
	}
	if _, ok := at.branches[asked]; !ok && asked == "master" {
		return "main"
	}
	return asked
}

func (h *Hub) scopeRevisions(w http.ResponseWriter, r *http.Request) {
	if _, ok := h.scopeFind(w, r); !ok {
		return
	}
	h.mu.Lock()
	branches := slices.Sorted(maps.Keys(h.repos[strings.ToLower(r.PathValue("org")+"/"+r.PathValue("name"))].branches))
	h.mu.Unlock()
	out := []map[string]any{}
	for _, b := range branches {
		if b == "main" && !slices.Contains(branches, "master") {
			b = "master"
		}
		out = append(out, map[string]any{"Revision": b, "CreatedAt": 1735689600})
	}
	scopeReply(w, http.StatusOK, scopeOK, "", map[string]any{"RevisionMap": map[string]any{"Branches": out, "Tags": []any{}}})
}

// scopeEntry is an entry of a listing.
type scopeEntry struct {
	Name, Path, Type string
	Size             int64
	SHA256           string `json:"Sha256"`
	Revision         string // commit that last touched the file; of no use as a revision
	IsLFS            bool
	CommittedDate    int64
}

func (h *Hub) scopeList(w http.ResponseWriter, r *http.Request) {
	v, ok := h.scopeFind(w, r)
	if !ok {
		return
	}
	f, q := h.fault(), r.URL.Query()
	all := scopeEntries(v, q.Get("Root"), strings.EqualFold(q.Get("Recursive"), "true"), f.NoSHA256)
	h.listed()
	if f.BadListing {
		_, _ = w.Write([]byte(`{"Code":200,"Data":{"Files":[{"Path":<html>`))
		return
	}
	if len(all) == 0 && f.NullFiles {
		all = nil
	}
	scopeReply(w, http.StatusOK, scopeOK, "", map[string]any{"Files": all[:min(len(all), scopeMostListed)]})
}

// scopeEntries lists what is below a folder, or only right in it.
func scopeEntries(v version, root string, recursive, noSHA256 bool) []scopeEntry {
	out := []scopeEntry{}
	for _, e := range entries(v) {
		below := root == "" || strings.HasPrefix(e.Path, strings.Trim(root, "/")+"/")
		if !below || !recursive && path.Dir(e.Path) != path.Clean(root) {
			continue
		}
		s := scopeEntry{Name: path.Base(e.Path), Path: e.Path, Type: "blob", Size: e.Size, Revision: v.commit, IsLFS: e.LFS != nil, CommittedDate: 1735689600}
		if e.Type == "directory" {
			s.Type = "tree"
		}
		if s.IsLFS || !noSHA256 {
			s.SHA256 = v.files[e.Path].sha256
		}
		if _, ok := v.files[e.Path]; !ok && s.Type == "blob" {
			s.SHA256 = sha256Hex([]byte(e.Path))
		}
		out = append(out, s)
	}
	return out
}

// scopeFile sends a small file itself and leads to the CDN for a large one.
func (h *Hub) scopeFile(w http.ResponseWriter, r *http.Request) {
	v, ok := h.scopeFind(w, r)
	if !ok {
		return
	}
	name, f := r.URL.Query().Get("FilePath"), h.fault()
	c, ok := v.files[name]
	switch {
	case v.Gated && !v.allows(scopeToken(r)):
		scopeReply(w, http.StatusNotFound, scopeNoAccess, "record not found", nil)
	case !ok || slices.Contains(f.Gone, name):
		scopeReply(w, http.StatusNotFound, scopeNoFile, fmt.Sprintf("file %s not found", name), nil)
	case h.fire(func(f *Faults) *int { return &f.Redirect }):
		w.Header().Set("Location", f.RedirectTo)
		w.WriteHeader(http.StatusFound)
	case v.isLFS(name) && !f.ScopeDirect:
		w.Header().Set("Location", h.sign(v.ID, v.commit, name))
		w.WriteHeader(http.StatusFound)
	default:
		w.Header().Set("Content-Disposition", "attachment; filename="+url.PathEscape(path.Base(name)))
		h.send(w, r, c)
	}
}
