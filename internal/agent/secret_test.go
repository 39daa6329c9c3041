package agent

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/engine"
)

const planted = "hf_canary0123456789"

func private(version uint64) api.DesiredReplica {
	d := replicaOf("a", 0)
	d.Spec.EngineType = api.EngineLlamaCPP
	d.Spec.ModelSource, d.Spec.ModelPath, d.Spec.TokenSecret, d.TokenVersion = api.SourceHuggingFace, "", "hf", version
	return d
}

// TestRun_waitsForTheToken: servers that are away, or that have no secret yet, are no reason to give up.
func TestRun_waitsForTheToken(t *testing.T) {
	w := newWorld()
	w.noSecret = api.Errorf(api.CodeUnavailable, "no server of the cluster answers")
	within(t, w, nil, func() {
		w.wish(private(1))
		after(time.Hour)
		_, e := w.last()
		if f := e.Failure; w.started() != 0 || f == nil || f.Final || f.RetryAtMS == 0 || !strings.Contains(f.Message, "the download needs the secret hf") ||
			!strings.Contains(f.Message, "no server of the cluster answers") {
			t.Fatalf("without the servers: %d starts, failure %+v", w.started(), e.Failure)
		}
		w.mu.Lock()
		w.secret, w.noSecret = planted, nil
		w.mu.Unlock()
		after(maxDelay + time.Second)
		if _, e := w.last(); e.Status != api.EndpointReady || !slices.Equal(w.tokens, []string{planted}) {
			t.Errorf("once they are back: %s, %d fetches", e.Status, len(w.tokens))
		}
		if p := w.proc(0); bytes.Contains(p.Meta(), []byte(planted)) || strings.Contains(strings.Join(append(p.launch.Argv, p.launch.Env...), " "), planted) {
			t.Errorf("the engine's record, arguments or environment have the token: %s %+v", p.Meta(), p.launch)
		}
	})
}

// TestRun_anotherTokenIsTried: a hub's final no to a token is not final for the next one.
func TestRun_anotherTokenIsTried(t *testing.T) {
	w := newWorld()
	w.secret = "hf_wrong"
	w.refused = &engine.Failure{Code: api.FailHubAuth, Message: "the hub does not accept the token", Final: true}
	within(t, w, nil, func() {
		w.wish(private(1))
		after(time.Hour)
		if _, e := w.last(); e.Failure == nil || !e.Failure.Final || len(w.tokens) != 1 {
			t.Fatalf("with the wrong token: failure %+v after %d tries", e.Failure, len(w.tokens))
		}
		w.mu.Lock()
		w.secret, w.refused = planted, nil
		w.mu.Unlock()
		w.wish(private(2))
		after(time.Second)
		if _, e := w.last(); e.Status != api.EndpointReady || !slices.Equal(w.tokens, []string{"hf_wrong", planted}) {
			t.Errorf("with the right one: %s, %d tries", e.Status, len(w.tokens))
		}
		w.wish(private(3))
		after(time.Minute)
		if _, e := w.last(); e.Status != api.EndpointReady || w.started() != 1 || len(w.tokens) != 2 {
			t.Errorf("a replica that serves was disturbed by another token: %s, %d starts, %d fetches", e.Status, w.started(), len(w.tokens))
		}
	})
}
