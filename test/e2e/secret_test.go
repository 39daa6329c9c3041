package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/etcd"
	"github.com/nebula-serve/nebula/test/canary"
	"github.com/nebula-serve/nebula/test/hub"
	"github.com/nebula-serve/nebula/test/llama"
	"github.com/nebula-serve/nebula/test/procs"
)

// Tokens that are planted, to be looked for everywhere.
const (
	rightToken = "hf_canaryRight0123456789"
	wrongToken = "hf_canaryWrong0123456789"
)

// search looks for planted secrets in what a test has seen.
type search struct {
	t *testing.T
	canary.Set
	// allowed tells why a secret may be at a place; empty: it may not. nil: none may be anywhere.
	allowed func(where, what string) string
	places  int
	excused map[string]int // how often each reason was needed
}

// searchTokens is a search for the tokens of these tests.
func searchTokens(t *testing.T) *search {
	s := &search{t: t}
	s.add("right token", rightToken)
	s.add("wrong token", wrongToken)
	return s
}

func (s *search) add(what, secret string) {
	s.t.Helper()
	if err := s.Add(what, secret); err != nil {
		s.t.Fatal(err)
	}
}

func (s *search) in(where string, b []byte) {
	s.t.Helper()
	s.places++
	for _, leak := range s.Leaks(b) {
		if s.allowed != nil {
			if why := s.allowed(where, leak.What); why != "" {
				s.excused[why]++
				continue
			}
		}
		s.t.Errorf("%s has the %s:\n%s", where, leak.What, leak.Lines)
	}
}

// under looks into every file of a folder, and tells whether any has a control word, so that the search is known to see.
func (s *search) under(dir string, control string) (seen bool) {
	s.t.Helper()
	known, err := canary.New(control)
	if err != nil {
		s.t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // it went meanwhile
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		b = append(b, unpacked(b)...)
		s.in(path, b)
		seen = seen || known.In(b, bytes.ToLower(b))
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
	return seen
}

// unpacked is what is compressed inside a file, as in a snapshot.
func unpacked(b []byte) []byte {
	at := bytes.Index(b, []byte("\x1f\x8b\x08"))
	if at < 0 {
		return nil
	}
	z, err := gzip.NewReader(bytes.NewReader(b[at:]))
	if err != nil {
		return nil
	}
	out, _ := io.ReadAll(io.LimitReader(z, 64<<20)) // what is only like it ends in an error
	return out
}

// processes looks into arguments and environment of every process that works for a data directory, and returns how many are engines.
func (s *search) processes(dir string) (engines int) {
	s.t.Helper()
	all, err := procs.Of(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, p := range all {
		for _, file := range []string{"cmdline", "environ"} {
			path := fmt.Sprintf("/proc/%d/%s", p.PID, file)
			b, err := os.ReadFile(path)
			if err != nil || len(b) == 0 {
				s.t.Errorf("%s: %d bytes, %v", path, len(b), err)
			}
			s.in(fmt.Sprintf("%s of the %s, %d", file, p.Kind(), p.PID), b)
		}
		if p.Kind() == procs.KindEngine {
			engines++
		}
	}
	return engines
}

// raw looks at every key of the server's store as etcd has it.
func (s *search) raw(dir string) (keys []string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	kv, err := etcd.Dial(ctx, etcd.Config{Endpoints: []string{"unix://" + dir + "/etcd/etcd.sock"}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = kv.Close() }()
	all, _, err := kv.List(ctx, "/")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, doc := range all {
		s.in("the store's "+doc.Key, doc.Value)
		keys = append(keys, doc.Key)
	}
	return keys
}

// secret stores a secret as people do, from a file.
func (n *nebula) secret(name, value string) {
	n.t.Helper()
	file := filepath.Join(n.t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(value+"\n"), 0o600); err != nil {
		n.t.Fatal(err)
	}
	n.must("secret", "set", name, "--from-file", file)
}

// private is a hub with a gated repository for whoever has the right token.
func private(t *testing.T, reply string) *hub.Hub {
	t.Helper()
	r := repo(t, reply)
	r.Gated, r.Allow = true, []string{rightToken}
	return hub.Start(t, r)
}

// failed waits until a model has failed for a reason that says so.
func (n *nebula) failed(uid, says string) {
	n.t.Helper()
	d := n.until(uid, 60*time.Second, api.StateFailed)
	if d.Reason == nil || d.Reason.Code != string(api.FailHubAuth) || !strings.Contains(d.Reason.Message, says) {
		n.t.Errorf("%s failed with %+v; want %q", uid, d.Reason, says)
	}
}

// TestSecret_leavesNoTrace: a gated model on a node of its own. With a wrong token it fails in words, with the right one it runs by itself, and
// neither token is anywhere but in what the hub was asked.
func TestSecret_leavesNoTrace(t *testing.T) {
	const reply = "Only for members."
	h := private(t, reply)
	s := begin(t, "server", "--fleet-listen", port(t), "--node-id", "s1")
	node := join(t, s, "node", "n1", "--listen", "127.0.0.1:0", "--llama-server", llama.Need(t), "--hf-endpoint", h.URL)
	s.nodesReady(1)

	s.must("model", "create", "acme/Tiny-GGUF", "--uid", "open", "--start")
	s.failed("open", "nebula secret set")
	s.secret("hf-members", wrongToken)
	s.must("model", "create", "acme/Tiny-GGUF", "--uid", "gated", "--token-secret", "hf-members", "--start")
	s.failed("gated", "does not accept the token")
	s.secret("hf-members", rightToken)
	s.until("gated", 60*time.Second, api.StateRunning)
	if got, err := s.ask("gated"); err != nil || got != reply {
		t.Errorf("answer %q, %v", got, err)
	}

	// The servers are away and the files are gone: the node waits for the token, says so, and goes on when they are back.
	s.kill9()
	node.kill9()
	node.endEngines()
	if err := os.RemoveAll(filepath.Join(node.dir, "models")); err != nil {
		t.Fatal(err)
	}
	earlier := node.log
	node.start()
	eventually(t, 60*time.Second, func() error {
		if !strings.Contains(node.log.String(), "the download needs the secret hf-members") {
			return errors.New("the node does not say that it waits for the token")
		}
		return nil
	})
	crashed := s.log
	s.start()
	eventually(t, 2*time.Minute, func() error {
		got, err := s.ask("gated")
		if err == nil && got != reply {
			err = fmt.Errorf("answer %q", got)
		}
		return err
	})

	find := searchTokens(t)
	if keys := find.raw(s.dir); !strings.Contains(strings.Join(keys, " "), "/secrets/hf-members") {
		t.Errorf("the secret is not in the store: %v", keys)
	}
	backup := filepath.Join(t.TempDir(), "backup.db")
	s.must("admin", "backup", backup)
	for dir, control := range map[string]string{s.dir: "/secrets/hf-members", node.dir: "hf-members", filepath.Dir(backup): "/secrets/hf-members"} {
		if !find.under(dir, control) {
			t.Errorf("nothing under %s knows %s: the search is blind", dir, control)
		}
	}
	if find.processes(s.dir); find.processes(node.dir) != 1 {
		t.Error("there is not one engine to look at")
	}
	for name, log := range map[string]*procs.Log{"the server's": s.log, "its former": crashed, "the node's": node.log, "its former ": earlier} {
		find.in(name+" log", []byte(log.String()))
	}
	for _, path := range []string{
		"/metrics", "/api/v2/models", "/api/v2/models/gated", "/api/v2/models/open", "/api/v2/models/gated/logs", "/api/v2/nodes", "/api/v2/nodes/n1", "/api/v2/secrets",
		"/api/v2/members", "/api/v2/cluster", "/api/v2/alerts", "/api/v2/tokens",
	} {
		status, text, _ := s.call("GET", path, "")
		if status != 200 {
			t.Errorf("%s: %d %s", path, status, text)
		}
		find.in("the answer of "+path, []byte(text))
	}
	out, errs, _ := s.cli("secret", "list", "-o", "yaml")
	find.in("nebula secret list", []byte(out+errs))
	if find.places < 50 {
		t.Errorf("only %d places were looked at", find.places)
	}
	shown := map[string]bool{}
	for _, r := range h.Requests() {
		shown[r.Authorization] = true
	}
	if !shown["Bearer "+rightToken] || !shown["Bearer "+wrongToken] {
		t.Errorf("the hub was shown %v", shown)
	}
}

// TestSecret_up: the same on a workstation, where server and node are one process; what is on the disk needs no token any more.
func TestSecret_up(t *testing.T) {
	const reply = "Also at home."
	h := private(t, reply)
	n := up(t, "--llama-server", llama.Need(t), "--hf-endpoint", h.URL)
	n.secret("hf", rightToken)
	n.must("model", "create", "acme/Tiny-GGUF", "--uid", "gated", "--token-secret", "hf", "--start", "--wait", "--timeout", "90s")
	if _, errs, code := n.cli("secret", "delete", "hf"); code != 4 || !strings.Contains(errs, "used by gated") {
		t.Errorf("delete of a secret in use: exit %d, %s", code, errs)
	}
	n.must("secret", "delete", "hf", "--force")
	h.Forget()
	engines := n.engines()
	n.kill9()
	for _, pid := range engines {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	n.start()
	eventually(t, 60*time.Second, func() error {
		got, err := n.ask("gated")
		if err == nil && got != reply {
			err = fmt.Errorf("answer %q", got)
		}
		return err
	})
	if asked := h.Requests(); len(asked) > 0 {
		t.Errorf("%d requests to the hub for what is on the disk", len(asked))
	}
	find := searchTokens(t)
	if !find.under(n.dir, "/models/gated/spec") || find.processes(n.dir) != 1 {
		t.Error("the search is blind")
	}
	find.in("the log", []byte(n.log.String()))
}

// TestSecret_everyServerOpensIt: a server that joins gets the key, also of a cluster that is older than secrets and never had a file of it.
func TestSecret_everyServerOpensIt(t *testing.T) {
	h := private(t, "Whoever is asked.")
	host := func() string { return fmt.Sprintf("127.%d.%d.1", 1+rand.N(250), rand.N(250)) } // the store's members have fixed ports
	first, second := host(), host()
	s1 := begin(t, "server", "--cluster-init", "--node-id", "s1", "--fleet-listen", first+":8443")
	key := func(dir string) string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, "pki", "secrets.key"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	own := key(s1.dir)
	s1.interrupt()
	if err := os.Remove(filepath.Join(s1.dir, "pki", "secrets.key")); err != nil { // as the version before has left it
		t.Fatal(err)
	}
	s1.start()
	if key(s1.dir) != own {
		t.Error("the key of an older cluster is another one at every start")
	}
	s1.secret("hf-members", rightToken)
	made, err := s1.client.CreateToken(context.Background(), api.CreateJoinToken{For: api.MachineServer, Name: "s2"})
	if err != nil {
		t.Fatal(err)
	}
	s2 := begin(t, "server", "--join", "https://"+first+":8443", "--token", made.Token, "--node-id", "s2", "--fleet-listen", second+":8443")
	if key(s2.dir) != own {
		t.Error("the server that joined has another key")
	}
	node := join(t, s2, "node", "n1", "--listen", "127.0.0.1:0", "--llama-server", llama.Need(t), "--hf-endpoint", h.URL)
	s2.nodesReady(1)
	s2.must("model", "create", "acme/Tiny-GGUF", "--uid", "gated", "--token-secret", "hf-members", "--start", "--wait", "--timeout", "90s")
	find := searchTokens(t)
	find.allowed, find.excused = excuse, map[string]int{}
	find.add("admin token", s2.token()) // which the server that joined was given
	for _, dir := range []string{s1.dir, s2.dir, node.dir} {
		if !find.under(dir, "hf-members") {
			t.Errorf("nothing under %s knows the secret's name: the search is blind", dir)
		}
	}
	if s1.token() != s2.token() || find.excused[itsOwnFile] != 2 {
		t.Errorf("the admin token is not that of both servers, in a file of its own at each: %v", find.excused)
	}
}
