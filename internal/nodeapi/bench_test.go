package nodeapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/gateway/upstream"
	"github.com/nebula-serve/nebula/internal/pki"
)

// benchNode, in the environment, makes this test binary a node: "DIRECTORY-OF-THE-CA URL-OF-THE-ENGINE".
const benchNode = "NEBULA_BENCH_NODE"

// runNode is a node process, whose CPU can be told from everybody else's. It ends with its standard input.
func runNode(setting string) error {
	dir, url, _ := strings.Cut(setting, " ")
	ca, err := pki.LoadCA(dir, "ca")
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	t := &testing.T{}
	r := &realm{t, ca, pki.NewClock(time.Now)}
	n := New(Config{Cluster: clusterID, Log: slog.New(slog.DiscardHandler)})
	n.SetEndpoints([]api.EndpointInfo{{ModelUID: "m", Status: api.EndpointReady, BaseURL: &url}})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	fmt.Println(ln.Addr())
	return n.Serve(ctx, ln, r.credential(api.MachineNode, "n1").ServerTLS(r.clock), 0)
}

// cpu is what a process has used, in clock ticks of 10 ms.
func cpu(b *testing.B, pid int) time.Duration {
	if pid == os.Getpid() {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+2:]))
	ticks := 0
	for _, f := range fields[11:13] { // utime and stime, of all threads
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// Direct calls of an engine against calls through its node with TLS, as a gateway makes them. Figures per call: CPU of the caller (with a
// stub, of the stub too), of the engine, and of the node.
func BenchmarkCall(b *testing.B) {
	stub := func(b *testing.B) (string, int) {
		e := startEngine(b, func(c net.Conn, q *http.Request) bool {
			if !strings.Contains(q.Header.Get("Body"), `"stream":true`) {
				return sayJSON(c, 200, strings.Repeat("x", 500))
			}
			say(c, streamHead)
			for range 20 {
				event(c, token)
			}
			return endStream(c)
		})
		return e.url, 0
	}
	for _, c := range []struct {
		name   string
		engine func(*testing.B) (string, int)
		body   string
	}{
		{"stub/plain", stub, plain},
		{"stub/stream", stub, stream},
		{"llama/stream", func(b *testing.B) (string, int) { return realEngine(b) }, stream},
		{"llama/stream-200-tokens", func(b *testing.B) (string, int) { return realEngine(b) }, strings.TrimSuffix(stream, "}") + `,"ignore_eos":true,"max_tokens":200}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			url, engine := c.engine(b)
			dir := b.TempDir()
			r := newRealm(b)
			if err := r.ca.Save(dir, "ca"); err != nil {
				b.Fatal(err)
			}
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), benchNode+"="+dir+" "+url)
			cmd.Stderr = os.Stderr
			in, err := cmd.StdinPipe()
			if err != nil {
				b.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				b.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			defer func() { in.Close(); _ = cmd.Wait() }()
			addr, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				b.Fatal(err)
			}
			client := upstream.New(upstream.Limits{}, r.reaching(r.credential(api.MachineGateway, "g1")))
			defer client.Close()
			direct := upstream.Request{Addr: strings.TrimPrefix(url, "http://"), Path: "/v1/chat/completions"}
			through := upstream.Request{Addr: strings.TrimSpace(addr), Peer: "n1", Path: chat}
			for name, req := range map[string]upstream.Request{"direct": direct, "through": through} {
				req.Header, req.Body = []byte("Content-Type: application/json\r\n"), [][]byte{[]byte(c.body)}
				b.Run(name, func(b *testing.B) {
					call(b, client, &req)
					self, node, eng := cpu(b, os.Getpid()), cpu(b, cmd.Process.Pid), time.Duration(0)
					if engine != 0 {
						eng = cpu(b, engine)
					}
					for b.Loop() {
						call(b, client, &req)
					}
					per := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(b.N) }
					b.ReportMetric(per(cpu(b, os.Getpid())-self), "caller-cpu-us/op")
					b.ReportMetric(per(cpu(b, cmd.Process.Pid)-node), "node-cpu-us/op")
					if engine != 0 {
						b.ReportMetric(per(cpu(b, engine)-eng), "engine-cpu-us/op")
					}
				})
			}
		})
	}
}

func call(b *testing.B, client *upstream.Client, req *upstream.Request) {
	res, err := client.Do(b.Context(), new(upstream.Call), req)
	if err == nil {
		for err == nil {
			_, err = res.Next()
		}
		res.Close()
	}
	if !errors.Is(err, io.EOF) {
		b.Fatal(err)
	}
}
