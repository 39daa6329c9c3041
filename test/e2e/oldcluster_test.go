package e2e

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/internal/etcd/etcdtest"
	"github.com/nebula-serve/nebula/internal/store"
)

var update = flag.Bool("update", false, "write the expected dumps of testdata anew")

// An existing Nebula's cluster is taken over as it lies in etcd: all of it is shown, garbage is reported and stays, a migration stores what requests
// declare and nothing else, and what becomes of every key is written down in testdata/oldcluster.*.golden.
func TestOldCluster(t *testing.T) {
	kv := etcdtest.Serve(t)
	before := oldKeys(t)
	load(t, kv, before)
	n := begin(t, "server", "--fleet-listen", port(t), "--etcd-endpoints", kv.Endpoint)
	ctx := t.Context()

	eventually(t, time.Minute, func() error { return settled(t, n, kv) })
	t.Run("everything is shown", func(t *testing.T) {
		shown(t, n)
		golden(t, "everything", everything(t, n))
	})
	t.Run("garbage is reported", func(t *testing.T) { golden(t, "reported", reported(n)) })
	opened := dump(t, kv)
	golden(t, "opened", changes(before, opened))

	t.Run("a dry run changes nothing", func(t *testing.T) {
		plan, stderr, code := n.cli("admin", "migrate", "--dry-run", "-o", "json")
		if code != 1 || !strings.Contains(stderr, "could not be taken over") { // what cannot be read is no success
			t.Fatalf("exit %d: %s", code, stderr)
		}
		golden(t, "plan", handLaid(t, plan))
		if diff := changes(opened, dump(t, kv)); diff != "" {
			t.Errorf("a dry run changed:\n%s", diff)
		}
	})

	report, err := n.client.Migrate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if want := bulk + 9; report.Migrated != want || report.Total != report.Migrated+report.Skipped+report.Failed {
		t.Errorf("migrated %d, skipped %d, failed %d of %d; want %d migrated", report.Migrated, report.Skipped, report.Failed, report.Total, want)
	}
	migrated := dump(t, kv)
	golden(t, "migrated", changes(opened, migrated))
	unharmed(t, before, migrated)

	t.Run("again it does nothing", func(t *testing.T) {
		again, err := n.client.Migrate(ctx)
		if err != nil || again.Migrated != 0 || again.Failed != report.Failed {
			t.Errorf("migrated %d, failed %d, %v", again.Migrated, again.Failed, err)
		}
		if diff := changes(migrated, dump(t, kv)); diff != "" {
			t.Errorf("the second migration changed:\n%s", diff)
		}
	})
}

// bulk is how many models the cluster has beside those laid out by hand; each has five keys.
const bulk = 1000

// oldKeys is the whole old cluster: key and value.
func oldKeys(t *testing.T) map[string]string {
	b, err := os.ReadFile(filepath.Join("testdata", "oldcluster.txt"))
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		keys[key] = value
	}
	for i := range bulk {
		uid, id := bulkUID(i), fmt.Sprintf("10000000-0000-4000-8000-%012d", i)
		node, port := fmt.Sprintf("old-%02d", i%20), 11000+i
		at := 1740000000000 + i
		keys["/model_requests/"+id] = fmt.Sprintf(`{"id":%q,"request":{"model_name":"acme/%s","model_uid":%q,"replicas":1,"config":null,"node_id":%q,"gpu_index":null,"gpu_indices":[%d]},"status":"Scheduled","created_at_ms":%d}`,
			id, uid, uid, node, i%8, at)
		keys["/placements/"+uid] = fmt.Sprintf(`{"request_id":%q,"model_uid":%q,"model_name":"acme/%s","version":%d,"assignments":[{"replica_id":0,"node_id":%q,"engine_config_path":"/tmp/nebula/%s.yaml","port":%d,"gpu_index":%d,"gpu_indices":[%d],"extra_args":[],"engine_type":"vllm"}]}`,
			id, uid, uid, at+1, node, uid, port, i%8, i%8)
		keys["/endpoints/"+uid+"/0"] = fmt.Sprintf(`{"model_uid":%q,"replica_id":0,"plan_version":%d,"node_id":%q,"endpoint_kind":"native_http","api_flavor":"openai","status":"ready","last_heartbeat_ms":%d,"grpc_target":null,"base_url":"http://127.0.0.1:%d"}`,
			uid, at+1, node, at+2, port)
		keys["/stats/"+uid+"/0"] = fmt.Sprintf(`{"model_uid":%q,"replica_id":0,"last_updated_ms":%d,"pending_requests":0}`, uid, at)
		keys["/model_cache/"+node+"/acme--"+uid] = fmt.Sprintf(`{"node_id":%q,"model_name":"acme/%s","cache_path":"/DATA/Model/acme--%s","size_bytes":%d,"file_count":3,"complete":true}`, node, uid, uid, i)
	}
	return keys
}

func bulkUID(i int) string { return fmt.Sprintf("bulk_%04d", i) } // legal in version 1 only

func load(t *testing.T, kv store.KV, keys map[string]string) {
	t.Helper()
	var ops []store.Op
	put := func() {
		if _, err := kv.Txn(t.Context(), nil, ops); err != nil {
			t.Fatal(err)
		}
		ops = nil
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if ops = append(ops, store.Op{Key: key, Value: []byte(keys[key])}); len(ops) == 100 {
			put()
		}
	}
	put()
}

// dump is everything in etcd but what belongs to the servers themselves.
func dump(t *testing.T, kv store.KV) map[string]string {
	t.Helper()
	all, _, err := kv.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	for _, e := range all {
		if !ownKeys.MatchString(e.Key) {
			keys[e.Key] = string(e.Value)
		}
	}
	return keys
}

var (
	ownKeys = regexp.MustCompile(`^/(cluster|auth|audit|audit_head|events|election|leader|members|idempotency)/`)
	times   = regexp.MustCompile(`"(updated_at_ms|planned_at_ms)":17[0-9]{11}`)
)

// changes says key by key what is different. Of the bulk, which is all alike, it counts the kinds.
func changes(before, after map[string]string) string {
	var out strings.Builder
	kinds := map[string]int{}
	tell := func(sign, key, value string) {
		if strings.Contains(key, "bulk_") {
			kinds[sign+" "+regexp.MustCompile(`bulk_\d+`).ReplaceAllString(key, "bulk_*")+" "+bulkValue(value)]++
			return
		}
		fmt.Fprintf(&out, "%s %s %s\n", sign, key, times.ReplaceAllString(value, `"$1":"NOW"`))
	}
	for _, key := range slices.Sorted(maps.Keys(before)) {
		if now, ok := after[key]; !ok {
			tell("-", key, "")
		} else if now != before[key] {
			tell("~", key, now)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(after)) {
		if _, ok := before[key]; !ok {
			tell("+", key, after[key])
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		fmt.Fprintf(&out, "%d times %s\n", kinds[kind], kind)
	}
	return out.String()
}

// bulkValue takes out of a document of the bulk what is of one model alone.
func bulkValue(v string) string {
	for _, of := range []struct{ pattern, with string }{
		{`bulk_\d+`, "bulk_*"}, {`old-\d\d`, "old-*"}, {`"gpu_affinity":\[\d\]`, `"gpu_affinity":[*]`}, {`17\d{11}`, `"TIME"`},
	} {
		v = regexp.MustCompile(of.pattern).ReplaceAllString(v, of.with)
	}
	return v
}

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "oldcluster."+name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil { //nolint:gosec // a file of the source tree
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not as expected (go test ./test/e2e -run TestOldCluster -update writes it anew); got:\n%s", file, got)
	}
}

// handLaid keeps of a plan what is about keys laid out by hand.
func handLaid(t *testing.T, plan string) string {
	var m api.Migration
	if err := json.Unmarshal([]byte(plan), &m); err != nil {
		t.Fatalf("%v in %.300s", err, plan)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "total %d migrated %d skipped %d failed %d\n", m.Total, m.Migrated, m.Skipped, m.Failed)
	for _, d := range m.Details {
		if !strings.HasPrefix(d.ModelUID, "bulk_") {
			fmt.Fprintf(&out, "%s %q %s %s %s\n", d.RequestID, d.ModelUID, d.Action, d.DesiredState, d.Reason)
		}
	}
	return out.String()
}

// unharmed holds that every key of the old cluster is there, but those of what was being unloaded; what has changed stands in the golden files.
func unharmed(t *testing.T, before, after map[string]string) {
	t.Helper()
	for key := range before {
		if _, ok := after[key]; !ok && key != "/placements/leaving" && key != unloaded {
			t.Errorf("%s is gone", key)
		}
	}
}

// unloaded is the request that an old console had unloaded: it goes.
const unloaded = "/model_requests/00000000-0000-4000-8000-000000000008"

// settled tells whether the scheduler has looked at the last of what it has to plan, what was unloaded is gone, and the server shows all that.
func settled(t *testing.T, n *nebula, kv store.KV) error {
	now := dump(t, kv)
	for _, uid := range []string{"half-written", "lower-case", "pending-one", "twice"} {
		if _, ok := now["/placements/"+uid]; !ok {
			return fmt.Errorf("%s is not planned yet", uid)
		}
		m, err := n.client.Model(t.Context(), uid)
		if err != nil || m.Placement == nil {
			return fmt.Errorf("%s is not shown as planned: %w", uid, err)
		}
	}
	for _, key := range []string{"/placements/leaving", unloaded} {
		if _, ok := now[key]; ok {
			return fmt.Errorf("%s is still there", key)
		}
	}
	_, err := n.client.Model(t.Context(), "unloaded")
	if !api.HasCode(err, api.CodeNotFound) {
		return fmt.Errorf("unloaded is still shown: %w", err)
	}
	return nil
}

// shown holds what people see of the old cluster.
func shown(t *testing.T, n *nebula) {
	models, _, err := n.client.Models(t.Context(), client.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, m := range models {
		if !strings.HasPrefix(m.ModelUID, "bulk_") {
			fmt.Fprintf(&b, "%s %s %s %d/%d\n", m.ModelUID, m.ModelName, m.State, m.Replicas.Ready, m.Replicas.Desired)
		}
	}
	golden(t, "shown", b.String())
}
