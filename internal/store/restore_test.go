package store_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

func TestRestored(t *testing.T) {
	kv := storetest.NewMem()
	lease, err := kv.Grant(t.Context(), 3600)
	if err != nil {
		t.Fatal(err)
	}
	put := func(key, value string, lease int64) {
		t.Helper()
		if _, err := kv.Txn(t.Context(), nil, []store.Op{{Key: key, Value: []byte(value), Lease: lease}}); err != nil {
			t.Fatal(err)
		}
	}
	put("/models/m/spec", "kept", 0)
	put("/endpoints/m/0", "kept: the engine may still run", 0)
	put("/leader/scheduler", "old", lease)
	for n := range store.MaxTxnOps + 10 { // more than one transaction takes
		put(fmt.Sprintf("/nodes/n%d/status", n), "{}", lease)
	}
	if err := store.Restored(t.Context(), kv, time.UnixMilli(5)); err != nil { // a store that has no history yet
		t.Fatal(err)
	}
	kvs, _, err := kv.List(t.Context(), "/")
	if err != nil || len(kvs) != 2 || kvs[0].Key != "/endpoints/m/0" || kvs[1].Key != "/models/m/spec" {
		t.Errorf("left: %v, %v", kvs, err)
	}

	put("/cluster/info", `{"id":"c","history":"one","history_accepted":true}`, 0)
	seen := map[string]bool{"one": true}
	for at := range int64(2) {
		if err := store.Restored(t.Context(), kv, time.UnixMilli(at)); err != nil {
			t.Fatal(err)
		}
		kvs, _, err := kv.List(t.Context(), "/cluster/")
		if err != nil || len(kvs) != 1 {
			t.Fatalf("%v, %v", kvs, err)
		}
		var info api.ClusterInfo
		if err := json.Unmarshal(kvs[0].Value, &info); err != nil {
			t.Fatal(err)
		}
		if info.ID != "c" || seen[info.History] || info.HistoryAccepted || info.RestoredAtMS != at {
			t.Errorf("got %+v", info)
		}
		seen[info.History] = true
	}
	put("/cluster/info", "broken", 0)
	if err := store.Restored(t.Context(), kv, time.Now()); err == nil || !strings.Contains(err.Error(), "/cluster/info") {
		t.Errorf("got %v", err)
	}
}
