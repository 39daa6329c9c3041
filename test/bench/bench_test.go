package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseGo_medianOfEachFigure(t *testing.T) {
	text := `goos: linux
BenchmarkPlan/a_new_model-2   	      22	  30000 ns/op	         5.5 cpu-ms/op	        46.9 p99-ms
BenchmarkPlan/a_new_model-2   	      22	  10000 ns/op	         5.5 cpu-ms/op	        40.0 p99-ms
BenchmarkPlan/a_new_model-2   	      22	  20000 ns/op	         5.5 cpu-ms/op	        50.0 p99-ms
BenchmarkState_apply/events=1-2 	 100	  51600 ns/op	    4096 B/op	      12 allocs/op
PASS
`
	want := []string{
		"bench: go_plan_a_new_model = 20.0 us", "bench: go_plan_a_new_model_cpu = 5.50 ms", "bench: go_plan_a_new_model_p99 = 46.9 ms",
		"bench: go_state_apply_events_1 = 51.6 us",
	}
	var got []string
	for _, f := range parseGo(text) {
		got = append(got, f.String())
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// engine runs the bench's engine and returns its address.
func engine(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- serveEngine(ln, "m") }()
	t.Cleanup(func() {
		ln.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

func TestLoad_everyRequestIsAnsweredOnce(t *testing.T) {
	addr := engine(t)
	for name, body := range map[string]string{
		"whole":    `{"model":"m","messages":[]}`,
		"streamed": `{"model":"m","stream":true,"max_tokens":300,"messages":[]}`,
	} {
		res, err := load{addr: addr, request: chatRequest("h", "key", body), count: 50, inFlight: 4}.run(t.Context())
		if err != nil || len(res.latency) != 50 {
			t.Errorf("%s: %d answers, %v", name, len(res.latency), err)
		}
	}
}

func TestLoad_pacedTakesItsTime(t *testing.T) {
	l := load{addr: engine(t), request: chatRequest("h", "", `{"model":"m"}`), count: 20, inFlight: 2, rate: 200}
	if res, err := l.run(t.Context()); err != nil || res.took < 95*time.Millisecond {
		t.Errorf("20 requests at 200 a second took %s, %v", res.took, err)
	}
}

func TestLoad_aWrongAnswerEndsIt(t *testing.T) {
	l := load{addr: engine(t), request: []byte("GET /nothing HTTP/1.1\r\n\r\n"), count: 20, inFlight: 2}
	if _, err := l.run(t.Context()); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("got %v, want the status", err)
	}
}

func TestReadAnswer_streamsMustBeWhole(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for body, ok := range map[string]bool{
		"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n":             true,
		"8\r\ndata: [D\r\n6\r\nONE]\n\n\r\n0\r\n\r\n":    true,
		"9\r\ndata: {}\n\r\n0\r\n\r\n":                   false,
		"e\r\ndata: [DONE]\n\n\r\n":                      false,
		"e\r\ndata: [DONE]\n\n\r\n3\r\nend\r\n0\r\n\r\n": false,
	} {
		err := readAnswer(bufio.NewReader(strings.NewReader(head + body)))
		if (err == nil) != ok {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func TestProcess_stopEndsWhatItStarted(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	p, err := start(exec.Command("sh", "-c", "sleep 1000 & echo ready; wait"), log)
	if err != nil {
		t.Fatal(err)
	}
	var below []member
	err = p.await(t.Context(), "it is ready", time.Minute, func(context.Context) error {
		if b, err := os.ReadFile(log); err != nil || len(b) == 0 {
			return os.ErrNotExist
		}
		// The shell's child is a copy of the shell until it has become sleep, which may be after the word.
		below = descendants(p.pid())
		if len(below) != 1 || below[0].args[0] != "sleep" || below[0].rss <= 0 {
			return fmt.Errorf("below it: %+v", below)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	p.stop()
	for limit := time.Now().Add(time.Minute); identify(below[0].pid).started == below[0].started; time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("it still runs")
		}
	}
	if p.ended() == nil {
		t.Error("it should tell that it has ended")
	}
}
