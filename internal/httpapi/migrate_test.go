package httpapi_test

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// TestMigrate: a model that only a request of version 1 declares is there before and after, a dry run stores nothing, and what cannot be read is reported.
func TestMigrate(t *testing.T) {
	const request = `{"id":"r1","request":{"model_name":"acme/Demo","model_uid":"Demo_7B"},"status":"Scheduled","created_at_ms":5}`
	kv := storetest.NewMem()
	kv.Put("/model_requests/r1", []byte(request))
	kv.Put("/model_requests/r2", []byte(`{"id":"r2"}`))
	st, err := store.Open(t.Context(), kv, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = st.Run(t.Context()) }()
	t.Cleanup(func() { <-done })
	h := httptest.NewServer(newAPI(t, config(st)))
	t.Cleanup(h.Close)
	s := &server{h, t, kv, st}

	models := func() string {
		var list []api.ModelView
		if err := json.Unmarshal([]byte(s.must(200, "GET", "/api/v2/models", "")), &list); err != nil || len(list) != 1 {
			t.Fatalf("%d models, %v", len(list), err)
		}
		return list[0].ModelUID + " " + list[0].ModelName
	}
	if got := models(); got != "Demo_7B acme/Demo" {
		t.Errorf("before: %s", got)
	}
	migrate := func(query string) (m api.Migration) {
		if err := json.Unmarshal([]byte(s.must(200, "POST", "/api/v2/migrate"+query, "")), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	for range 2 {
		if m := migrate("?dry_run=1"); m.Total != 2 || m.Migrated != 1 || m.Failed != 1 {
			t.Errorf("a dry run says %+v", m)
		}
	}
	m := migrate("")
	if m.Migrated != 1 || m.Details[0].DesiredState != api.DesiredRunning || m.Details[1].RequestID != "r2" || !strings.Contains(m.Details[1].Reason, "cannot be read") {
		t.Errorf("the migration says %+v", m)
	}
	if m := migrate(""); m.Skipped != 1 || m.Failed != 1 || m.Details[0].Reason != "already_exists" {
		t.Errorf("the next says %+v", m)
	}
	if got := models(); got != "Demo_7B acme/Demo" {
		t.Errorf("after: %s", got)
	}
	if now, _ := st.Current(); !now.Requests.Has("r1") {
		t.Error("the request is gone")
	}
}
