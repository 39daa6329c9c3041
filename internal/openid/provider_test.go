package openid

import (
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
)

// TestProvider_trustsItsRootsAlone asks a provider over TLS, whose certificate is of an authority that no machine knows.
func TestProvider_trustsItsRootsAlone(t *testing.T) {
	var s *httptest.Server
	s = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":%q,"token_endpoint":%q,"jwks_uri":%q}`, s.URL, s.URL+"/auth", s.URL+"/token", s.URL+"/keys")
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	right := x509.NewCertPool()
	right.AddCert(s.Certificate())
	for _, c := range []struct {
		what  string
		roots *x509.CertPool
		good  bool
	}{{"its own", right, true}, {"others", x509.NewCertPool(), false}, {"the machine's", nil, false}} {
		p, err := New(Config{Issuer: s.URL, ClientID: "nebula", Otherwise: api.RoleViewer, Roots: c.roots, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		to, err := p.URL(t.Context(), Attempt{Verifier: "v"})
		if c.good && (err != nil || !strings.HasPrefix(to, s.URL+"/auth?")) || !c.good && !api.HasCode(err, api.CodeUnavailable) {
			t.Errorf("with %s: %q, %v", c.what, to, err)
		}
	}
}
