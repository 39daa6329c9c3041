package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/internal/demomodel"
	"github.com/nebula-serve/nebula/test/llama"
	"github.com/nebula-serve/nebula/test/procs"
)

// TestWalk_createChatScaleStopDelete is the main job, start to end, with the commands that people type.
func TestWalk_createChatScaleStopDelete(t *testing.T) {
	n := up(t, "--llama-server", llama.Need(t))
	const reply = "Nebula works: this demo model says so, twice, Nebula works!"
	out := n.must("model", "create", "--uid", "demo", "--path", n.demo("demo", reply), "--label", "team=e2e", "--start", "--wait", "--timeout", "90s")
	if !strings.Contains(out, "Model demo is running") {
		t.Errorf("create --wait printed %q", out)
	}

	// Three ways to the same exact answer.
	if got := strings.TrimSpace(n.must("chat", "-m", "demo", "Who are you?")); got != reply {
		t.Errorf("nebula chat: %q, want %q", got, reply)
	}
	if got, err := n.ask("demo"); err != nil || got != reply {
		t.Errorf("plain request: %q, %v; want %q", got, err, reply)
	}
	var streamed strings.Builder
	for piece, err := range n.client.Chat(context.Background(), client.ChatRequest{Model: "demo", Messages: []client.Message{{Role: "user", Content: "hi"}}}) {
		if err != nil {
			t.Fatal(err)
		}
		streamed.WriteString(piece)
	}
	if streamed.String() != reply {
		t.Errorf("streamed: %q, want %q", streamed.String(), reply)
	}

	status, body, _ := n.call("POST", "/v1/completions", `{"model":"demo","prompt":"hi"}`)
	if status != 200 || !strings.Contains(body, `"text_completion"`) || !strings.Contains(body, "Nebula works") {
		t.Errorf("completions: %d %s", status, body)
	}
	status, body, _ = n.call("GET", "/v1/models", "")
	if status != 200 || !strings.Contains(body, `"id":"demo"`) {
		t.Errorf("models: %d %s", status, body)
	}
	var list []api.ModelView
	if err := json.Unmarshal([]byte(n.must("model", "list", "--label", "team=e2e", "-o", "json")), &list); err != nil || len(list) != 1 || list[0].State != api.StateRunning {
		t.Errorf("list: %+v, %v", list, err)
	}
	if out := n.must("node", "list"); !strings.Contains(out, "llamacpp") {
		t.Errorf("node list: %s", out)
	}
	if out := n.must("model", "logs", "demo", "--tail", "500"); !strings.Contains(out, "listening") {
		t.Errorf("logs do not show the engine's own words:\n%s", out)
	}

	n.must("model", "scale", "demo", "--replicas", "2", "--wait", "--timeout", "90s")
	two := n.pids("demo")
	if len(two) != 2 || two[0] == two[1] {
		t.Fatalf("replicas after scaling: %v", two)
	}

	n.must("model", "stop", "demo", "--wait", "--timeout", "60s")
	for _, pid := range two {
		if alive(pid) {
			t.Errorf("engine %d still runs after stop", pid)
		}
	}
	if _, err := n.ask("demo"); err == nil || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), "nebula model start demo") {
		t.Errorf("a stopped model answers %v; want 503 with what to do", err)
	}
	if d := n.model("demo"); d.Deployment == nil || d.Deployment.Replicas != 2 || d.Placement != nil {
		t.Errorf("stop must keep the wish and drop the placement: %+v", d)
	}
	n.must("model", "start", "demo", "--replicas", "1", "--wait", "--timeout", "90s")
	if got, err := n.ask("demo"); err != nil || got != reply {
		t.Errorf("after start: %q, %v", got, err)
	}

	n.must("model", "delete", "demo")
	eventually(t, 60*time.Second, func() error {
		if left := n.engines(); len(left) > 0 {
			return fmt.Errorf("engines %v still run after delete", left)
		}
		return nil
	})
	if _, _, code := n.cli("model", "get", "demo"); code != 3 {
		t.Errorf("get of a deleted model exits %d, want 3", code)
	}
	if n.answered < 10 {
		t.Errorf("%d answers to command lines have been held against the API's document", n.answered)
	}
	if _, err := os.Stat(filepath.Join(n.dir, "demo.gguf")); err != nil {
		t.Errorf("delete touched the user's file: %v", err)
	}
}

// TestTwoModels_eachAnswersForItself: names are routed, not guessed (llama-server itself ignores the model field).
func TestTwoModels_eachAnswersForItself(t *testing.T) {
	n := up(t, "--llama-server", llama.Need(t))
	n.running("red", "I am red.")
	n.running("blue", "I am blue.")
	for uid, want := range map[string]string{"red": "I am red.", "blue": "I am blue."} {
		if got, err := n.ask(uid); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", uid, got, err, want)
		}
	}
	status, body, _ := n.call("POST", "/v1/chat/completions", `{"model":"green","messages":[{"role":"user","content":"hi"}]}`)
	if status != 404 || !strings.Contains(body, "red") || !strings.Contains(body, "blue") || !strings.Contains(body, "model_not_found") {
		t.Errorf("unknown model: %d %s; want 404 naming red and blue", status, body)
	}
}

// TestEmbeddings: a model whose file says that it gives vectors is served as such, and refuses a chat, which would kill its engine.
func TestEmbeddings(t *testing.T) {
	n := up(t, "--llama-server", llama.Need(t))
	path := filepath.Join(n.dir, "vectors.gguf")
	if err := demomodel.WriteFile(path, demomodel.Options{Name: "vectors", Reply: "north south east west", Embedding: true}); err != nil {
		t.Fatal(err)
	}
	n.must("model", "create", "--uid", "vectors", "--path", path, "--start", "--wait", "--timeout", "90s")
	pid := n.pids("vectors")[0]
	status, body, _ := n.call("POST", "/v1/embeddings", `{"model":"vectors","input":["north","south"]}`)
	var answer struct {
		Data []struct{ Embedding []float64 }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != 200 || len(answer.Data) != 2 || len(answer.Data[0].Embedding) == 0 {
		t.Fatalf("%d %.300s: %v", status, body, err)
	}
	if fmt.Sprint(answer.Data[0].Embedding) == fmt.Sprint(answer.Data[1].Embedding) {
		t.Error("two words have the same vector")
	}
	if _, err := n.ask("vectors"); err == nil || !strings.Contains(err.Error(), "status 400") {
		t.Errorf("chat with an embedding model: %v; want 400", err)
	}
	if n.pids("vectors")[0] != pid {
		t.Error("the engine did not survive the chat")
	}
}

// TestUpdate_changeOfFileRollsOut: a changed spec replaces the engine, a changed label does not.
func TestUpdate_changeOfFileRollsOut(t *testing.T) {
	n := up(t, "--llama-server", llama.Need(t))
	n.running("m", "Old answer.")
	before := n.pids("m")
	status, body, h := n.call("PUT", "/api/v2/models/m", `{"labels":{"a":"b"}}`)
	if status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	next := n.demo("next", "New answer.")
	if status, body, _ = n.call("PUT", "/api/v2/models/m", fmt.Sprintf(`{"model_path":%q}`, next), "If-Match", `"1"`); status != 412 {
		t.Errorf("stale If-Match: %d %s, want 412", status, body)
	}
	if after := n.pids("m"); after[0] != before[0] {
		t.Errorf("a label restarted the engine: %v, then %v", before, after)
	}
	if status, body, _ = n.call("PUT", "/api/v2/models/m", fmt.Sprintf(`{"model_path":%q}`, next), "If-Match", h.Get("ETag")); status != 200 {
		t.Fatalf("fresh If-Match: %d %s", status, body)
	}
	eventually(t, 60*time.Second, func() error {
		got, err := n.ask("m")
		if err == nil && got != "New answer." {
			err = fmt.Errorf("answer %q", got)
		}
		return err
	})
}

// TestCtrlC_leavesNothingBehind: one Ctrl-C ends engines, store and all, and the next start runs the model again.
func TestCtrlC_leavesNothingBehind(t *testing.T) {
	n := up(t, "--llama-server", llama.Need(t))
	n.running("m", "Still here.")
	if code := n.interrupt(); code != 0 {
		t.Errorf("exit code %d after Ctrl-C", code)
	}
	eventually(t, 10*time.Second, func() error {
		if left := n.processes(); len(left) > 0 {
			return fmt.Errorf("left behind: %+v", left)
		}
		return nil
	})
	if _, errs, code := n.cli("model", "list"); code == 0 || !strings.Contains(errs, "nebula up") {
		t.Errorf("without a server: exit %d, %q; want the next step", code, errs)
	}
	n.start()
	n.until("m", 60*time.Second, api.StateRunning)
	if got, err := n.ask("m"); err != nil || got != "Still here." {
		t.Errorf("after the restart: %q, %v", got, err)
	}
}

// TestKeepEngines_surviveAnOrderlyEnd: with --keep-engines the next start adopts.
func TestKeepEngines_surviveAnOrderlyEnd(t *testing.T) {
	n := up(t, "--llama-server", llama.Need(t), "--keep-engines")
	n.running("m", "Kept.")
	before := n.pids("m")
	n.interrupt()
	if !alive(before[0]) {
		t.Fatal("the engine ended with nebula up")
	}
	n.start()
	n.until("m", 30*time.Second, api.StateRunning)
	if after := n.pids("m"); after[0] != before[0] {
		t.Errorf("pid %d, then %d: not adopted", before[0], after[0])
	}
}

// TestSecondUp_saysSoAndExits: two on one data directory.
func TestSecondUp_saysSoAndExits(t *testing.T) {
	n := up(t)
	out, errs, code := n.cli("up", "--listen", "127.0.0.1:0")
	if code != 4 || !strings.Contains(errs, "another nebula") || !strings.Contains(errs, fmt.Sprint(n.cmd.Process.Pid)) {
		t.Errorf("exit %d, %q %q; want 4 and who holds the directory", code, out, errs)
	}
	if err := n.client.Ready(context.Background()); err != nil {
		t.Errorf("the first suffered: %v", err)
	}
}

// TestPortTaken_isSaid: a stranger on the port.
func TestPortTaken_isSaid(t *testing.T) {
	n := up(t)
	other := t.TempDir()
	_, errs, code := (&nebula{t: t, dir: other}).cli("up", "--listen", strings.TrimPrefix(n.url, "http://"))
	if code != 4 || !strings.Contains(errs, "--listen") {
		t.Errorf("exit %d, %q; want 4 and the way out", code, errs)
	}
}

// TestKill9_ofTheStore: etcd's process dies; chats go on meanwhile and changes work again soon.
func TestKill9_ofTheStore(t *testing.T) {
	n := up(t, "--llama-server", llama.Need(t))
	n.running("m", "I serve on.")
	var etcd int
	for _, p := range n.processes() {
		if p.Kind() == procs.KindEtcd {
			etcd = p.PID
		}
	}
	if etcd == 0 {
		t.Fatalf("no store process among %+v", n.processes())
	}
	engine := n.pids("m")[0]
	if err := syscall.Kill(etcd, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if got, err := n.ask("m"); err != nil || got != "I serve on." {
			t.Fatalf("chat while the store is away: %q, %v", got, err)
		}
	}
	eventually(t, 30*time.Second, func() error {
		status, body, _, err := n.tryCall("PUT", "/api/v2/models/m", `{"labels":{"after":"crash"}}`)
		if err == nil && status != 200 {
			err = fmt.Errorf("%d %s", status, body)
		}
		return err
	})
	if n.pids("m")[0] != engine {
		t.Error("the engine was restarted")
	}
}
