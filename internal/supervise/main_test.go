package supervise

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nebula-serve/nebula/internal/engine"
)

// The test binary plays every part: the tests, the shim, the engine, and an agent that is killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "shim":
			os.Exit(ShimMain(os.Args[2:]))
		case "engine":
			os.Exit(fakeEngine(os.Args[2:]))
		case "agent":
			os.Exit(fakeAgent(os.Args[2:]))
		}
	}
	root, err := os.MkdirTemp("", "supervise")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv("TMPDIR", root) // every test's folder lies below it, and so does the mark of every process that it starts
	code := m.Run()
	if left := leftOver(root); len(left) > 0 {
		fmt.Fprintf(os.Stderr, "processes left over:\n%s\n", strings.Join(left, "\n"))
		code = 1
	}
	_ = os.RemoveAll(root)
	os.Exit(code)
}

// leftOver lists zombies of this process, and processes that were started for a driver below root.
func leftOver(root string) []string {
	var out []string
	_ = processes(func(pid int) bool {
		s, err := readStat(pid)
		if err != nil {
			return true
		}
		env, _ := os.ReadFile(procPath(pid, "environ"))
		dir, _ := lookup(env, envSupervisor)
		cmdline, _ := os.ReadFile(procPath(pid, "cmdline"))
		if s.parent == os.Getpid() || strings.HasPrefix(dir, root) {
			out = append(out, fmt.Sprintf("%d %c parent %d %q", pid, s.state, s.parent, cmdline))
		}
		return true
	})
	return out
}

// fakeEngine is an engine with every bad habit on demand.
func fakeEngine(args []string) int {
	f := flag.NewFlagSet("engine", flag.ExitOnError)
	busy := f.Duration("busy", 0, "answer 503 for so long")
	port := f.Int("port", 0, "")
	listen := f.Bool("listen", true, "")
	name := f.String("name", "model", "")
	ignoreTERM := f.Bool("ignore-term", false, "")
	children := f.Int("children", 0, "")
	say := f.String("say", "", "")
	chat := f.Int("chat", 0, "write so many lines, then go on")
	code := f.Int("code", -1, "end with this status at once")
	abort := f.String("signal", "", "end by this signal at once")
	unhealthy := f.Bool("unhealthy", false, "")
	slow := f.Bool("slow", false, "never answer the health check")
	quiet := f.Bool("quiet", false, "do not log the port")
	_ = f.Parse(args)

	signal.Ignore(unix.SIGPIPE) // as llama-server does: a dead shim does not kill it
	terms := make(chan os.Signal, 8)
	signal.Notify(terms, unix.SIGTERM)
	if *say != "" {
		fmt.Fprintln(os.Stderr, *say)
	}
	out := bufio.NewWriterSize(os.Stdout, 16<<10)
	for i := range *chat {
		fmt.Fprintf(out, "line %07d of the log, which is long enough to fill a file in no time at all\n", i)
	}
	_ = out.Flush()
	for i := range *children { // one in our group, the next in a session of its own
		cmd := exec.Command(os.Args[0], "engine", "-ignore-term", "-listen=false")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: i%2 == 1}
		if err := cmd.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Printf("child %d\n", cmd.Process.Pid)
	}
	if *code >= 0 {
		return *code
	}
	if *abort != "" {
		signal.Reset()
		_ = unix.Kill(os.Getpid(), unix.SignalNum("SIG"+*abort))
		time.Sleep(time.Minute)
	}
	if *listen {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
		if err != nil {
			fmt.Fprintf(os.Stderr, "couldn't bind HTTP server socket, hostname: 127.0.0.1, port: %d\n", *port)
			return 1
		}
		start := time.Now()
		mux := http.NewServeMux()
		mux.HandleFunc("/health", func(w http.ResponseWriter, r *http.Request) {
			switch {
			case *slow:
				<-r.Context().Done()
			case *unhealthy:
				w.WriteHeader(500)
			case time.Since(start) < *busy:
				w.WriteHeader(503)
			}
		})
		mux.HandleFunc("/v1/models", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"data":[{"id":%q}]}`, *name)
		})
		go func() { _ = http.Serve(l, mux) }()
		if !*quiet {
			fmt.Printf("listening on http://%s\n", l.Addr())
		}
	}
	for range terms {
		fmt.Println("got TERM")
		if !*ignoreTERM {
			return 0
		}
	}
	return 0
}

// fakeAgent starts one run for each line of launches, says which process it is, and waits to be killed.
func fakeAgent(args []string) int {
	d, err := New(Config{Dir: args[0], Shim: shimCommand()})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	lines := bufio.NewScanner(os.Stdin)
	for i := uint32(0); lines.Scan(); i++ {
		var l engine.Launch
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		p, err := d.Start(context.Background(), engine.Identity{ModelUID: "model", ReplicaID: i, PlanVersion: 7, NodeID: "n"}, l, []byte("memory"))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Println(p.PID())
	}
	time.Sleep(time.Hour)
	return 0
}

// quickRace keeps the race detector from sleeping for a second at the end of each process.
const quickRace = "GORACE=atexit_sleep_ms=0"

func shimCommand() []string { return []string{"/usr/bin/env", quickRace, os.Args[0], "shim"} }

// launch runs the fake engine.
func launch(args ...string) engine.Launch {
	return engine.Launch{
		Engine: "llamacpp", ServedName: "model", Argv: append([]string{os.Args[0], "engine"}, args...),
		Env: []string{quickRace}, PortLog: regexp.MustCompile(`listening on http://127\.0\.0\.1:(\d+)`),
		Ready: engine.Probe{Path: "/health", Timeout: 5 * time.Second},
		Stop:  []engine.TimedSignal{{Signal: "TERM"}, {Signal: "TERM", After: 60 * time.Millisecond}}, KillAfter: 20 * time.Second,
	}
}

func identity(replica uint32) engine.Identity {
	return engine.Identity{ModelUID: "model", ReplicaID: replica, PlanVersion: 7, NodeID: "n"}
}

// newDriver returns a driver whose engines are gone when the test ends.
func newDriver(t *testing.T, dir string) *Driver {
	t.Helper()
	d, err := New(Config{Dir: dir, Shim: shimCommand(), LogMB: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func start(t *testing.T, d *Driver, replica uint32, l engine.Launch) *Process {
	t.Helper()
	p, err := d.Start(t.Context(), identity(replica), l, []byte("memory"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { killAll(ofRun(p.rec.Run), 10*time.Second) })
	return p
}

// adopt takes over what is in dir with a driver of its own.
func adopt(t *testing.T, dir string) []*Process {
	t.Helper()
	ps, strays, err := newDriver(t, dir).Adopt(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(strays) > 0 {
		t.Errorf("strays %v", strays)
	}
	for _, p := range ps {
		t.Cleanup(func() { killAll(ofRun(p.rec.Run), 10*time.Second) })
	}
	return ps
}

func adoptOne(t *testing.T, dir string) *Process {
	t.Helper()
	ps := adopt(t, dir)
	if len(ps) != 1 {
		t.Fatalf("adopted %d processes", len(ps))
	}
	return ps[0]
}

// eventually waits for something that other processes bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func waitDone(t *testing.T, p *Process) engine.Exit {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the process does not end")
	}
	return p.Exit()
}

func logText(p *Process) string {
	b, _ := os.ReadFile(p.LogPath())
	return string(b)
}

// startAgent runs an agent with these launches in a process group of its own and returns it with the engines' pids.
func startAgent(t *testing.T, dir string, launches ...engine.Launch) (*exec.Cmd, []int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "agent", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { killAgent(cmd) })
	var pids []int
	lines := bufio.NewReader(out)
	for _, l := range launches {
		raw, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(in, "%s\n", raw); err != nil {
			t.Fatal(err)
		}
		var pid int
		if _, err := fmt.Fscanln(lines, &pid); err != nil {
			t.Fatal("agent: ", err)
		}
		pids = append(pids, pid)
	}
	return cmd, pids
}

// killAgent kills the agent's whole process group, as a careless kill -9 would.
func killAgent(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		_ = cmd.Wait()
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return names
}
