package httpapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/httpapi"
)

// follows opens a stream on a connection of its own and waits until it has begun; the channel closes when the server ends it.
func (s *server) follows(path string, header ...string) <-chan struct{} {
	s.t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	s.t.Cleanup(client.CloseIdleConnections)
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.URL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != 200 {
		b, _ := io.ReadAll(res.Body)
		s.t.Fatalf("%s: %d %s", path, res.StatusCode, b)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, res.Body) // until it ends, in whatever way
	}()
	return ended
}

func (s *server) ends(what string, stream <-chan struct{}) {
	s.t.Helper()
	select {
	case <-stream:
	case <-time.After(30 * time.Second):
		s.t.Errorf("the stream goes on after %s", what)
	}
}

func (s *server) goesOn(what string, stream <-chan struct{}) {
	s.t.Helper()
	select {
	case <-stream:
		s.t.Errorf("the stream of another has ended with %s", what)
	default:
	}
}

// TestStreams_endWithTheirLogin: who logs out, is disabled or may do less than a stream needs is told nothing more; who asks again is told why, and the
// streams of others go on.
func TestStreams_endWithTheirLogin(t *testing.T) {
	s := withAnn(t)
	s.must(201, "POST", "/api/v2/users", text(t, api.CreateUser{Name: "bob", Role: api.RoleAdmin, Password: annPassword}))
	one, two, bob := s.logIn("ann", annPassword), s.logIn("ann", annPassword), s.logIn("bob", annPassword)
	paths := []string{"/api/v2/models?watch=1", "/api/v2/nodes?watch=1"}
	open := func(cookie string) (out []<-chan struct{}) {
		for _, path := range paths {
			out = append(out, s.follows(path, "Cookie", cookie))
		}
		return out
	}
	ofOne, ofTwo, ofBob := open(one), open(two), open(bob)
	s.must(200, "POST", "/api/v2/auth/logout", "", "Authorization", "", "Cookie", one)
	for i, path := range paths {
		s.ends("the logout: "+path, ofOne[i])
		s.goesOn("the logout", ofTwo[i])
		s.goesOn("the logout", ofBob[i])
		s.must(401, "GET", path, "", "Authorization", "", "Cookie", one)
	}
	users := s.follows("/api/v2/users?watch=1", "Cookie", bob)
	s.must(200, "PUT", "/api/v2/users/bob", `{"role":"viewer"}`)
	s.ends("the loss of the role", users)
	s.goesOn("the loss of a role that it does not need", ofBob[0])
	s.must(200, "PUT", "/api/v2/users/bob", `{"disabled":true}`)
	for i := range paths {
		s.ends("the disabling", ofBob[i])
		s.goesOn("the disabling of another", ofTwo[i])
	}
}

// TestStreams_endWithTheirKey: likewise, of keys.
func TestStreams_endWithTheirKey(t *testing.T) {
	s := withAnn(t)
	cookie := s.logIn("ann", annPassword)
	made := func(name string) (key api.KeyCreated) {
		t.Helper()
		body := s.must(201, "POST", "/api/v2/keys", `{"name":"`+name+`","role":"viewer"}`, "Authorization", "", "Cookie", cookie)
		if err := json.Unmarshal([]byte(body), &key); err != nil {
			t.Fatal(err)
		}
		return key
	}
	one, two := made("one"), made("two")
	ofOne := s.follows("/api/v2/models?watch=1", "X-Api-Key", string(one.Key))
	ofTwo := s.follows("/api/v2/models?watch=1", "Authorization", "Bearer "+string(two.Key))
	s.must(200, "DELETE", "/api/v2/keys/"+one.ID, "", "Authorization", "", "Cookie", cookie)
	s.ends("the revocation", ofOne)
	s.goesOn("the revocation of another", ofTwo)
}

// TestStreams_endByTheClock: a login that has run out ends its streams, although nothing has changed; an open stream does not keep it alive.
func TestStreams_endByTheClock(t *testing.T) {
	var later atomic.Int64
	s, token := newClusterWith(t, func(cfg *httpapi.Config) {
		known := cfg.Sessions.(auth.Directory)
		known.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
		cfg.Sessions = known
	})
	s.must(200, "POST", "/api/v2/setup", text(t, api.Setup{Token: api.Token(token), Username: "ann", Password: annPassword}), "Authorization", "")
	stream := s.follows("/api/v2/models?watch=1", "Cookie", s.logIn("ann", annPassword))
	later.Store(int64(365 * 24 * time.Hour))
	s.ends("the end of its login", stream)
}
