package hub

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// searchable are the repositories that everybody sees and whose name has the words, as both hubs look for them.
func (h *Hub) searchable(words string) []Repo {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []Repo
	for _, id := range slices.Sorted(maps.Keys(h.repos)) {
		if repo := h.repos[id].now.Repo; !repo.Private && !repo.Disabled && strings.Contains(id, strings.ToLower(words)) {
			out = append(out, repo)
		}
	}
	return out
}

// search answers GET /api/models: with expand[], the fields that are named and the id, and nothing else.
func (h *Hub) search(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || limit < 1 {
		problem(w, 400, "", "limit must be a positive number")
		return
	}
	out := []map[string]any{}
	for _, repo := range h.searchable(q.Get("search")) {
		var gated any = false
		if repo.Gated {
			gated = "auto"
		}
		owner, _, _ := strings.Cut(repo.ID, "/")
		all := map[string]any{
			"author": owner, "createdAt": "2025-01-01T00:00:00.000Z", "downloads": 0, "gated": gated, "lastModified": "2026-01-01T00:00:00.000Z", "library_name": "gguf", "likes": 0,
			"pipeline_tag": "text-generation", "tags": []string{"gguf", "license:apache-2.0"},
		}
		one := map[string]any{"_id": "0", "id": repo.ID}
		for _, field := range q["expand[]"] {
			if _, known := all[field]; !known {
				problem(w, 400, "", "Invalid expand: "+field)
				return
			}
			one[field] = all[field]
		}
		if out = append(out, one); len(out) == limit {
			break
		}
	}
	reply(w, out)
}

// scopeSearch answers GET /openapi/v1/models, which gives at most 50 on a page.
func (h *Hub) scopeSearch(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	size, err := strconv.Atoi(q.Get("page_size"))
	if err != nil || size < 1 || size > 50 {
		w.WriteHeader(http.StatusBadRequest)
		reply(w, map[string]any{"success": false, "request_id": "test", "message": "page_size must be from 1 to 50"})
		return
	}
	found := h.searchable(q.Get("search"))
	models := []map[string]any{}
	for _, repo := range found[:min(len(found), size)] {
		models = append(models, map[string]any{
			"id": repo.ID, "display_name": repo.ID, "description": "", "downloads": 0, "likes": 0, "license": "apache-2.0", "tasks": []string{"text-generation"},
			"created_at": "2025-01-01T00:00:00Z", "last_modified": "2026-01-01T00:00:00Z", "file_size": 0, "params": 0, "tags": []string{"library:gguf"}, "private": false, "gated": repo.Gated,
		})
	}
	reply(w, map[string]any{"success": true, "request_id": "test", "data": map[string]any{"models": models, "total_count": len(found), "page_number": 1, "page_size": size}})
}
