package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
	"github.com/nebula-serve/nebula/internal/control"
	"github.com/nebula-serve/nebula/internal/store"
	"github.com/nebula-serve/nebula/internal/store/storetest"
)

// TestKnownHost: a page elsewhere that points its own name at this server is not answered, however it writes the name.
func TestKnownHost(t *testing.T) {
	s := &server{Config: Config{Hosts: []string{"nebula.example.com"}}}
	for host, want := range map[string]bool{
		"nebula.example.com": true, "nebula.example.com:8081": true, "NEBULA.Example.COM": true, "localhost": true, "LocalHost:8081": true,
		"127.0.0.1": true, "127.0.0.1:8081": true, "192.0.2.7:8081": true, "[::1]": true, "[::1]:8081": true, "[2001:db8::7]:8081": true,
		"": false, ":8081": false, "evil.example": false, "evil.example:8081": false, "nebula.example.com.": false, "nebula.example.com.:8081": false, "localhost.": false,
		"nebula.example.com.evil.example": false, "evil-nebula.example.com": false, "sub.nebula.example.com": false, "127.0.0.1.evil.example": false,
		"localhost.evil.example": false, "evil.example@127.0.0.1": false, "127.0.0.1,evil.example": false, "[evil.example]": false, "[::1]evil.example": false,
		"127.1": false, "0x7f000001": false, "2130706433": false, "nebula.example.com:8081:8081": false, "nebula.example.com/": false, " nebula.example.com": false,
	} {
		if got := s.knownHost(host); got != want {
			t.Errorf("%q: known %v, want %v", host, got, want)
		}
	}
}

// TestProven_sameWorkForEverybody: whoever tries to log in, as whom, costs one argon2id with the same parameters: nobody learns from the time which
// users there are, which are disabled and which log in elsewhere.
func TestProven_sameWorkForEverybody(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	st, err := store.Open(ctx, storetest.NewMem(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = st.Run(ctx) }()
	defer func() { cancel(); <-done }()
	type work struct {
		time, memory, length uint32
		threads              uint8
		salt                 int
	}
	var did []work
	s := &server{Config: Config{View: st, Control: control.New(st, time.Now), Now: time.Now, Log: slog.New(slog.DiscardHandler)}, logins: newLogins()}
	s.logins.passwords = auth.PasswordsBy(func(password, salt []byte, time, memory uint32, threads uint8, n uint32) []byte {
		did = append(did, work{time, memory, n, threads, len(salt)})
		sum := make([]byte, n)
		copy(sum, password)
		return sum
	})
	const password = "a long walk over hills"
	hash, err := s.logins.passwords.Hash(ctx, password)
	if err != nil {
		t.Fatal(err)
	}
	as := control.System(ctx, "test")
	for _, name := range []string{"known", "off"} {
		if _, err := s.Control.CreateUser(as, api.CreateUser{Name: name, Role: api.RoleViewer}, hash); err != nil {
			t.Fatal(err)
		}
	}
	off := true
	if _, err := s.Control.UpdateUser(as, "off", api.UpdateUser{Disabled: &off}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Control.External(as, api.ExternalID{Issuer: "https://id.example.com", Subject: "7"}, api.CreateUser{Name: "elsewhere", Role: api.RoleViewer}); err != nil {
		t.Fatal(err)
	}
	want, text := did[0], ""
	for _, c := range []struct {
		who, password string
		in            bool
	}{
		{"known", password, true},
		{"known", "no such walk over hills", false},
		{"unknown", password, false},
		{"off", password, false},
		{"off", "no such walk over hills", false},
		{"elsewhere", password, false},
		{"no name at all!", password, false},
	} {
		did = nil
		_, err := s.proven(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodPost, "/", nil), c.who, api.Token(c.password))
		if len(did) != 1 || did[0] != want {
			t.Errorf("%s: the work was %+v, want once %+v", c.who, did, want)
		}
		if (err == nil) != c.in {
			t.Errorf("%s: %v", c.who, err)
		}
		if err != nil && text != "" && err.Error() != text {
			t.Errorf("%s is told %q, and others %q", c.who, err, text)
		}
		if err != nil {
			text = err.Error()
		}
	}
}
