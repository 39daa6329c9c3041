package hub

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles/manifest"
)

func TestParseNext(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{``, ""},
		{`<https://h/a?b=c>; rel="next"`, "https://h/a?b=c"},
		{`<https://h/a>; rel=next`, "https://h/a"},
		{`<https://h/1>; rel="prev", <https://h/2>; rel="next"`, "https://h/2"},
		{`<https://h/a,b;c>; title="x"; REL="NEXT"`, "https://h/a,b;c"},
		{`<https://h/1>; rel="last"`, ""},
		{`<https://h/1`, ""},
		{`rel="next"`, ""},
	} {
		if got := parseNext([]string{c.in}); got != c.want {
			t.Errorf("%s: %q, want %q", c.in, got, c.want)
		}
	}
}

func TestParseContentRange(t *testing.T) {
	for _, c := range []struct {
		in              string
		from, to, total int64
		ok              bool
	}{
		{"bytes 0-9/10", 0, 10, 10, true},
		{"bytes 5-5/10", 5, 6, 10, true},
		{"bytes 0-10/10", 0, 0, 0, false},
		{"bytes 5-4/10", 0, 0, 0, false},
		{"bytes */10", 0, 0, 0, false},
		{"bytes 0-9/*", 0, 0, 0, false},
		{"bytes -1-9/10", 0, 0, 0, false},
		{"bytes 0-9", 0, 0, 0, false},
		{"items 0-9/10", 0, 0, 0, false},
		{"", 0, 0, 0, false},
	} {
		from, to, total, ok := parseContentRange(c.in)
		if from != c.from || to != c.to || total != c.total || ok != c.ok {
			t.Errorf("%q: %d %d %d %t", c.in, from, to, total, ok)
		}
	}
}

const sha = `"oid":"0123456789012345678901234567890123456789"`

func TestDecodeListing(t *testing.T) {
	big := strings.Repeat("ab", 32)
	for _, c := range []struct {
		in   string
		want string // paths, or why not
	}{
		{`[]`, ""},
		{`[{"type":"file","path":"a","size":1,` + sha + `},{"type":"directory","path":"d","oid":"x"}]`, "a"},
		{`[{"type":"file","path":"a","size":9,` + sha + `,"lfs":{"oid":"` + big + `","size":5,"pointerSize":1},"xetHash":"x"}]`, "a"},
		{`[{"type":"file","path":"a","size":-1,` + sha + `}]`, "no usable hash"},
		{`[{"type":"file","path":"a","size":1152921504606846976,` + sha + `}]`, "no usable hash"},
		{`[{"type":"file","path":"a","size":1,"oid":"../../etc/passwd"}]`, "no usable hash"},
		{`[{"type":"file","path":"a","size":1}]`, "no usable hash"},
		{`[{"type":"file","path":"a","size":1,"oid":"` + big + `"}]`, "no usable hash"},
		{`[{"type":"file","path":"a","size":1,` + sha + `,"lfs":{"oid":"0","size":5}}]`, "no usable hash"},
		{`{"error":"x"}`, "not a list"},
		{`[{"type":"file"`, "EOF"},
		{`[1]`, "cannot unmarshal"},
		{``, "not a list"},
	} {
		var paths []string
		err := decodeListing(strings.NewReader(c.in), func(e manifest.Entry) error {
			paths = append(paths, e.Path)
			return nil
		})
		got := strings.Join(paths, " ")
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%s: %q, want %q", c.in, got, c.want)
		}
	}
}

func FuzzDecodeListing(f *testing.F) {
	f.Add(`[{"type":"file","path":"a.gguf","size":1,` + sha + `},{"type":"directory","path":"d"}]`)
	f.Add(`[{"type":"file","path":"../a","size":1,` + sha + `,"lfs":{"oid":"` + strings.Repeat("a", 64) + `","size":2}}]`)
	f.Add(`[[[[`)
	f.Fuzz(func(t *testing.T, in string) {
		var all []manifest.Entry
		err := decodeListing(strings.NewReader(in), func(e manifest.Entry) error {
			if !e.Valid() || e.Size < 0 {
				t.Fatalf("unusable entry %+v", e)
			}
			all = append(all, e)
			return nil
		})
		if err != nil {
			return
		}
		for _, engine := range api.Engines() {
			m, err := manifest.Select(all, manifest.Want{Engine: engine}, nil)
			if err == nil {
				for _, f := range m.Files {
					if manifest.NameFault(f.Path) != "" {
						t.Fatalf("chose the name %q", f.Path)
					}
				}
			}
		}
	})
}

func TestDecodeScope(t *testing.T) {
	big := strings.Repeat("ab", 32)
	for _, c := range []struct {
		in   string
		want string // paths, or why not
		ok   bool   // by the envelope
	}{
		{`{"Code":200,"Success":true,"Data":{"Files":[{"Path":"a","Type":"blob","Size":1,"Sha256":"` + strings.ToUpper(big) + `","Revision":"x"}]}}`, "a", true},
		{`{"Data":{"Other":[{}],"Files":[{"Path":"d","Type":"tree"},{"Path":"d/b","Size":3,"Type":"blob"}]},"Code":200}`, "d/b", true},
		{`{"Code":200,"Data":{"Files":null}}`, "", true},
		{`{"Code":200,"Data":null}`, "", true},
		{`{"Code":200,"Data":{"Files":[{"Path":".gitignore","Type":"blob"},{"Path":"x/.gitattributes","Type":"blob"}]}}`, "", true},
		{`{"Code":10010205001,"Message":"no","Data":null}`, "", false},
		{`{"Code":200,"Success":false}`, "", false},
		{`{}`, "", false},
		{`{"Code":200,"Data":{"Files":[{"Path":"a","Size":-1}]}}`, "no usable hash", true},
		{`{"Code":200,"Data":{"Files":[{"Path":"a","Size":1152921504606846976}]}}`, "no usable hash", true},
		{`{"Code":200,"Data":{"Files":[{"Path":"a","Size":1,"Sha256":"../../x"}]}}`, "no usable hash", true},
		{`{"Code":200,"Data":{"Files":{}}}`, "not a list", true},
		{`{"Code":200,"Data":[]}`, "not an object", true},
		{`{"Code":"200"}`, "cannot unmarshal", false},
		{`{"Code":200,"Data":{"Files":[{"Path":"a"`, "EOF", true},
		{`[]`, "not an object", false},
		{``, "EOF", false},
	} {
		out, said, err := decodeScope(strings.NewReader(c.in), 100)
		var paths []string
		for _, e := range out.files {
			paths = append(paths, e.Path)
		}
		got := strings.Join(paths, " ")
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) || said.ok() != c.ok {
			t.Errorf("%s: %q, want %q; ok = %t", c.in, got, c.want, said.ok())
		}
	}
}

func FuzzDecodeScope(f *testing.F) {
	f.Add(`{"Code":200,"Data":{"Files":[{"Path":"a.gguf","Type":"blob","Size":1,"Sha256":"` + strings.Repeat("a", 64) + `"},{"Path":"d","Type":"tree"}]}}`)
	f.Add(`{"Data":{"Files":[{"Path":"../a","Size":1}],"Files":null},"Code":200}`)
	f.Add(`{"Data":{"Files":[[`)
	f.Fuzz(func(t *testing.T, in string) {
		out, _, err := decodeScope(strings.NewReader(in), 50)
		if len(out.files)+len(out.folders) > 50 {
			t.Fatalf("%d entries", len(out.files)+len(out.folders))
		}
		for _, e := range out.files {
			if e.Known() && !e.Valid() || !e.Known() && len(e.Hex) != 64 || e.Size < 0 {
				t.Fatalf("unusable entry %+v", e)
			}
		}
		if err == nil && !manifest.IsCommit(contentName(out.files)) {
			t.Fatalf("a pin that is no name: %q", contentName(out.files))
		}
	})
}

func FuzzHeaders(f *testing.F) {
	f.Add(`<https://h/a>; rel="next"`, "bytes 0-9/10", `"api";r=0;t=5`)
	f.Add(`<<>>;;rel=next,<`, "bytes 9223372036854775807-9223372036854775807/9223372036854775807", `;t=99999999999999999999;r=-0`)
	f.Fuzz(func(t *testing.T, link, span, limit string) {
		parseNext([]string{link})
		if from, to, total, ok := parseContentRange(span); ok && (from < 0 || to <= from || to > total) {
			t.Fatalf("%q: %d-%d/%d", span, from, to, total)
		}
		if left, wait, ok := parseRateLimit(limit); ok && (left < 0 || wait < 0) {
			t.Fatalf("%q: %d %d", limit, left, wait)
		}
		h := http.Header{"Ratelimit": {limit}, "Retry-After": {span}}
		if p := DefaultPatience(); parkFor(h, time.Unix(0, 0), p) < 0 || parkFor(h, time.Unix(0, 0), p) > p.MaxPark {
			t.Fatalf("%q: waits %s", limit, parkFor(h, time.Unix(0, 0), p))
		}
	})
}

func TestParkFor(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := DefaultPatience()
	for _, c := range []struct {
		limit, after string
		want         time.Duration
	}{
		{"", "", p.MaxDelay},
		{"", "7", 7 * time.Second},
		{"", "Thu, 01 Jan 2026 00:00:09 GMT", 9 * time.Second},
		{"", "Wed, 31 Dec 2025 00:00:00 GMT", 0},
		{"", "soon", p.MaxDelay},
		{"", "-5", p.MaxPark},
		{"", "99999999999999999999", p.MaxDelay},
		{"", "999999999999", p.MaxPark},
		{`"resolvers";r=0;t=12`, "5", 13 * time.Second},
		{`"resolvers";r=4;t=12`, "5", 5 * time.Second},
		{`"resolvers";r=0;t=999999999999`, "", p.MaxPark},
		{`"resolvers";t=12;r=0`, "", 13 * time.Second},
		{`"resolvers";r=0;t=99999999999999999999`, "", p.MaxPark},
		{`"resolvers";r=0`, "5", 5 * time.Second},
	} {
		h := http.Header{"Ratelimit": {c.limit}, "Retry-After": {c.after}}
		if got := parkFor(h, now, p); got != c.want {
			t.Errorf("RateLimit %q, Retry-After %q: %s, want %s", c.limit, c.after, got, c.want)
		}
	}
}
