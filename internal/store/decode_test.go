package store

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

var update = flag.Bool("update", false, "rewrite testdata")

const outcome = "    -> "

func TestDecode(t *testing.T) {
	const file = "testdata/decode.txt"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, outcome) {
			continue
		}
		got.WriteString(line)
		if strings.HasPrefix(line, "/") {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			got.WriteString(outcome + listed(t, key, value) + "\n")
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(text), got.String()); diff != "" {
		t.Errorf("outcomes differ (-want +got); -update rewrites them:\n%s", diff)
	}
}

// listed says what a State shows of one stored value.
func listed(t *testing.T, key, value string) string {
	t.Helper()
	s := fromList(kinds(), []KeyValue{{Key: key, Value: []byte(value), ModRev: 3, Lease: 9}}, 5)
	if s.Revision != 5 {
		t.Errorf("%s: state is at revision %d, want that of the list", key, s.Revision)
	}
	if bad, ok := s.Bad.Get(key); ok {
		if strings.Contains(bad.Value.Err, "hunter2") || strings.Contains(bad.Value.Err, "42") {
			t.Errorf("%s: the reason quotes the value: %s", key, bad.Value.Err)
		}
		if rows := tables(s); rows != "" {
			t.Errorf("%s is unreadable and in table %s", key, rows)
		}
		return "unreadable: " + bad.Value.Err
	}
	if rows := tables(s); rows != "" {
		return rows
	}
	return "ignored"
}

// tables names what is in the tables of a State.
func tables(s *cluster.State) string {
	var b strings.Builder
	show(&b, "models", s.Models)
	show(&b, "deployments", s.Deployments)
	show(&b, "placements", s.Placements)
	show(&b, "nodes", s.Nodes)
	show(&b, "endpoints", s.Endpoints)
	show(&b, "downloads", s.Downloads)
	show(&b, "cache", s.Cache)
	show(&b, "disks", s.Disks)
	show(&b, "alerts", s.Alerts)
	show(&b, "claims", s.BlobClaims)
	show(&b, "secrets", s.Secrets)
	show(&b, "templates", s.Templates)
	return strings.TrimSpace(b.String())
}

func show[T any](b *strings.Builder, table string, rows cluster.Set[T]) {
	for e := range rows.All() {
		fmt.Fprintf(b, "%s %s (rev %d, lease %d) ", table, e.ID, e.Rev, e.Lease)
	}
}

// The decoder of every table takes any bytes without a panic, and what it accepts it can write and read again.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"model_uid":"x","desired_state":"running","replica_id":0,"node_id":"x","alert_type":"x"}`,
		`null`, `{`, `[[[[`, `{"model_uid":{"x":[]}}`, "\xff\x00", `{"labels":null,"config":null}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		again(t, &Models, "x", value)
		again(t, &Deployments, "x", value)
		again(t, &Placements, "x", value)
		again(t, &Templates, "x", value)
		again(t, &Nodes, "x", value)
		again(t, &Endpoints, "x/0", value)
		again(t, &Downloads, "x/0", value)
		again(t, &Cache, "x/x", value)
		again(t, &Disks, "x", value)
		again(t, &Alerts, "x/x", value)
		again(t, &BlobClaims, strings.Repeat("a", 64), value)
		again(t, &Secrets, "x", value)
	})
}

func again[T any](t *testing.T, table *Table[T], id string, value []byte) {
	v, err := table.decode(id, value)
	if err != nil {
		return
	}
	first, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("%s: decoded but not encodable: %v", table.name, err)
	}
	v, err = table.decode(id, first)
	if err != nil {
		t.Fatalf("%s: cannot read its own writing: %v", table.name, err)
	}
	second, err := json.Marshal(v)
	if err != nil || !bytes.Equal(first, second) {
		t.Fatalf("%s: %s became %s, %v", table.name, first, second, err)
	}
}

func TestDecode_survivesAPanic(t *testing.T) {
	table := Table[api.ModelSpec]{claims: func(string, *api.ModelSpec) bool { panic("no") }}
	if _, err := table.decode("x", []byte(`{}`)); err == nil {
		t.Error("no error from a decoder that panics")
	}
}

func TestKey_isReadBackAndRefusesForeignSegments(t *testing.T) {
	for _, id := range []string{"m", "My.Model_v1"} {
		key, ok := Models.Key(id)
		if back, _ := Models.parse(key); !ok || back != id {
			t.Errorf("%q became %q (%v) and came back as %q", id, key, ok, back)
		}
	}
	for _, id := range []string{"", "..", "a/b", "a/../b", "/", "a\x00", "ä", "-a", strings.Repeat("a", 64)} {
		if key, ok := Models.Key(id); ok {
			t.Errorf("uid %q became key %q", id, key)
		}
		if key, ok := Endpoints.Key(id + "/0"); ok {
			t.Errorf("uid %q became key %q", id, key)
		}
	}
}

// cluster names keys on its own, because it must not know this package.
func TestUnreadable_knowsTheKeys(t *testing.T) {
	for _, key := range []string{"/models/m/spec", "/deployments/m", "/placements/m"} {
		s := fromList(kinds(), []KeyValue{{Key: key, Value: []byte("x"), ModRev: 1}}, 1)
		if why, ok := s.Unreadable("m"); !ok || !strings.Contains(why, key) {
			t.Errorf("%s: Unreadable = %q, %v", key, why, ok)
		}
		if why, ok := s.Unreadable("other"); ok {
			t.Errorf("%s: another model is unreadable: %s", key, why)
		}
	}
}
