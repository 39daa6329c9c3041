package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
)

func TestLife_takesPartsDownLastFirst(t *testing.T) {
	l := newLife(slog.New(slog.DiscardHandler))
	var order []string
	note := func(name string) { order = append(order, name) } // stop calls one after the other
	l.onStop("a", func(context.Context) error { note("a"); return nil })
	l.goRun("b", func(ctx context.Context) error { <-ctx.Done(); note("b"); return nil })
	l.onStop("c", func(context.Context) error { note("c"); return errors.New("does not go") })
	l.goRun("d", func(ctx context.Context) error { <-ctx.Done(); note("d"); return nil })
	l.stop()
	if want := []string{"d", "c", "b", "a"}; !slices.Equal(order, want) {
		t.Errorf("taken down %v, want %v", order, want)
	}
	l.stop() // twice is harmless
	if len(order) != 4 {
		t.Errorf("the second stop took something down: %v", order)
	}
}

func TestLife_waitEndsWithTheFirstPartThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		says string
	}{
		"an error":       {errors.New("boom"), "part: boom"},
		"ends by itself": {nil, "part: ended by itself"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLife(slog.New(slog.DiscardHandler))
			defer l.stop()
			l.goRun("part", func(context.Context) error { return c.err })
			if err := l.wait(t.Context()); err == nil || err.Error() != c.says {
				t.Errorf("wait returned %v, want %q", err, c.says)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newLife(slog.New(slog.DiscardHandler)).wait(ctx); err != nil {
		t.Errorf("an orderly end is %v, not nil", err)
	}
}

func TestLockDir_isPrivateAndOurs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "data")
	release, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode of the data directory %v, %v; want 0700", info.Mode(), err)
	}
	_, err = lockDir(dir)
	held, ok := errors.AsType[*InUseError](err)
	if !ok || !strings.Contains(held.Error(), strconv.Itoa(os.Getpid())) || !strings.Contains(held.Error(), "--data-dir") {
		t.Errorf("second lock: %v; want who holds it and the way out", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	again, err := lockDir(dir)
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	if err := again(); err != nil {
		t.Error(err)
	}
}

func TestServerAddress_isThereWhileTheServerIs(t *testing.T) {
	dir := t.TempDir()
	if got := ServerAddress(dir); got != "" {
		t.Errorf("without a server: %q", got)
	}
	if err := writeServerAddress(dir, "http://127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	if got := ServerAddress(dir); got != "http://127.0.0.1:1" {
		t.Errorf("with a server: %q", got)
	}
	if err := removeServerAddress(dir); err != nil || ServerAddress(dir) != "" {
		t.Errorf("after its end: %q, %v", ServerAddress(dir), err)
	}
	if _, err := LocalToken(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("token of a fresh directory: %v", err)
	}
	if token, _, err := auth.AdminToken(dir); err != nil {
		t.Fatal(err)
	} else if got, err := LocalToken(dir); err != nil || got != token {
		t.Errorf("token %.6s…, %v", got, err)
	}
}

func TestListen_saysWhatIsWrong(t *testing.T) {
	ln, err := listen(t.Context(), "127.0.0.1:0", "--listen")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	if _, err := listen(t.Context(), ln.Addr().String(), "--listen"); !api.HasCode(err, api.CodeConflict) || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("taken port: %v", err)
	}
	for _, bad := range []string{"nonsense", "127.0.0.1:99999", "256.0.0.1:1"} {
		if _, err := listen(t.Context(), bad, "--listen"); !api.HasCode(err, api.CodeInvalidRequest) {
			t.Errorf("listen on %q: %v", bad, err)
		}
	}
}

func TestLocalURL(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:8081": "http://127.0.0.1:8081", "0.0.0.0:8081": "http://127.0.0.1:8081", "[::]:8081": "http://127.0.0.1:8081",
		"192.0.2.7:80": "http://192.0.2.7:80", "[::1]:9": "http://[::1]:9",
	} {
		a, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := localURL(a, false); got != want {
			t.Errorf("localURL(%s) = %s, want %s", addr, got, want)
		}
	}
}

func TestNodeID(t *testing.T) {
	if id, err := nodeID("gpu-1.rack.example"); err != nil || id != "gpu-1.rack.example" {
		t.Errorf("%q, %v", id, err)
	}
	if _, err := nodeID("../x"); !api.HasCode(err, api.CodeInvalidRequest) {
		t.Errorf("a path as name: %v", err)
	}
	if id, err := nodeID(""); err != nil || !api.ValidNodeID(id) {
		t.Errorf("default name %q, %v", id, err)
	}
}

func TestFreePort_isFreeAndBelowLinuxsOwnRange(t *testing.T) {
	port, err := freePort()
	if err != nil || port < firstPort || port >= firstPort+portCount {
		t.Fatalf("port %d, %v", port, err)
	}
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatalf("port %d is not free: %v", port, err)
	}
	_ = ln.Close()
}

func TestFirstVersion(t *testing.T) {
	for text, want := range map[string]string{
		"version: 0.7.0 (build 11669, commit Debian)": "0.7.0",
		"vllm 0.11.0\n":        "0.11.0",
		"INFO loading\nv1.2.3": "v1.2.3",
		"no version here":      "",
		"":                     "",
		"9" + strings.Repeat("1", 60) + " is far too long": "",
	} {
		if got := firstVersion(text); got != want {
			t.Errorf("firstVersion(%.30q) = %q, want %q", text, got, want)
		}
	}
}
