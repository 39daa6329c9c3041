package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/internal/demomodel"
	"github.com/nebula-serve/nebula/test/answers"
	"github.com/nebula-serve/nebula/test/procs"
)

// binary is the program under test: the one that NEBULA_TEST_BINARY names, else one built by TestMain.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if binary = os.Getenv("NEBULA_TEST_BINARY"); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "nebula-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if binary, err = procs.Build(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// nebula is a data directory and the "nebula up", or "nebula server", that works on it.
type nebula struct {
	t    *testing.T
	dir  string
	role string
	args []string
	env  []string

	cmd    *exec.Cmd
	exited chan struct{}
	log    *procs.Log
	url    string
	client *client.Client

	answered int64 // answers to command lines that have been held against the OpenAPI document
}

// isPart tells whether a command line starts a part of Nebula, and asks nothing: NEBULA_SERVER means another thing to it.
func isPart(args []string) bool {
	alone := len(args) == 1 || strings.HasPrefix(args[1], "-") // "nebula node" is a part, "nebula node list" is none
	return alone && slices.Contains([]string{"up", "server", "node", "gateway"}, args[0])
}

// up starts Nebula on a new data directory and ends it, with all it started, when the test does.
func up(t *testing.T, args ...string) *nebula {
	t.Helper()
	return begin(t, "up", args...)
}

// begin is up for either role that has an API.
func begin(t *testing.T, role string, args ...string) *nebula {
	t.Helper()
	dir, err := os.MkdirTemp("", "nebula-data")
	if err != nil {
		t.Fatal(err)
	}
	n := &nebula{t: t, dir: dir, role: role, args: args}
	t.Cleanup(func() {
		if n.cmd != nil {
			n.interrupt()
		}
		for _, pid := range n.engines() { // what a kill -9 left
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if t.Failed() && n.log != nil {
			t.Logf("log of nebula up:\n%s", n.log.Tail(60))
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Log(err)
		}
	})
	n.start()
	return n
}

// start runs nebula up and waits until it is ready.
func (n *nebula) start() {
	n.t.Helper()
	n.log = &procs.Log{}
	n.cmd = exec.Command(binary, append([]string{n.role, "--data-dir", n.dir, "--listen", "127.0.0.1:0", "--log-level", "debug"}, n.args...)...)
	n.cmd.Env = append(os.Environ(), n.env...)
	n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	_ = os.Remove(filepath.Join(n.dir, "server.addr"))
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	exited := make(chan struct{})
	n.exited = exited
	cmd := n.cmd
	go func() { _ = cmd.Wait(); close(exited) }()
	n.t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	eventually(n.t, 60*time.Second, func() error {
		select {
		case <-exited:
			n.t.Fatalf("nebula up ended:\n%s", n.log.Tail(40))
		default:
		}
		addr, err := os.ReadFile(filepath.Join(n.dir, "server.addr"))
		if err != nil {
			return err
		}
		n.url = strings.TrimSpace(string(addr))
		n.client = checkedClient(n.t, n.url, n.token())
		return n.client.Ready(context.Background())
	})
}

// checkedClient is a client whose every answer is held against the OpenAPI document.
func checkedClient(t *testing.T, url, token string) *client.Client {
	return client.New(url, token).Through(func(next http.RoundTripper) http.RoundTripper { return answers.Checked(t, next) })
}

func (n *nebula) token() string {
	b, err := os.ReadFile(filepath.Join(n.dir, "admin.token"))
	if err != nil {
		n.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// interrupt ends Nebula as Ctrl-C does and returns its exit code.
func (n *nebula) interrupt() int {
	n.t.Helper()
	_ = n.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-n.exited:
	case <-time.After(60 * time.Second):
		n.t.Errorf("nebula up does not end after Ctrl-C:\n%s", n.log.Tail(40))
		_ = n.cmd.Process.Kill()
		<-n.exited
	}
	code := n.cmd.ProcessState.ExitCode()
	n.cmd = nil
	return code
}

// kill9 kills the whole of nebula up, its process group included, without warning.
func (n *nebula) kill9() {
	n.t.Helper()
	if err := syscall.Kill(-n.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		n.t.Fatal(err)
	}
	<-n.exited
	n.cmd = nil
}

// engines returns the pids of this data directory's engines that still run, as their records say.
func (n *nebula) engines() []int {
	var out []int
	for _, p := range n.processes() {
		if p.Kind() == procs.KindEngine {
			out = append(out, p.PID)
		}
	}
	return out
}

// processes returns every process that works for this data directory.
func (n *nebula) processes() []procs.Process {
	n.t.Helper()
	out, err := procs.Of(n.dir)
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

// cli runs a command line against this Nebula. Whatever is answered to it is held against the OpenAPI document, unless it names a server itself.
func (n *nebula) cli(args ...string) (stdout, stderr string, code int) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append(args, "--data-dir", n.dir)...)
	if n.cmd != nil && !isPart(args) { // one that is stopped the command has to find out about by itself
		relay := answers.NewRelay(n.t, n.url)
		defer relay.Close()
		defer func() { n.answered += relay.Answers() }()
		cmd.Env = append(os.Environ(), "NEBULA_SERVER="+relay.URL)
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() < 0) {
		n.t.Fatalf("nebula %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// must runs a command line that has to succeed and returns what it printed.
func (n *nebula) must(args ...string) string {
	n.t.Helper()
	out, errs, code := n.cli(args...)
	if code != 0 {
		n.t.Fatalf("nebula %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// demo writes a demo model and returns its path.
func (n *nebula) demo(name, reply string) string {
	n.t.Helper()
	path := filepath.Join(n.dir, name+".gguf")
	if err := demomodel.WriteFile(path, demomodel.Options{Name: name, Reply: reply}); err != nil {
		n.t.Fatal(err)
	}
	return path
}

// running declares and starts a demo model and waits until it runs.
func (n *nebula) running(uid, reply string, args ...string) {
	n.t.Helper()
	n.must(append([]string{"model", "create", "--uid", uid, "--path", n.demo(uid, reply), "--start", "--wait", "--timeout", "90s"}, args...)...)
}

func (n *nebula) model(uid string) api.ModelDetail {
	n.t.Helper()
	d, err := n.client.Model(context.Background(), uid)
	if err != nil {
		n.t.Fatal(err)
	}
	return d
}

// until waits for a state of a model and returns it.
func (n *nebula) until(uid string, limit time.Duration, want api.ModelState) api.ModelDetail {
	n.t.Helper()
	var d api.ModelDetail
	eventually(n.t, limit, func() error {
		var err error
		if d, err = n.client.Model(context.Background(), uid); err != nil {
			return err
		}
		if d.State != want {
			return fmt.Errorf("model %s is %s (%v), not %s", uid, d.State, d.Reason, want)
		}
		return nil
	})
	return d
}

// pids returns the engine's process id of each ready replica.
func (n *nebula) pids(uid string) map[uint32]int {
	n.t.Helper()
	out := map[uint32]int{}
	for _, e := range n.model(uid).Endpoints {
		if e.Status == api.EndpointReady {
			out[e.ReplicaID] = e.PID
		}
	}
	return out
}

// call sends a request and returns status and body.
func (n *nebula) call(method, path, body string, header ...string) (int, string, http.Header) {
	n.t.Helper()
	status, text, h, err := n.tryCall(method, path, body, header...)
	if err != nil {
		n.t.Fatal(err)
	}
	return status, text, h
}

func (n *nebula) tryCall(method, path, body string, header ...string) (int, string, http.Header, error) {
	req, err := http.NewRequest(method, n.url+path, strings.NewReader(body))
	if err != nil {
		return 0, "", nil, err
	}
	req.Header.Set("Authorization", "Bearer "+n.token())
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i+1] == "" {
			req.Header.Del(header[i])
		}
	}
	res, err := (&http.Client{Transport: answers.Checked(n.t, http.DefaultTransport)}).Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), res.Header, err
}

// ask sends one chat message, not streamed, and returns the answer's text.
func (n *nebula) ask(model string) (string, error) {
	body := fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"hi"}]}`, model)
	status, text, _, err := n.tryCall("POST", "/v1/chat/completions", body)
	if err != nil {
		return "", err
	}
	var answer struct {
		Choices []struct {
			Message      struct{ Content string }
			FinishReason string `json:"finish_reason"`
		}
		Usage struct {
			CompletionTokens int `json:"completion_tokens"`
		}
	}
	if status != 200 {
		return "", fmt.Errorf("status %d: %s", status, text)
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return "", err
	}
	if len(answer.Choices) != 1 || answer.Choices[0].FinishReason != "stop" || answer.Usage.CompletionTokens == 0 {
		return "", fmt.Errorf("answer %s", text)
	}
	return answer.Choices[0].Message.Content, nil
}

// eventually calls check until it returns nil; the limit is generous, because it measures nothing.
func eventually(t *testing.T, limit time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %v", limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// alive tells whether a process runs (a zombie does not).
func alive(pid int) bool {
	_, ok := procs.Find(pid)
	return ok
}
