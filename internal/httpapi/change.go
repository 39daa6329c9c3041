package httpapi

import (
	"context"
	"io"
	"net/http"

	"github.com/nebula-serve/nebula/api"
)

// change is the one shape of every write to a model: precondition, body, verb, ETag, and the answer, which says in a dry run what would come of it.
func change[Req, Doc, Res any](s *server, w http.ResponseWriter, r *http.Request, optionalBody bool,
	verb func(ctx context.Context, uid string, req Req, ifMatch int64) (Doc, error), answer func(Doc, *api.Explanation) Res,
) error {
	rev, err := ifMatch(r)
	if err != nil {
		return err
	}
	var req Req
	if err := decode(r, &req, optionalBody); err != nil {
		return err
	}
	uid := r.PathValue("uid")
	doc, err := verb(r.Context(), uid, req, rev)
	if err != nil {
		return err
	}
	s.setETag(w, uid)
	writeJSON(w, http.StatusOK, answer(doc, s.foretell(r, uid)))
	return nil
}

// relay copies src to the caller as it comes.
func relay(w http.ResponseWriter, src io.Reader) error {
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	_ = rc.Flush() // a writer that cannot flush sends at the end
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return nil // the caller has left
			}
			_ = rc.Flush()
		}
		if err != nil {
			return nil // the answer has begun: its end is all that can be said
		}
	}
}
