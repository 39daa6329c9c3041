package audit_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/audit"
)

func TestDiff(t *testing.T) {
	long := `"` + strings.Repeat("x", audit.MaxValueBytes) + `"`
	for name, c := range map[string]struct {
		before, after string
		private       []string
		want          string // field=before>after; …
		truncated     bool
	}{
		"created":           {"", `{"a":1,"b":{"c":null}}`, nil, "a=>1; b.c=>null", false},
		"deleted":           {`{"a":1}`, "", nil, "a=1>", false},
		"one of many":       {`{"a":1,"b":2}`, `{"a":1,"b":3}`, nil, "b=2>3", false},
		"the same":          {`{"a":[1,2]}`, `{"a":[1,2]}`, nil, "", false},
		"a list is one":     {`{"a":[1,2]}`, `{"a":[1,3]}`, nil, "a=[1,2]>[1,3]", false},
		"object to scalar":  {`{"a":{"b":1}}`, `{"a":2}`, nil, "a=>2; a.b=1>", false},
		"private":           {`{"hash":"old"}`, `{"hash":"new"}`, []string{"hash"}, `hash="***">"***"`, false},
		"private inside":    {"", `{"hash":{"salt":"s"},"hashes":"n"}`, []string{"hash"}, `hash.salt=>"***"; hashes=>"n"`, false},
		"private, the same": {`{"hash":"x"}`, `{"hash":"x"}`, []string{"hash"}, "", false},
		"long":              {"", `{"a":` + long + `}`, nil, fmt.Sprintf(`a=>"(%d bytes of JSON)"`, len(long)), true},
		"no object":         {`1`, `2`, nil, "=1>2", false},
		"empty object":      {`{}`, `{"a":{}}`, nil, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			d := audit.Document{Name: "thing x", Private: c.private}
			if c.before != "" {
				d.Before = []byte(c.before)
			}
			if c.after != "" {
				d.After = []byte(c.after)
			}
			changes, truncated := audit.Diff([]audit.Document{d})
			var got []string
			for _, ch := range changes {
				got = append(got, fmt.Sprintf("%s=%s>%s", ch.Field, ch.Before, ch.After))
			}
			if strings.Join(got, "; ") != c.want || truncated != c.truncated {
				t.Errorf("%s, truncated %v; want %s, %v", strings.Join(got, "; "), truncated, c.want, c.truncated)
			}
		})
	}
}

func TestDiff_isBounded(t *testing.T) {
	many := map[string]int{}
	for i := range 2 * audit.MaxChanges {
		many[fmt.Sprintf("f%04d", i)] = i
	}
	b, _ := json.Marshal(many)
	changes, truncated := audit.Diff([]audit.Document{{Name: "x", After: b}})
	if len(changes) != audit.MaxChanges || !truncated {
		t.Errorf("%d changes, truncated %v", len(changes), truncated)
	}
}

// log is a chain of n records as they are stored; among them what people and attackers may have put into them.
func log(t *testing.T, n int) ([][]byte, api.AuditHead) {
	t.Helper()
	var head api.AuditHead
	var lines [][]byte
	for i := range n {
		rec := api.AuditRecord{
			TimeMS: int64(i), Actor: api.Actor{ID: "ann\xff", Kind: "user"}, Verb: "model.create", Object: strings.Repeat("é<", 300), Result: api.AuditOK,
			Changes: []api.DocumentChange{{Document: "model spec m", Field: "a", Before: json.RawMessage("null"), After: json.RawMessage(`"<b>"`)}},
		}
		_, line, next, err := audit.Chain(head, rec)
		if err != nil {
			t.Fatal(err)
		}
		head = next
		lines = append(lines, line)
	}
	return lines, head
}

func verify(lines [][]byte, head api.AuditHead, noted map[uint64]string) error {
	c := audit.Checker{Noted: noted}
	for _, line := range lines {
		if err := c.Next(line); err != nil {
			return err
		}
	}
	return c.Complete(head)
}

func TestChain_everyTamperingIsFound(t *testing.T) {
	whole, head := log(t, 6)
	if err := verify(whole, head, nil); err != nil {
		t.Fatal(err)
	}
	other, _ := log(t, 1)
	rewritten := func(lines [][]byte) [][]byte { // from record 4 on, hashes and all
		chain := api.AuditHead{}
		var out [][]byte
		for i, line := range lines {
			rec, _ := audit.Read(line)
			if i == 3 {
				rec.Verb = "model.delete"
			}
			_, b, next, _ := audit.Chain(chain, rec)
			chain, out = next, append(out, b)
		}
		return out
	}
	fourth, _ := audit.Read(whole[3])
	for name, c := range map[string]struct {
		tamper func([][]byte) [][]byte
		noted  map[uint64]string
		says   string
	}{
		"a byte": {func(l [][]byte) [][]byte {
			l[2] = bytes.Replace(l[2], []byte("model.create"), []byte("model.delete"), 1)
			return l
		}, nil, "record 3 was changed"},
		"a hash": {func(l [][]byte) [][]byte { l[2][len(l[2])-4] ^= 1; return l }, nil, "record 3 was changed"},
		"a field more": {func(l [][]byte) [][]byte {
			l[2] = bytes.Replace(l[2], []byte(`"seq":3`), []byte(`"seq":3,"x":1`), 1)
			return l
		}, nil, "record 3 was changed"},
		"one removed":      {func(l [][]byte) [][]byte { return append(l[:2], l[3:]...) }, nil, "record 2 is followed by record 4"},
		"the oldest":       {func(l [][]byte) [][]byte { return l[1:] }, nil, "the oldest are missing"},
		"the newest":       {func(l [][]byte) [][]byte { return l[:5] }, nil, "the newest are missing"},
		"all":              {func(l [][]byte) [][]byte { return nil }, nil, "the newest are missing"},
		"two exchanged":    {func(l [][]byte) [][]byte { l[2], l[3] = l[3], l[2]; return l }, nil, "record 2 is followed by record 4"},
		"one twice":        {func(l [][]byte) [][]byte { return append(l[:3], l[2:]...) }, nil, "record 3 is followed by record 3"},
		"no record":        {func(l [][]byte) [][]byte { l[1] = []byte("{"); return l }, nil, "not a record"},
		"written anew":     {rewritten, map[uint64]string{4: fourth.Hash}, "record 4 is not the one that was noted"},
		"from another log": {func(l [][]byte) [][]byte { l[3] = other[0]; return l }, nil, "is followed by record 1"},
	} {
		t.Run(name, func(t *testing.T) {
			copied := make([][]byte, len(whole))
			for i := range whole {
				copied[i] = bytes.Clone(whole[i])
			}
			if err := verify(c.tamper(copied), head, c.noted); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want %q", err, c.says)
			}
		})
	}
}

func TestChain_anchor(t *testing.T) {
	lines, head := log(t, 6)
	third, _ := audit.Read(lines[2])
	head.Anchor = &api.AuditAnchor{Seq: 3, Hash: third.Hash}
	if err := verify(lines[3:], head, nil); err != nil {
		t.Error(err)
	}
	if err := verify(lines[4:], head, nil); err == nil {
		t.Error("the record after the anchor is missing, and nobody says so")
	}
	head.Anchor.Hash = third.PrevHash
	if err := verify(lines[3:], head, nil); err == nil {
		t.Error("the anchor is another record, and nobody says so")
	}
}

// FuzzRead: whatever a line is, reading it neither panics nor takes it for a record whose bytes have another hash.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"seq":1,"hash":""}`))
	_, line, _, _ := audit.Chain(api.AuditHead{}, api.AuditRecord{Verb: "x"})
	f.Add(line)
	f.Fuzz(func(t *testing.T, b []byte) {
		if rec, err := audit.Read(b); err == nil && len(rec.Hash) != 64 {
			t.Errorf("%q passes", b)
		}
	})
}

func TestDenials(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	from := func(source string) api.AuditRecord {
		return api.AuditRecord{Actor: api.Actor{ID: "anonymous", Kind: "anonymous"}, Source: source, Object: "GET /api/v2/models", Code: api.CodeUnauthorized}
	}
	var d audit.Denials
	for range 5 {
		d.Add(from("192.0.2.1"), now)
	}
	got := d.Take(now)
	if len(got) != 1 || got[0].Repeated != 0 || got[0].Verb != "denied" || got[0].Result != api.AuditDenied || got[0].TimeMS != now.UnixMilli() {
		t.Fatalf("the first: %+v", got)
	}
	if got := d.Take(now.Add(59 * time.Second)); len(got) != 0 {
		t.Errorf("within the minute: %+v", got)
	}
	if got := d.Take(now.Add(time.Minute)); len(got) != 1 || got[0].Repeated != 3 {
		t.Errorf("after a minute: %+v, want the other 4, as one and 3 repeated", got)
	}
	d.Return(got)
	if again := d.Take(now.Add(time.Minute)); len(again) != 1 {
		t.Errorf("what came back: %+v", again)
	}
	// An IPv6 network is one source; another route is another denial.
	d.Add(from("2001:db8::1"), now)
	d.Add(from("2001:db8::2"), now)
	other := from("2001:db8::1")
	other.Object = "GET /api/v2/nodes"
	d.Add(other, now)
	if got := d.Take(now.Add(2 * time.Second)); len(got) != 2 {
		t.Errorf("IPv6: %+v", got)
	}
}

// TestDenials_aFloodIsBounded: 100,000 different denials within a minute are 60 records and one number.
func TestDenials_aFloodIsBounded(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	var d audit.Denials
	records := 0
	for i := range 100_000 {
		d.Add(api.AuditRecord{Source: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)}, now.Add(time.Duration(i)*time.Microsecond*500))
		if i%1000 == 0 {
			records += len(d.Take(now.Add(time.Duration(i) * time.Microsecond * 500)))
		}
	}
	if records > 60 {
		t.Errorf("%d records within a minute", records)
	}
	counted := 0
	for _, r := range d.Take(now.Add(3 * time.Minute)) {
		counted += r.Repeated
	}
	if counted < 99_000 {
		t.Errorf("only %d are counted", counted)
	}
}
