package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestGateway_oldClients: a gateway that is a process of its own answers what clients of the old one ask there: its log and metrics itself, all else by way
// of a server, and where none answers it says so.
func TestGateway_oldClients(t *testing.T) {
	front := port(t)
	s := begin(t, "server", "--fleet-listen", port(t), "--node-id", "server1")
	token := s.token()
	join(t, s, "gateway", "gateway1", "--listen", front)
	ask := func(method, path, body string, want int, says string) error {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+front+"/v1/admin/"+path, strings.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("X-Api-Key", token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		text, err := io.ReadAll(res.Body)
		if err == nil && (res.StatusCode != want || !strings.Contains(string(text), says)) {
			err = fmt.Errorf("%s %s: %d %s, want %d with %q", method, path, res.StatusCode, text, want, says)
		}
		return err
	}
	eventually(t, time.Minute, func() error { return ask("GET", "whoami", "", 200, `{"principal":"admin","role":"admin"}`) })
	for _, c := range []struct {
		method, path, body string
		want               int
		says               string
	}{
		{"POST", "models/load", `{"model_name":"acme/old","model_uid":"old_1"}`, 200, `"status":"pending"`},
		{"GET", "models/requests", "", 200, `"model_uid":"old_1"`},
		{"GET", "v2/models/old_1", "", 200, `"model_uid":"old_1"`},
		{"POST", "v2/models/old_1/stop", "", 200, `"desired_state":"stopped"`},
		{"GET", "v2/users", "", 404, "nothing at"},
		{"GET", "cluster/status", "", 200, `"model_requests":[{`},
		{"GET", "metrics", "", 200, "nebula_gateway"},
		{"GET", "logs", "", 200, "component=api"},
	} {
		if err := ask(c.method, c.path, c.body, c.want, c.says); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.client.Model(t.Context(), "old_1"); err != nil {
		t.Errorf("the server does not know what the gateway was told: %v", err)
	}
	s.interrupt()
	eventually(t, time.Minute, func() error {
		return ask("GET", "v2/models", "", 502, "bff proxy request failed: no server of the cluster answers")
	})
	if err := ask("GET", "logs?lines=2000", "", 200, "a server is of no use now"); err != nil {
		t.Error(err)
	}
}
