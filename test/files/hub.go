package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/nebula-serve/nebula/test/hub"
)

// hubRole is this program as the hub: files hub BLOCK SIZE.
const hubRole = "hub"

// repository and file of every measurement.
const (
	repository = "bench/model"
	weights    = "model-Q4_K_M.gguf"
)

// welcome is what a hub says of itself, on one line, when it is ready.
type welcome struct {
	URL     string // of the hub
	Control string
	SHA256  string // of the file
}

// state is what a hub counts.
type state struct {
	Sent     int64 // bytes of content
	Open     int   // answers with content that are under way
	Requests int
	Happened hub.Faults
}

// hubMain serves one file of SIZE bytes, and who may change and ask what, until its input ends.
func hubMain(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: files hub BLOCK SIZE")
	}
	size, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	h, err := hub.New(hub.Repo{ID: repository, Big: map[string]hub.Big{weights: {Block: args[0], Size: size}}})
	if err != nil {
		return err
	}
	defer h.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	go func() { _ = http.Serve(l, control(h)) }() // it ends with the listener
	sum, err := linkedSum(h.URL + "/" + repository + "/resolve/main/" + weights)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(welcome{h.URL, "http://" + l.Addr().String(), sum}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin) // whoever started the hub holds the other end
	return err
}

// linkedSum asks a hub for the hash of a file, as its clients do.
func linkedSum(url string) (string, error) {
	resp, err := http.DefaultTransport.RoundTrip(must(http.NewRequest(http.MethodHead, url, nil)))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	return strconv.Unquote(resp.Header.Get("X-Linked-Etag"))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // of constants alone
	}
	return v
}

// control lets the measuring process break the hub and ask what it counted.
func control(h *hub.Hub) http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("POST /break", func(w http.ResponseWriter, r *http.Request) {
		var f hub.Faults
		if err := json.NewDecoder(r.Body).Decode(&f); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		h.Break(f)
		h.Forget()
	})
	m.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(state{h.Sent(), h.Open(), len(h.Requests()), h.Happened()})
	})
	return m
}

// server is a hub in a process of its own.
type server struct {
	welcome
	size  int64
	cmd   *exec.Cmd
	input io.Closer
}

// repeated is what a file is made of again and again; the odd length is for hub.Big.
const repeated = 32<<20 - 61

// startHub runs a hub with one file of that size, made of a block that repeats. Bytes that repeat come from the processor's cache and not from memory:
// where the cost of a byte is measured, the block is the whole file.
func startHub(ctx context.Context, o options, size, block int64) (*server, error) {
	name := filepath.Join(o.dir, "block")
	if err := os.WriteFile(name, hub.Weights(int(block), 1), 0o644); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, o.self, hubRole, name, strconv.FormatInt(size, 10))
	cmd.Stderr, cmd.SysProcAttr = os.Stderr, &syscall.SysProcAttr{Setpgid: true}
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{size: size, cmd: cmd, input: input}
	line, err := bufio.NewReader(output).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &s.welcome)
	}
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("the hub did not start: %w", err)
	}
	return s, nil
}

// stop ends the hub.
func (s *server) stop() {
	_ = s.input.Close()
	_ = s.cmd.Wait() // how it ended matters to nobody
}

// file is the address that clients without a protocol get the file from.
func (s *server) file() string { return s.URL + "/" + repository + "/resolve/main/" + weights }

// breaks sets the faults and begins to count from zero.
func (s *server) breaks(ctx context.Context, f hub.Faults) error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return s.ask(ctx, http.MethodPost, "/break", bytes.NewReader(b), nil)
}

func (s *server) state(ctx context.Context) (st state, err error) {
	return st, s.ask(ctx, http.MethodGet, "/state", nil, &st)
}

func (s *server) ask(ctx context.Context, method, path string, body io.Reader, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, s.Control+path, body)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the hub's control: %s", resp.Status)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}
