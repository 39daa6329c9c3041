package hub

import (
	"context"
	"encoding/json"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

// MostFound is how many repositories a search gives at most: ModelScope refuses to give more.
const MostFound = 50

// Found is a repository that a search has found, as the hub describes it. What the hub does not say is nil, empty or zero.
type Found struct {
	ID, Author, Task, Library, Licence string
	Downloads, Likes                   *uint64
	Tags                               []string
	Created, Updated                   time.Time
	Gated                              *bool
	Parameters, Bytes                  uint64 // of the whole repository
}

// maxFound bounds the answer to a search, in bytes.
const maxFound = 8 << 20

// Search asks the hub for models, the most downloaded first, once and without patience: somebody waits for it.
func (w *Client) Search(ctx context.Context, words string, limit int) ([]Found, error) {
	if w.Busy() > 0 {
		return nil, fail.Passing(api.FailHub, fail.RateLimited, "%s limits the number of requests", w.origin.Host)
	}
	limit = min(limit, MostFound)
	ask, read := w.faceSearch(words, limit), readFace
	if w.source == api.SourceModelScope {
		ask, read = w.scopeSearch(words, limit), readScope
	}
	a, err := w.get(ctx, ask)
	if fail.Has(err, fail.NotFound) {
		return nil, fail.Final(api.FailHub, fail.BadServer, "%s has no search for models: check the hub's address", w.origin.Host)
	}
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	found, err := read(io.LimitReader(a.Body, maxFound))
	if err := badJSON(a, err); err != nil {
		return nil, err
	}
	if found == nil {
		return nil, fail.Passing(api.FailHub, fail.BadServer, "%s gave an answer that is not what a hub says", a.at.Host)
	}
	return found[:min(len(found), limit)], nil
}

// Busy is for how long the hub has asked not to be asked; 0 = it may be.
func (w *Client) Busy() time.Duration {
	w.parked.mu.Lock()
	defer w.parked.mu.Unlock()
	return max(0, time.Until(w.parked.until["api"]))
}

func (w *Client) faceSearch(words string, limit int) string {
	q := url.Values{
		"search": {words}, "sort": {"downloads"}, "direction": {"-1"}, "limit": {strconv.Itoa(limit)},
		"expand[]": {"author", "createdAt", "downloads", "gated", "lastModified", "library_name", "likes", "pipeline_tag", "tags"},
	}
	return w.base + "/api/models?" + q.Encode()
}

func readFace(r io.Reader) ([]Found, error) {
	var list []struct {
		ID          string    `json:"id"`
		Author      string    `json:"author"`
		Downloads   *uint64   `json:"downloads"`
		Likes       *uint64   `json:"likes"`
		Tags        []string  `json:"tags"`
		PipelineTag string    `json:"pipeline_tag"`
		Library     string    `json:"library_name"`
		Gated       any       `json:"gated"` // false, or how access is given
		Created     time.Time `json:"createdAt"`
		Updated     time.Time `json:"lastModified"`
	}
	if err := json.NewDecoder(r).Decode(&list); err != nil || list == nil {
		return nil, err
	}
	out := make([]Found, 0, len(list))
	for _, m := range list {
		f := Found{
			ID: m.ID, Author: m.Author, Task: m.PipelineTag, Library: m.Library, Downloads: m.Downloads, Likes: m.Likes, Tags: m.Tags,
			Created: m.Created, Updated: m.Updated,
		}
		if m.Gated != nil {
			gated := m.Gated != false
			f.Gated = &gated
		}
		for _, tag := range m.Tags {
			if licence, ok := strings.CutPrefix(tag, "license:"); ok {
				f.Licence = licence
			}
		}
		out = append(out, f)
	}
	return out, nil
}

func (w *Client) scopeSearch(words string, limit int) string {
	q := url.Values{"search": {words}, "sort": {"downloads"}, "page_number": {"1"}, "page_size": {strconv.Itoa(limit)}}
	return w.base + "/openapi/v1/models?" + q.Encode()
}

func readScope(r io.Reader) ([]Found, error) {
	var answer struct {
		Success bool `json:"success"`
		Data    *struct {
			Models []struct {
				ID         string    `json:"id"`
				Downloads  *uint64   `json:"downloads"`
				Likes      *uint64   `json:"likes"`
				License    string    `json:"license"`
				Tasks      []string  `json:"tasks"`
				Tags       []string  `json:"tags"`
				Gated      *bool     `json:"gated"`
				Created    time.Time `json:"created_at"`
				Updated    time.Time `json:"last_modified"`
				Parameters uint64    `json:"params"`
				Bytes      uint64    `json:"file_size"`
			} `json:"models"`
		} `json:"data"`
	}
	if err := json.NewDecoder(r).Decode(&answer); err != nil || !answer.Success || answer.Data == nil {
		return nil, err
	}
	out := make([]Found, 0, len(answer.Data.Models))
	for _, m := range answer.Data.Models {
		f := Found{
			ID: m.ID, Licence: m.License, Downloads: m.Downloads, Likes: m.Likes, Tags: m.Tags, Created: m.Created, Updated: m.Updated,
			Gated: m.Gated, Parameters: m.Parameters, Bytes: m.Bytes,
		}
		if len(m.Tasks) > 0 {
			f.Task = m.Tasks[0]
		}
		for _, tag := range m.Tags {
			if library, ok := strings.CutPrefix(tag, "library:"); ok && f.Library == "" {
				f.Library = library
			}
		}
		out = append(out, f)
	}
	return out, nil
}
