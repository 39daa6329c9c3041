package modelfiles

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/cache"
	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
)

// verifyTell is how often a verification tells how far it is.
const verifyTell = time.Second

// Verify reads every file of a model in the cache, or of all, and compares it with its hash. A damaged one is told, and marked so that the next start
// fetches it again; it is not deleted. It ends with a [api.VerifyEnd], or with an error.
func (s *Store) Verify(ctx context.Context, model string, tell func(api.VerifyEvent) error) error {
	surveys, total, err := s.toVerify(ctx, model)
	if err != nil {
		return err
	}
	at := api.VerifyEvent{Type: api.VerifyProgress, NodeID: s.cfg.NodeID}
	for _, v := range surveys {
		at.FilesTotal += len(v.names)
	}
	at.TotalBytes = uint64(total)
	told := time.Now()
	if err := tell(at); err != nil {
		return err
	}
	for _, v := range surveys {
		at.ModelName = v.Dir.Model()
		for _, content := range v.order {
			at.File = v.names[content]
			var gone error
			c, err := v.Dir.Verify(ctx, v.Survey, content, func(n int) {
				at.DoneBytes += uint64(n)
				if now := time.Now(); gone == nil && now.Sub(told) >= verifyTell {
					told, gone = now, tell(at)
				}
			})
			if gone != nil {
				return gone
			}
			if err != nil {
				return disk.Explain(string(v.Dir.Root), "verify files", err)
			}
			at.Files++
			if c.Fault == "" {
				continue
			}
			at.Damaged++
			found := at
			found.Type, found.Path, found.Fault = api.VerifyDamaged, c.Path, c.Fault
			s.cfg.Log.Warn("file is damaged", "model", found.ModelName, "file", found.File, "path", found.Path, "fault", found.Fault)
			if err := tell(found); err != nil {
				return err
			}
		}
	}
	at.Type, at.ModelName, at.File = api.VerifyEnd, model, ""
	return tell(at)
}

// verifying is a repository whose contents are read.
type verifying struct {
	cache.Survey
	names map[string]string
	order []string // contents, by the name that a model has for them
}

// toVerify lists what is to be read, and how many bytes that is.
func (s *Store) toVerify(ctx context.Context, model string) (out []verifying, total int64, err error) {
	s.mu.Lock()
	roots := slices.Sorted(maps.Keys(s.roots))
	s.mu.Unlock()
	for _, r := range roots {
		dirs, err := r.Repositories()
		if err != nil {
			return nil, 0, disk.Explain(string(r), "list files", err)
		}
		for _, d := range dirs {
			if model != "" && d.Model() != model {
				continue
			}
			sv, err := d.Surveyed(ctx)
			if err != nil {
				return nil, 0, disk.Explain(string(r), "list files", err)
			}
			v := verifying{Survey: sv}
			var bytes int64
			v.names, bytes = sv.Contents()
			v.order = slices.SortedFunc(maps.Keys(v.names), func(a, b string) int { return cmp.Compare(v.names[a], v.names[b]) })
			out, total = append(out, v), total+bytes
		}
	}
	if model != "" && len(out) == 0 {
		return nil, 0, api.Errorf(api.CodeNotFound, "there is no model %q in the cache of node %s; list them with: nebula cache list --node %s", model, s.cfg.NodeID, s.cfg.NodeID)
	}
	return out, total, nil
}
