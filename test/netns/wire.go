package netns

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Quality is how a wire treats frames, each way.
type Quality struct {
	Delay  time.Duration
	Jitter time.Duration // each frame is late by up to this on top; frames may overtake each other
	Loss   float64       // share of frames, 0 to 1
	Double float64       // share of frames that arrive twice
}

// Wire is a network cable of our own between a host and a bridge: two TAP devices and this process between them. It stands in for tc netem,
// which many kernels do not have.
type Wire struct {
	quality atomic.Pointer[Quality]
	ends    [2]*os.File
	done    sync.WaitGroup
}

// WiredHost adds a host whose device on network s hangs on a wire; the other one is as in Host.
func (n *Net) WiredHost(name string, s Subnet) (*Host, *Wire, error) {
	h, err := n.bare(name)
	if err != nil {
		return nil, nil, err
	}
	other := Data + Control - s
	port := fmt.Sprintf("h%d%s", h.number, other.device())
	err = errors.Join(
		batch(n.prefix+hubName,
			fmt.Sprintf("link add %s type veth peer name %s netns %s", port, other.device(), h.namespace),
			fmt.Sprintf("link set %s master br%d up", port, other)),
		h.address(other))
	if err != nil {
		return nil, nil, err
	}
	w := &Wire{}
	w.Set(Quality{})
	tap := fmt.Sprintf("t%d%s", h.number, s.device())
	hub := &Host{Name: hubName, fd: -1}
	if hub.fd, err = unix.Open(netDir+"/"+n.prefix+hubName, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, nil, fmt.Errorf("open the hub: %w", err)
	}
	defer func() { _ = unix.Close(hub.fd) }()
	for i, end := range []struct {
		on     *Host
		device string
	}{{h, s.device()}, {hub, tap}} {
		err := end.on.Do(func() (err error) {
			w.ends[i], err = openTAP(end.device)
			return err
		})
		if err != nil {
			return nil, nil, errors.Join(err, w.close())
		}
	}
	if err := errors.Join(h.address(s), batch(n.prefix+hubName, fmt.Sprintf("link set %s master br%d up", tap, s))); err != nil {
		return nil, nil, errors.Join(err, w.close())
	}
	w.done.Go(func() { w.carry(w.ends[0], w.ends[1]) })
	w.done.Go(func() { w.carry(w.ends[1], w.ends[0]) })
	h.wires = append(h.wires, w)
	return h, w, nil
}

// Set changes the wire's quality for frames that come from now on.
func (w *Wire) Set(q Quality) { w.quality.Store(&q) }

// openTAP makes a TAP device in the namespace of the calling thread.
func openTAP(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("make TAP device %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// carry moves frames one way until the wire is closed.
func (w *Wire) carry(from, to *os.File) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		q := *w.quality.Load()
		if q.Loss > 0 && rand.Float64() < q.Loss {
			continue
		}
		send := func(frame []byte) { _, _ = to.Write(frame) } // a frame that does not fit is lost, as on a real wire
		late := q.Delay
		if q.Jitter > 0 {
			late += time.Duration(rand.Int64N(int64(q.Jitter)))
		}
		copies := 1
		if q.Double > 0 && rand.Float64() < q.Double {
			copies = 2
		}
		for range copies {
			if late == 0 {
				send(buf[:n])
				continue
			}
			frame := append([]byte(nil), buf[:n]...)
			time.AfterFunc(late, func() { send(frame) })
		}
	}
}

func (w *Wire) close() error {
	var all error
	for _, f := range w.ends {
		if f != nil {
			all = errors.Join(all, f.Close())
		}
	}
	w.done.Wait()
	return all
}
