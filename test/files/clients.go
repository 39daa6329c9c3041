package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// took is what one download cost.
type took struct {
	bytes   int64
	wall    time.Duration
	cpu     time.Duration // of the client's process, of the user and of the system
	peakRSS int64         // bytes; of Nebula alone
}

// speed in MB/s.
func (t took) speed() float64 { return float64(t.bytes) / t.wall.Seconds() / 1e6 }

// cpuPerGB in seconds.
func (t took) cpuPerGB() float64 { return t.cpu.Seconds() / float64(t.bytes) * 1e9 }

// client downloads a hub's file.
type client struct {
	name string
	get  func(ctx context.Context, o options, s *server, dir string) (took, error)
}

// nebula is Nebula's own downloader, which verifies, as it is configured by default.
func nebula() client { return nebulaOver(0) }

// nebulaOver is nebula with another highest number of connections.
func nebulaOver(connections int) client {
	return client{"nebula", func(ctx context.Context, o options, s *server, dir string) (took, error) {
		t, err := timed(exec.CommandContext(ctx, o.self, fetchRole, "-cache", dir, "-hub", s.URL, "-connections", strconv.Itoa(connections)), s.size)
		if err != nil {
			return took{}, err
		}
		return t, check(blob(dir, s.SHA256), s.size)
	}}
}

// blob is where Nebula puts a large file.
func blob(dir, sum string) string {
	return filepath.Join(dir, "hub", "models--bench--model", "blobs", sum)
}

// curl gets the file, or its first bytes, over one connection.
func curl(first int64) client {
	return client{"curl", func(ctx context.Context, o options, s *server, dir string) (took, error) {
		n := min(first, s.size)
		name := filepath.Join(dir, "file")
		args := []string{"--fail", "--silent", "--show-error", "--location", "--output", name}
		if n < s.size {
			args = append(args, "--range", "0-"+strconv.FormatInt(n-1, 10))
		}
		t, err := timed(exec.CommandContext(ctx, o.curl, append(args, s.file())...), n)
		if err != nil {
			return took{}, err
		}
		return t, check(name, n)
	}}
}

// aria2 gets the file over 16 connections. Without a preallocation, which it does by writing zeros, and with small splits it is at its best.
func aria2(verify bool) client {
	name := "aria2"
	if verify {
		name = "aria2 with checksum"
	}
	return client{name, func(ctx context.Context, o options, s *server, dir string) (took, error) {
		args := []string{"-x16", "-s16", "-k1M", "--file-allocation=none", "--quiet", "--no-conf", "--dir", dir, "--out", "file"}
		if verify {
			args = append(args, "--checksum=sha-256="+s.SHA256)
		}
		t, err := timed(exec.CommandContext(ctx, o.aria2, append(args, s.file())...), s.size)
		if err != nil {
			return took{}, err
		}
		return t, check(filepath.Join(dir, "file"), s.size)
	}}
}

// timed runs a client to its end.
func timed(cmd *exec.Cmd, n int64) (took, error) {
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	begun := time.Now()
	err := cmd.Run()
	wall := time.Since(begun)
	if err != nil {
		return took{}, fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, said.Bytes()[max(0, said.Len()-500):])
	}
	var t told
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &t); err != nil {
			return took{}, fmt.Errorf("%s said %q: %w", filepath.Base(cmd.Path), out.String(), err)
		}
	}
	return took{n, wall, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), t.PeakRSS}, nil
}

// check fails when a client says that it is done and is not.
func check(name string, size int64) error {
	fi, err := os.Stat(name)
	if err != nil {
		return err
	}
	if fi.Size() != size {
		return fmt.Errorf("%s has %d bytes instead of %d", name, fi.Size(), size)
	}
	return nil
}

// sumOf is the SHA-256 of a file.
func sumOf(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	d := sha256.New()
	if _, err := io.Copy(d, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(d.Sum(nil)), nil
}

// rounds lets clients download in turns, each into an empty folder, and returns what each took. Each round begins with another client.
func rounds(ctx context.Context, o options, s *server, clients []client) (map[string][]took, error) {
	out := map[string][]took{}
	for round := range o.rounds() {
		for i := range clients {
			c := clients[(round+i)%len(clients)]
			t, err := once(ctx, o, s, c)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			out[c.name] = append(out[c.name], t)
		}
	}
	return out, nil
}

// once is one download into an empty folder that is deleted again.
func once(ctx context.Context, o options, s *server, c client) (t took, err error) {
	dir, err := os.MkdirTemp(o.dir, "target-")
	if err != nil {
		return took{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return c.get(ctx, o, s, dir)
}
