package httpapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
)

// A node asks over the wire who has its files: it gets claims for itself alone, and nonsense gets none.
func TestNodeBlobs(t *testing.T) {
	f := newFleet(t)
	c := f.join(api.MachineNode, "me")
	hash := strings.Repeat("a", 64)
	want := func(hash string, size int64) []byte {
		return fmt.Appendf(nil, `{"want":[{"hash":%q,"size":%d,"model":"acme/m","claim":"now"}]}`, hash, size)
	}
	res, text := f.do(c, "POST", "/api/v2/nodes/me/blobs", want(hash, 1<<30))
	var got api.BlobsAnswer
	if err := json.Unmarshal([]byte(text), &got); res.StatusCode != 200 || err != nil || len(got.Blobs) != 1 || !got.Blobs[0].Mine {
		t.Fatalf("%d %s (%v), want the claim", res.StatusCode, text, err)
	}
	for name, q := range map[string]struct {
		path   string
		body   []byte
		status int
	}{
		"another node's":    {"/api/v2/nodes/other/blobs", want(hash, 1<<30), 403},
		"no hash":           {"/api/v2/nodes/me/blobs", want("../../../models/m/spec", 1<<30), 400},
		"a small file":      {"/api/v2/nodes/me/blobs", want(hash, 1), 400},
		"nothing":           {"/api/v2/nodes/me/blobs", nil, 400},
		"no JSON":           {"/api/v2/nodes/me/blobs", []byte("["), 400},
		"more than fits":    {"/api/v2/nodes/me/blobs", append([]byte(`{"want":[], "x":"`), bytes.Repeat([]byte("x"), 1<<20)...), 413},
		"a drop of no hash": {"/api/v2/nodes/me/blobs", []byte(`{"want":[],"drop":["x"]}`), 400},
	} {
		if res, text := f.do(c, "POST", q.path, q.body); res.StatusCode != q.status {
			t.Errorf("%s: %d %.200s, want %d", name, res.StatusCode, text, q.status)
		}
	}
	if s, _ := f.st.Current(); s.BlobClaims.Len() != 1 {
		t.Errorf("%d claims are stored, want one", s.BlobClaims.Len())
	}
}
