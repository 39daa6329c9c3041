package httpapi_test

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// TestNodes_showThoseThatAreNotThere lists a member that this server misses, with what it last said, and the alert about it.
func TestNodes_showThoseThatAreNotThere(t *testing.T) {
	kv := storetest.NewMem()
	kv.Put("/members/node/a", []byte(`{"role":"node","id":"a","draining":true}`))
	kv.Put("/members/node/b", []byte(`{"role":"node","id":"b"}`))
	kv.Put("/nodes/b/status", []byte(`{"node_id":"b"}`))
	kv.Put("/alerts/b/disk_warning", []byte(`{"node_id":"b","alert_type":"disk_warning","message":"full"}`))
	st, err := store.Open(t.Context(), kv, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(st)
	cfg.Absent = func() map[string]time.Duration { return map[string]time.Duration{"a": 3 * time.Minute} }
	cfg.LostAfter = 2 * time.Minute
	h := httptest.NewServer(newAPI(t, cfg))
	t.Cleanup(h.Close)
	s := &server{h, t, kv, st}

	var nodes []api.NodeView
	if err := json.Unmarshal([]byte(s.must(200, "GET", "/api/v2/nodes", "")), &nodes); err != nil {
		t.Fatal(err)
	}
	if len(nodes) != 2 || nodes[0].State != api.NodeLost || nodes[0].AbsentSeconds != 180 || !nodes[0].Drained || nodes[1].State != api.NodeReady {
		t.Errorf("got %+v, want a lost for 180 s and drained, and b ready", nodes)
	}
	var node api.NodeView
	if err := json.Unmarshal([]byte(s.must(200, "GET", "/api/v2/nodes/a", "")), &node); err != nil || node.State != api.NodeLost {
		t.Errorf("got %+v (%v), want the lost node", node, err)
	}
	s.must(404, "GET", "/api/v2/nodes/c", "")
	var alerts []api.DiskAlert
	if err := json.Unmarshal([]byte(s.must(200, "GET", "/api/v2/alerts", "")), &alerts); err != nil {
		t.Fatal(err)
	}
	if len(alerts) != 2 || alerts[0].AlertType != api.AlertNodeLost || alerts[0].NodeID != "a" || alerts[1].AlertType != "disk_warning" {
		t.Errorf("got %+v, want the lost node and the full disk", alerts)
	}
}
