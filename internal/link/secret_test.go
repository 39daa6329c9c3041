package link_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
)

const planted = "hf_canary0123456789"

// TestSecret_isAskedForAndKeptNowhere: by any server that answers; without one the error says so, and nothing of it is on the node's disk.
func TestSecret_isAskedForAndKeptNowhere(t *testing.T) {
	f := newFleet(t, mem(t))
	s1, s2 := f.serve("s1", "", nil), f.serve("s2", "", nil)
	f.place("m", 1, "n1")
	f.update(store.OwnerControl, func(tx *store.Tx) error {
		spec := api.ModelSpec{ModelUID: "m", ModelName: "acme/m", ModelSource: api.SourceHuggingFace, TokenSecret: "hf"}
		if err := store.Secrets.Put(tx, "hf", api.Secret{Name: "hf", Version: 1}); err != nil {
			return err
		}
		return store.Models.Put(tx, "m", spec)
	})
	f.catchUp()
	n := f.node("n1", "", nil, s1.addr, s2.addr)
	f.sees(n, "m/0")
	ask := func() (api.Token, error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return n.Secret(ctx, "m")
	}
	f.await("the token", func() bool { got, err := ask(); return err == nil && got == planted }) // a server may lag
	s1.stop()
	f.await("the token of the other server", func() bool { got, err := ask(); return err == nil && got == planted })
	if _, err := n.Secret(t.Context(), "../../../models/m"); !api.HasCode(err, api.CodeForbidden) {
		t.Errorf("a hostile uid: %v", err)
	}
	s2.stop()
	if got, err := ask(); got != "" || !api.HasCode(err, api.CodeUnavailable) || !strings.Contains(err.Error(), "no server of the cluster answers") {
		t.Errorf("without servers: %q, %v", string(got), err)
	}
	n.stop()
	files := 0
	err := filepath.WalkDir(n.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), planted) {
			t.Errorf("it is in %s", path)
		}
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("%d files on the node, %v", files, err)
	}
	if strings.Contains(f.logs(), planted) {
		t.Error("it is in a log")
	}
}
