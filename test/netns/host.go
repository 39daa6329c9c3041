package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Host is one machine of a net.
type Host struct {
	Name string

	net       *Net
	namespace string
	number    int
	fd        int

	mu    sync.Mutex
	cuts  map[cut]bool
	wires []*Wire
}

// Addr is the host's address on a network.
func (h *Host) Addr(s Subnet) string { return fmt.Sprintf("10.%d.0.%d", 100+int(s), h.number) }

// address gives the host's device on a network its address and sets it up.
func (h *Host) address(s Subnet) error {
	return batch(h.namespace,
		fmt.Sprintf("addr add %s/24 dev %s", h.Addr(s), s.device()),
		fmt.Sprintf("link set %s up", s.device()))
}

// Do calls fn on a thread that is on the host: sockets that fn itself opens and programs that it starts are the host's, and stay there.
func (h *Host) Do(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- fmt.Errorf("open the thread's namespace: %w", err)
			return
		}
		defer func() { _ = unix.Close(home) }()
		if err := unix.Setns(h.fd, unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter %s: %w", h.Name, err)
			return
		}
		err = fn()
		if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
			done <- errors.Join(err, fmt.Errorf("leave %s: %w", h.Name, back))
			return // the thread stays locked, so it ends with this goroutine and nobody else gets it
		}
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}

// Start starts a program on the host.
func (h *Host) Start(cmd *exec.Cmd) error { return h.Do(cmd.Start) }

// Dial connects from the host to an address, which must be a literal one.
func (h *Host) Dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	err = h.Do(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Listen listens on the host.
func (h *Host) Listen(ctx context.Context, addr string) (ln net.Listener, err error) {
	err = h.Do(func() error {
		var lc net.ListenConfig
		ln, err = lc.Listen(ctx, "tcp", addr)
		return err
	})
	return ln, err
}

func (h *Host) close() error {
	var all error
	for _, w := range h.wires {
		all = errors.Join(all, w.close())
	}
	return errors.Join(all, unix.Close(h.fd), run("ip", "netns", "del", h.namespace))
}
