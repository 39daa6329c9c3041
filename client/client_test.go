package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

const token = "nb_test_0123456789"

// serve starts a server and returns a client of it.
func serve(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return client.New(srv.URL+"/", token)
}

// answer always answers the same.
func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// TestClient_sends holds what each method puts on the wire, and that it reads the answer.
func TestClient_sends(t *testing.T) {
	const dep = `{"model_uid":"m","desired_state":"running","replicas":3,"version":7}`
	wantDep := api.DeploymentWritten{ModelDeployment: api.ModelDeployment{ModelUID: "m", DesiredState: api.DesiredRunning, Replicas: 3, Version: 7}}
	tests := []struct {
		name, want, answer string
		call               func(context.Context, *client.Client) (any, error)
		out                any
	}{
		{
			"models", "GET /api/v2/models", `[{"model_uid":"m","state":"running"}]`,
			func(ctx context.Context, c *client.Client) (any, error) {
				m, next, err := c.Models(ctx, client.ListOptions{})
				return len(m) == 1 && m[0].State == api.StateRunning && next == "after-m", err
			}, true,
		},
		{
			"models chosen", "GET /api/v2/models?cursor=a&label=team%3Da%26b%3D1&limit=5&q=x+y&sort=-name&state=failed", `[]`,
			func(ctx context.Context, c *client.Client) (any, error) {
				m, _, err := c.Models(ctx, client.ListOptions{State: api.StateFailed, Label: "team=a&b=1", Limit: 5, Cursor: "a", Search: "x y", Sort: "-name"})
				return len(m), err
			}, 0,
		},
		{
			"summary", "GET /api/v2/summary/models?q=x&state=failed", `{"total":2,"states":{"failed":2},"engines":{},"labels":[]}`,
			func(ctx context.Context, c *client.Client) (any, error) {
				m, err := c.ModelSummary(ctx, client.ListOptions{State: api.StateFailed, Limit: 5, Cursor: "a", Search: "x", Sort: "-name"})
				return m.Total + m.States[api.StateFailed], err
			}, 4,
		},
		{
			"create", `POST /api/v2/models {"model_name":"acme/x","auto_start":true}`, `{"model_uid":"acme-x","state":"starting","deployment":null}`,
			func(ctx context.Context, c *client.Client) (any, error) {
				m, err := c.CreateModel(ctx, api.CreateModel{ModelName: "acme/x", AutoStart: true})
				return m.Spec.ModelUID + " " + string(m.Status.State), err
			}, "acme-x starting",
		},
		{
			"get", "GET /api/v2/models/Qwen2.5_7B", `{"model_uid":"Qwen2.5_7B","revision":9}`,
			func(ctx context.Context, c *client.Client) (any, error) {
				m, err := c.Model(ctx, "Qwen2.5_7B")
				return m.Revision, err
			}, int64(9),
		},
		{
			"update", `PUT /api/v2/models/m {"labels":{}} If-Match "12"`, `{"model_uid":"m"}`,
			func(ctx context.Context, c *client.Client) (any, error) {
				m, err := c.On(client.Write{IfMatch: 12}).UpdateModel(ctx, "m", api.UpdateModel{Labels: map[string]string{}})
				return m.ModelUID, err
			}, "m",
		},
		{
			"start", `POST /api/v2/models/m/start {}`, dep,
			func(ctx context.Context, c *client.Client) (any, error) {
				return c.StartModel(ctx, "m", api.StartModel{})
			}, wantDep,
		},
		{
			"stop", `POST /api/v2/models/m/stop`, dep,
			func(ctx context.Context, c *client.Client) (any, error) { return c.StopModel(ctx, "m") }, wantDep,
		},
		{
			"scale", `PUT /api/v2/models/m/scale {"replicas":0}`, dep,
			func(ctx context.Context, c *client.Client) (any, error) { return c.ScaleModel(ctx, "m", 0) }, wantDep,
		},
		{
			"delete", `DELETE /api/v2/models/m`, `{"model_uid":"m","status":"deleted"}`,
			func(ctx context.Context, c *client.Client) (any, error) { return nil, c.DeleteModel(ctx, "m") }, nil,
		},
		{
			"nodes", `GET /api/v2/nodes`, `[{"node_id":"n1","gpus":[],"replicas":[]}]`,
			func(ctx context.Context, c *client.Client) (any, error) {
				n, err := c.Nodes(ctx)
				return len(n) == 1 && n[0].NodeID == "n1", err
			}, true,
		},
		{
			"version", `GET /api/v2/version`, `{"version":"v1"}`,
			func(ctx context.Context, c *client.Client) (any, error) { return c.Version(ctx) },
			api.ServerVersion{Version: "v1"},
		},
		{
			"ready", `GET /readyz`, `ok, in any words`,
			func(ctx context.Context, c *client.Client) (any, error) { return nil, c.Ready(ctx) }, nil,
		},
		{
			"logs", `GET /api/v2/models/m/logs?follow=1&previous=1&replica=2&tail=10`, "line\n",
			func(ctx context.Context, c *client.Client) (any, error) {
				return readLogs(ctx, c, client.LogOptions{Replica: 2, Tail: 10, Follow: true, Previous: true})
			}, "line\n",
		},
		{
			"logs, all", `GET /api/v2/models/m/logs?replica=0`, "",
			func(ctx context.Context, c *client.Client) (any, error) { return readLogs(ctx, c, client.LogOptions{}) }, "",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got string
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				got = wire(t, r)
				w.Header().Set("Nebula-Next-Cursor", "after-m")
				answer(http.StatusOK, tt.answer)(w, r)
			})
			out, err := tt.call(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("sent %s, want %s", got, tt.want)
			}
			if d := cmp.Diff(tt.out, out); d != "" {
				t.Errorf("answer: -want +got:\n%s", d)
			}
		})
	}
}

func readLogs(ctx context.Context, c *client.Client, o client.LogOptions) (string, error) {
	log, err := c.Logs(ctx, "m", o)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(log)
	return string(b), errors.Join(err, log.Close())
}

// wire is what the server sees, in one line.
func wire(t *testing.T, r *http.Request) string {
	t.Helper()
	if got := r.Header.Get("Authorization"); got != "Bearer "+token {
		t.Errorf("Authorization: %q", got)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	out := r.Method + " " + r.RequestURI
	if len(body) > 0 {
		out += " " + string(body)
		if got := r.Header.Get("Content-Type"); got != "application/json" {
			t.Errorf("Content-Type: %q", got)
		}
	}
	if m := r.Header.Get("If-Match"); m != "" {
		out += " If-Match " + m
	}
	return out
}

func TestClient_isSafeForConcurrentUse(t *testing.T) {
	c := serve(t, answer(http.StatusOK, `{"version":"v1"}`))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if v, err := c.Version(t.Context()); err != nil || v.Version != "v1" {
				t.Errorf("%v, %v", v, err)
			}
		})
	}
	all.Wait()
}

// A uid is part of a path: none may lead to another route.
func TestClient_sendsNoHostileUID(t *testing.T) {
	var seen atomic.Int32
	c := serve(t, func(http.ResponseWriter, *http.Request) { seen.Add(1) })
	for _, uid := range []string{
		"", ".", "..", "../nodes", "a/b", "a/../..", "a?watch=1", "a#b", "%2e%2e", "a%2Fb", "a b", "a\x00b", "a\r\nX-Evil: 1", "\xff", "é",
		strings.Repeat("a", 10_000),
	} {
		ctx := t.Context()
		_, getErr := c.Model(ctx, uid)
		_, updateErr := c.UpdateModel(ctx, uid, api.UpdateModel{})
		_, startErr := c.StartModel(ctx, uid, api.StartModel{})
		_, stopErr := c.StopModel(ctx, uid)
		_, scaleErr := c.ScaleModel(ctx, uid, 1)
		_, logErr := c.Logs(ctx, uid, client.LogOptions{})
		errs := []error{getErr, updateErr, startErr, stopErr, scaleErr, logErr, c.DeleteModel(ctx, uid)}
		for _, err := range c.WatchModel(ctx, uid) {
			errs = append(errs, err)
		}
		if len(errs) != 8 {
			t.Errorf("%.20q: a watch yields %d errors, want 1", uid, len(errs)-7)
		}
		for _, err := range errs {
			if !api.HasCode(err, api.CodeInvalidUID) || len(err.Error()) > 500 {
				t.Errorf("%.20q: %.300v", uid, err)
			}
		}
	}
	if n := seen.Load(); n > 0 {
		t.Errorf("%d requests were sent", n)
	}
}

// The token is for the server that the caller named, whatever that server says.
func TestClient_keepsItsTokenFromOtherServers(t *testing.T) {
	var seen atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { seen.Add(1) }))
	t.Cleanup(elsewhere.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{elsewhere.URL + "/api/v2/models", "//" + elsewhere.Listener.Addr().String() + "/", "/elsewhere?" + strings.Repeat("x", 9_000)} {
			here := 0
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				here++
				w.Header().Set("Location", to)
				w.WriteHeader(status)
			})
			_, err := c.CreateModel(t.Context(), api.CreateModel{ModelName: "x"})
			if !api.HasCode(err, api.CodeUpstream) || !strings.Contains(err.Error(), to[:10]) || len(err.Error()) > 600 {
				t.Errorf("%d: %.700v", status, err)
			}
			for _, err := range c.Chat(t.Context(), client.ChatRequest{}) {
				if !api.HasCode(err, api.CodeUpstream) {
					t.Errorf("%d: chat: %v", status, err)
				}
			}
			if here != 2 {
				t.Errorf("%d: %d requests for 2 calls", status, here)
			}
		}
	}
	if n := seen.Load(); n > 0 {
		t.Errorf("%d requests went elsewhere", n)
	}
}

func TestClient_refusesAnAddressItCannotUse(t *testing.T) {
	for _, base := range []string{"", "/", "127.0.0.1:8081", "localhost:8081", "ftp://localhost", "http://", "http://a b", "unix:///x", "http://x\x7f"} {
		if _, err := client.New(base, token).Version(t.Context()); !api.HasCode(err, api.CodeInvalidRequest) {
			t.Errorf("%q: %v", base, err)
		}
	}
}

func TestClient_refusesATokenThatCannotBeSent(t *testing.T) {
	c := serve(t, answer(http.StatusOK, `{}`))
	for _, bad := range []string{"nb_secret\r\nX-Evil: 1", "nb secret", "nb_secret\x00", "nb_sécret"} {
		_, err := client.New(c.Base(), bad).Version(t.Context())
		if !api.HasCode(err, api.CodeUnauthorized) || strings.Contains(err.Error(), "cret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := client.New(c.Base(), " nb_secret\n").Version(t.Context()); err != nil {
		t.Errorf("white space around a token, as a file has it: %v", err)
	}
	none := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if _, ok := r.Header["Authorization"]; ok {
			t.Error("a credential is sent where none was given")
		}
		answer(http.StatusOK, `{}`)(w, r)
	})
	if _, err := client.New(none.Base(), "").Version(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestClient_saysWhenNobodyAnswers(t *testing.T) {
	srv := httptest.NewServer(answer(http.StatusOK, `{}`))
	srv.Close()
	address := srv.Listener.Addr().String()
	c := client.New("http://user:passw0rd@"+address, token)
	_, err := c.Version(t.Context())
	e, ok := api.AsError(err)
	if !ok || e.Code != api.CodeUnavailable || e.Code.ExitCode() != 1 {
		t.Fatalf("%v", err)
	}
	if !strings.Contains(e.Message, address) || !strings.Contains(e.Message, "nebula up") {
		t.Errorf("it does not say where, or what to do: %s", e.Message)
	}
	if strings.Contains(e.Message, "passw0rd") || strings.Contains(e.Message, token) {
		t.Errorf("it carries a secret: %s", e.Message)
	}
}

func TestClient_endsWithItsContext(t *testing.T) {
	silent := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	halfway := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"version":`)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	for name, h := range map[string]http.HandlerFunc{"before the answer": silent, "within the answer": halfway} {
		c := serve(t, h)
		short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := c.Version(short)
		stop()
		if e, ok := api.AsError(err); !ok || e.Code != api.CodeTimeout || e.Code.ExitCode() != 5 {
			t.Errorf("%s: deadline: %v", name, err)
		}
		cancelled, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if _, err := c.Version(cancelled); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: cancel: %v", name, err)
		}
	}
}

func TestClient_saysWhenTheAnswerIsNotOne(t *testing.T) {
	for name, tt := range map[string]struct {
		h    http.HandlerFunc
		want api.Code
	}{
		"another program": {answer(http.StatusOK, "<html>It works!</html>"), api.CodeUpstream},
		"another shape":   {answer(http.StatusOK, `[]`), api.CodeUpstream},
		"nothing":         {answer(http.StatusOK, ``), api.CodeUpstream},
		"too short": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"version":"v1"}`)
		}, api.CodeUnavailable},
		"broken off": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"version":"v1"`)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, api.CodeUnavailable},
		"hung up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, api.CodeUnavailable},
	} {
		if v, err := serve(t, tt.h).Version(t.Context()); !api.HasCode(err, tt.want) {
			t.Errorf("%s: %v, %v, want %s", name, v, err, tt.want)
		}
	}
}
