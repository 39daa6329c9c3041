package cache

import (
	"hash/crc32"
	"os"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/internal/modelfiles/disk"
)

// TestVerify_saysWhere: with a table of checksums, the first damaged piece is named; a seal without one, as older versions wrote it, is as good as before.
func TestVerify_saysWhere(t *testing.T) {
	const content = "aaaabbbbccccdd" // pieces of four bytes, the last one short
	for name, c := range map[string]struct{ now, want string }{
		"first":      {"aXaabbbbccccdd", "4 bytes from byte 0 on"},
		"in between": {"aaaabbbXXcccdd", "4 bytes from byte 4 on"},
		"last":       {"aaaabbbbccccdX", "4 bytes from byte 12 on"},
		"none":       {content, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := NewDir(Root(t.TempDir()), "org/model")
			e := put(t, d, first, "gguf-a", "main", "a.gguf", content).Files[0]
			table := Pieces{Bytes: 4}
			for at := 0; at < len(content); at += 4 {
				table.CRC32C = append(table.CRC32C, crc32.Checksum([]byte(content[at:min(at+4, len(content))]), castagnoli))
			}
			for _, known := range []Pieces{{}, table} {
				write(t, d.Blob(e.Hash), c.now)
				if err := disk.Remove(d.verified(e.Hash)); err != nil {
					t.Fatal(err)
				}
				if err := d.SetSealPieces(e.Hash, known); err != nil {
					t.Fatal(err)
				}
				if err := d.SetSeal(e.Hash); err != nil { // as after another verification, which keeps the table
					t.Fatal(err)
				}
				if b, err := os.ReadFile(d.verified(e.Hash)); err != nil || strings.Contains(string(b), "piece") != (known.Bytes > 0) || !d.Sealed(e) {
					t.Fatalf("seal %s, error %v, whole %v", b, err, d.Sealed(e))
				}
				s, err := d.Surveyed(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				got, err := d.Verify(t.Context(), s, e.Hex, func(int) {})
				if err != nil || (got.Fault == "") != (c.want == "") {
					t.Fatalf("fault %q, error %v", got.Fault, err)
				}
				if says := strings.Contains(got.Fault, "from byte"); says != (c.want != "" && known.Bytes > 0) || says && !strings.HasSuffix(got.Fault, c.want) {
					t.Errorf("fault %q, want the %q", got.Fault, c.want)
				}
			}
		})
	}
}
