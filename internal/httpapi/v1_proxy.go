package httpapi

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/openapi"
)

// v1GatewayV2 is what the paths begin with under which the gateway of the existing Nebula passed requests on to version 2.
const v1GatewayV2 = openapi.V1Gateway + "v2/"

// v1GatewayV2Paths are those that it passed on.
func v1GatewayV2Paths() []string {
	const model, template, node = "models/{uid}", "templates/{id}", "nodes/{id}"
	return []string{
		"models", model, model + "/start", model + "/stop", model + "/scale", model + "/save-as-template", "templates", template, template + "/deploy",
		node + "/cache", node + "/disk", "cache/summary", "alerts", "migrate",
	}
}

// mountV1Gateway puts into a server's mux what is no row: version 2 under the paths of the old gateway. In a gateway alone, all that a server has to answer
// under these paths is passed on to one.
func (s *server) mountV1Gateway(mux *http.ServeMux, fallback http.Handler) {
	listed := http.NewServeMux()
	note := func(pattern string) { listed.Handle(pattern, http.NotFoundHandler()) }
	for _, p := range v1GatewayV2Paths() {
		note(v1GatewayV2 + p)
	}
	for _, at := range []string{openapi.V1Gateway, v1GatewayV2} { // a mux would lead from the path without the slash to the one with it
		mux.Handle(strings.TrimSuffix(at, "/"), fallback)
	}
	if s.Control != nil {
		mux.Handle(v1GatewayV2, onlyListed(listed, s.asV2(mux), fallback))
		return
	}
	if s.Servers == nil {
		return
	}
	for _, row := range v1GatewayRows() {
		note(row.method + " " + openapi.V1Gateway + row.path)
	}
	mux.Handle(openapi.V1Gateway, onlyListed(listed, s.forward(), fallback))
}

// onlyListed hands on what is one of the listed paths, written plainly: what it says is then what the next one reads, whoever that is. For the rest, also
// for what has a slash or a dot in another spelling, there is nothing.
func onlyListed(listed *http.ServeMux, next, fallback http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, pattern := listed.Handler(r)
		if pattern == "" || r.URL.RawPath != "" {
			fallback.ServeHTTP(w, r)
			return
		}
		_, path, routed := strings.Cut(pattern, " ")
		if !routed {
			path = pattern
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), keyCalledAs, path)))
	})
}

// asV2 answers as the row of version 2 does: its role, its scopes, its record.
func (s *server) asV2(mux http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		successor := "/api/v2/" + strings.TrimPrefix(calledAs(r), v1GatewayV2)
		deprecate(w.Header(), Route{Successor: successor})
		at := *r.URL
		at.Path = "/api/v2/" + strings.TrimPrefix(r.URL.Path, v1GatewayV2)
		in := r.WithContext(r.Context())
		in.URL = &at
		mux.ServeHTTP(w, in)
	})
}

// calledAs is the path of the old gateway by which a request has come; empty: by none.
func calledAs(r *http.Request) string {
	path, _ := r.Context().Value(keyCalledAs).(string)
	return path
}

// oldRow is the row of version 1 that a request counts for; nil: for none.
func oldRow(r *http.Request, route *Route) *Route {
	if openapi.IsV1(route.Path) {
		return route
	}
	if path := calledAs(r); path != "" {
		return &Route{Method: route.Method, Path: path, Successor: route.Path}
	}
	return nil
}

// maxForwards bounds how many requests this process passes on at once: each holds its body, and a connection of a server.
const maxForwards = 128

// forward passes a request on to a server, as its caller: nothing of this process' own rights goes with it. Who the caller is, and what that allows, only the
// server tells, because it knows people who are logged in, too; without any credential it is not asked.
func (s *server) forward() http.Handler {
	room := make(chan struct{}, maxForwards)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secret, err := credentialOf(r)
		if err == nil && secret == "" {
			err = api.Errorf(api.CodeUnauthorized, "a credential is needed: send Authorization: Bearer TOKEN or x-api-key")
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
		select {
		case room <- struct{}{}:
			defer func() { <-room }()
		default:
			s.fail(w, r, api.Errorf(api.CodeUnavailable, "this gateway passes %d requests on already: try again, or ask a server", maxForwards))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		body, err := readBody(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		unhurried(w, r)
		s.passOn(body).ServeHTTP(w, r)
	})
}

// passOn is the proxy of one request, whose body has been read.
func (s *server) passOn(body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxy := httputil.ReverseProxy{
			Transport: s.Servers, FlushInterval: -1, ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug), // callers leave
			Rewrite: func(p *httputil.ProxyRequest) {
				out := p.Out
				out.URL = &url.URL{Scheme: "https", Host: "servers", Path: p.In.URL.Path, RawPath: p.In.URL.RawPath, RawQuery: p.In.URL.RawQuery}
				out.Body, out.ContentLength = http.NoBody, int64(len(body))
				if len(body) > 0 {
					out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
					out.Body, _ = out.GetBody() // it does not fail
				}
				for _, name := range []string{"Cookie", "Accept-Encoding", "Expect", "Connection", "Upgrade", "Te"} {
					out.Header.Del(name)
				}
				out.Header.Set("X-Request-Id", idOf(p.In))
				out.Header.Set("X-Forwarded-For", sourceOf(p.In)) // which a server believes if it is told to trust this machine
			},
			ModifyResponse: func(res *http.Response) error {
				res.Header.Del("Set-Cookie")
				for name := range res.Header { // what both say is said once
					w.Header().Del(name)
				}
				return nil
			},
			ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
				if r.Context().Err() != nil {
					return // the caller has left
				}
				e, ok := api.AsError(err)
				if !ok {
					s.Log.Warn("request not passed on", "request_id", idOf(r), "error", err)
					e = api.Errorf(api.CodeUpstream, "the answer of the server cannot be read; this gateway's log has the reason under this request id")
				}
				s.fail(w, r, api.Errorf(api.CodeUpstream, "bff proxy request failed: %s", e.Message))
			},
		}
		proxy.ServeHTTP(w, r)
	})
}
