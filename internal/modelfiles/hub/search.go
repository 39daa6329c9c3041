package hub

import (
	"context"
	"io"
	"net/url"
	"strconv"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/fail"
)

// Found is a repository that a search has found, as the hub describes it.
type Found struct {
	ID          string   `json:"id"`
	Author      string   `json:"author"`
	Downloads   uint64   `json:"downloads"`
	Likes       uint64   `json:"likes"`
	Tags        []string `json:"tags"`
	PipelineTag string   `json:"pipeline_tag"`
}

// maxFound bounds the answer to a search, in bytes.
const maxFound = 8 << 20

// Search asks a Hugging Face Hub for models, the most downloaded first, once and without patience: somebody waits for it.
func (w *Client) Search(ctx context.Context, words string, limit int) ([]Found, error) {
	if w.source != api.SourceHuggingFace {
		return nil, fail.Final(api.FailHub, fail.Unsupported, "%s is not searched", w.origin.Host)
	}
	q := url.Values{"search": {words}, "sort": {"downloads"}, "direction": {"-1"}, "limit": {strconv.Itoa(limit)}}
	a, err := w.get(ctx, w.base+"/api/models?"+q.Encode())
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	var out []Found
	if err := decode(a, io.LimitReader(a.Body, maxFound), &out); err != nil {
		return nil, err
	}
	return out[:min(len(out), limit)], nil
}
