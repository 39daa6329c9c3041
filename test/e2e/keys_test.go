package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

// followed is how soon every gateway does what was decided about a key.
const followed = 2 * time.Second

// TestKeys_everyGateway: what is decided about a key at the server counts, within two seconds, at a gateway that is a process of its own.
func TestKeys_everyGateway(t *testing.T) {
	ctx, front := t.Context(), port(t)
	s := begin(t, "server", "--fleet-listen", port(t), "--node-id", "server1")
	gateway := join(t, s, "gateway", "gateway1", "--listen", front)
	admin := s.client
	eventually(t, 30*time.Second, func() error { return client.New("http://"+front, s.token()).Ready(ctx) })
	if _, err := admin.CreateUser(ctx, api.CreateUser{Name: "ann", Role: api.RoleViewer}); err != nil {
		t.Fatal(err)
	}

	var slowest time.Duration
	// after does something at the server, and waits until the gateway answers the key as wanted.
	after := func(what, key string, want int, do func() error) {
		t.Helper()
		if err := do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		from := time.Now()
		eventually(t, 30*time.Second, func() error {
			got, err := tryKey(front, key)
			if err == nil && got != want {
				err = fmt.Errorf("%s: the gateway answers %d, want %d", what, got, want)
			}
			return err
		})
		took := time.Since(from)
		t.Logf("%-16s counts at the gateway after %s", what, took.Round(time.Millisecond))
		if slowest = max(slowest, took); took > followed {
			t.Errorf("%s: the gateway followed after %s, want at most %s", what, took, followed)
		}
	}
	made, err := admin.CreateKey(ctx, api.CreateKey{Name: "bot", Owner: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	key, on, off := string(made.Key), false, true
	update := func(disabled *bool) func() error {
		return func() error {
			_, err := admin.UpdateKey(ctx, made.ID, api.UpdateKey{Disabled: disabled})
			return err
		}
	}
	owner := func(disabled *bool) func() error {
		return func() error {
			_, err := admin.UpdateUser(ctx, "ann", api.UpdateUser{Disabled: disabled})
			return err
		}
	}
	after("created", key, 200, func() error { return nil })
	after("disabled", key, 401, update(&off))
	after("enabled", key, 200, update(&on))
	after("owner disabled", key, 401, owner(&off))
	after("owner enabled", key, 200, owner(&on))
	after("other routes", key, 403, func() error {
		_, err := admin.UpdateKey(ctx, made.ID, api.UpdateKey{Scopes: &api.Scopes{Routes: []string{"/v1/embeddings"}}})
		return err
	})
	after("all routes", key, 200, func() error {
		_, err := admin.UpdateKey(ctx, made.ID, api.UpdateKey{Scopes: &api.Scopes{}})
		return err
	})
	eventually(t, time.Minute, func() error { // the gateway has told a server that the key was used
		view, err := admin.Key(ctx, made.ID)
		if err == nil && view.LastUsedMS == 0 {
			err = errors.New("the key was used at the gateway, and nobody knows")
		}
		return err
	})

	former := key
	after("rotated", former, 401, func() error {
		rotated, err := admin.RotateKey(ctx, made.ID, api.RotateKey{})
		key = string(rotated.Key)
		return err
	})
	after("the new secret", key, 200, func() error { return nil })

	// While no server is there a key counts as it did.
	s.kill9()
	if got, err := tryKey(front, key); err != nil || got != 200 {
		t.Errorf("without a server: %d, %v", got, err)
	}
	s.start()
	admin = s.client
	after("deleted", key, 401, func() error { return admin.DeleteKey(ctx, made.ID) })

	other, err := admin.CreateKey(ctx, api.CreateKey{Name: "bot", Owner: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	after("another", string(other.Key), 200, func() error { return nil })
	after("owner deleted", string(other.Key), 401, func() error { return admin.DeleteUser(ctx, "ann") })
	t.Logf("slowest: %s", slowest.Round(time.Millisecond))
	for _, secret := range []string{former, key, string(other.Key)} {
		if strings.Contains(s.log.String()+gateway.log.String(), secret) {
			t.Error("a key is in a log")
		}
	}
}

// tryKey asks a gateway for its models with a key, and returns the status.
func tryKey(addr, key string) (int, error) {
	req, err := http.NewRequest(http.MethodGet, "http://"+addr+"/v1/models", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}
