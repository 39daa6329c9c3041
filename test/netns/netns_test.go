package netns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newNet(t *testing.T) *Net {
	t.Helper()
	Need(t)
	n, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		entries, err := os.ReadDir(netDir)
		if err != nil {
			t.Error(err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), n.prefix) {
				t.Errorf("%s is left", e.Name())
			}
		}
	})
	return n
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// echo serves on a host's port 7 of every network.
func echo(t *testing.T, h *Host) {
	t.Helper()
	ln := must[net.Listener](t)(h.Listen(t.Context(), "0.0.0.0:7"))
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
}

// ask connects and waits for an answer; the limit is how long silence counts as one.
func ask(from, to *Host, s Subnet, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c, err := from.Dial(ctx, "tcp", to.Addr(s)+":7")
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(limit))
	if _, err := c.Write([]byte("hello")); err != nil {
		return err
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
		return fmt.Errorf("answer %q: %w", got, err)
	}
	return nil
}

const (
	soon  = 10 * time.Second       // for what must work
	never = 400 * time.Millisecond // for what must not
)

func TestCuts(t *testing.T) {
	n := newNet(t)
	a, b, c := must[*Host](t)(n.Host("a")), must[*Host](t)(n.Host("b")), must[*Host](t)(n.Host("c"))
	for _, h := range n.Hosts() {
		echo(t, h)
	}
	type line struct {
		from, to *Host
		s        Subnet
		open     bool
	}
	check := func(what string, lines ...line) {
		t.Helper()
		for _, l := range lines {
			limit := soon
			if !l.open {
				limit = never
			}
			if err := ask(l.from, l.to, l.s, limit); (err == nil) != l.open {
				t.Errorf("%s: %s to %s on network %d: open should be %v: %v", what, l.from.Name, l.to.Name, l.s, l.open, err)
			}
		}
	}
	check("at first", line{a, b, Data, true}, line{b, a, Control, true}, line{c, c, Data, true})

	must[any](t)(nil, a.Cut(Control))
	check("a off control", line{a, b, Control, false}, line{b, a, Control, false}, line{a, b, Data, true}, line{b, c, Control, true})
	must[any](t)(nil, a.CutFrom(b, Data))
	check("and from b", line{a, b, Data, false}, line{a, c, Data, true}, line{a, c, Control, false})
	must[any](t)(nil, n.Heal())
	check("healed", line{a, b, Control, true}, line{a, b, Data, true})

	must[any](t)(nil, a.Deafen(b, Data))
	check("one way", line{a, b, Data, false}, line{b, a, Data, false}, line{a, c, Data, true})
	// What a says still arrives at b: a datagram needs no answer.
	var heard net.PacketConn
	must[any](t)(nil, b.Do(func() (err error) {
		heard, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", b.Addr(Data)+":9")
		return err
	}))
	defer heard.Close()
	say := must[net.Conn](t)(a.Dial(t.Context(), "udp", b.Addr(Data)+":9"))
	defer say.Close()
	must[int](t)(say.Write([]byte("one way")))
	_ = heard.SetReadDeadline(time.Now().Add(soon))
	got := make([]byte, 16)
	if k, _, err := heard.ReadFrom(got); err != nil || string(got[:k]) != "one way" {
		t.Errorf("the open way brought %q, %v", got[:k], err)
	}
}

// TestCut_establishedConnection: a connection that stands when its line is cut falls silent, and goes on once the line is back.
func TestCut_establishedConnection(t *testing.T) {
	n := newNet(t)
	a, b := must[*Host](t)(n.Host("a")), must[*Host](t)(n.Host("b"))
	echo(t, b)
	conn := must[net.Conn](t)(a.Dial(t.Context(), "tcp", b.Addr(Data)+":7"))
	defer conn.Close()
	must[any](t)(nil, b.Cut(Data))
	must[int](t)(conn.Write([]byte("x")))
	_ = conn.SetReadDeadline(time.Now().Add(never))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read over a cut line: %v; want silence", err)
	}
	must[any](t)(nil, b.Heal())
	_ = conn.SetReadDeadline(time.Now().Add(soon))
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Errorf("after the line is back: %v", err)
	}
}

func TestStart_runsOnTheHost(t *testing.T) {
	n := newNet(t)
	h := must[*Host](t)(n.Host("a"))
	cmd := exec.Command("ip", "-o", "-4", "addr")
	var out strings.Builder
	cmd.Stdout = &out
	must[any](t)(nil, h.Start(cmd))
	must[any](t)(nil, cmd.Wait())
	for _, s := range []Subnet{Data, Control} {
		if !strings.Contains(out.String(), h.Addr(s)) {
			t.Errorf("addresses %q lack %s", out.String(), h.Addr(s))
		}
	}
}

// TestWire delays, loses and doubles frames, and TCP copes with it.
func TestWire(t *testing.T) {
	n := newNet(t)
	a := must[*Host](t)(n.Host("a"))
	b, wire, err := n.WiredHost("b", Data)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, b)
	if err := ask(a, b, Data, soon); err != nil {
		t.Fatal(err)
	}
	if err := ask(a, b, Control, soon); err != nil {
		t.Fatal(err)
	}
	const late = 100 * time.Millisecond
	wire.Set(Quality{Delay: late})
	conn := must[net.Conn](t)(a.Dial(t.Context(), "tcp", b.Addr(Data)+":7"))
	defer conn.Close()
	began := time.Now()
	must[int](t)(conn.Write([]byte("x")))
	must[int](t)(io.ReadFull(conn, make([]byte, 1)))
	if took := time.Since(began); took < 2*late {
		t.Errorf("there and back took %s over a wire that delays each way by %s", took, late)
	}
	wire.Set(Quality{Loss: 1})
	if err := ask(a, b, Data, never); err == nil {
		t.Error("an answer over a wire that loses everything")
	}
	wire.Set(Quality{Jitter: 5 * time.Millisecond, Loss: 0.1, Double: 0.1})
	if err := ask(a, b, Data, time.Minute); err != nil {
		t.Error(err)
	}
}

func TestLimit(t *testing.T) {
	n := newNet(t)
	a, b := must[*Host](t)(n.Host("a")), must[*Host](t)(n.Host("b"))
	echo(t, b)
	must[any](t)(nil, a.Limit(Data, "8mbit"))
	conn := must[net.Conn](t)(a.Dial(t.Context(), "tcp", b.Addr(Data)+":7"))
	defer conn.Close()
	began := time.Now()
	const size = 512 << 10
	go func() { _, _ = conn.Write(make([]byte, size)) }()
	must[int](t)(io.ReadFull(conn, make([]byte, size)))
	if took := time.Since(began); took < 300*time.Millisecond { // 512 KiB at 8 Mbit/s take half a second
		t.Errorf("%d bytes took %s at 8 Mbit/s", size, took)
	}
	must[any](t)(nil, a.Limit(Data, ""))
}

// TestSweep_afterADeadRun: the namespaces of a process that is gone are removed, those of a living one are not.
func TestSweep_afterADeadRun(t *testing.T) {
	n := newNet(t)
	h := must[*Host](t)(n.Host("a"))
	stale := netPrefix + "999999999-1-0-x"
	must[any](t)(nil, run("ip", "netns", "add", stale))
	if err := Sweep(); err != nil {
		t.Fatal(err)
	}
	if exists(stale) {
		t.Error("the namespace of a dead process is left")
	}
	if !exists(h.namespace) {
		t.Error("the namespace of a living process is gone")
	}
}

func TestRuleset(t *testing.T) {
	want := `flush ruleset
table inet cut {
  chain input {
    type filter hook input priority 0; policy accept;
    iifname "eth0" drop
    iifname "eth1" ip saddr 10.101.0.2 drop
  }
  chain output {
    type filter hook output priority 0; policy accept;
    oifname "eth0" drop
  }
}
`
	got := ruleset([]cut{{Data, true, ""}, {Control, false, "10.101.0.2"}, {Data, false, ""}})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
