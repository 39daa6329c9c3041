package app

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// mostRefusals bounds how many connections are being told that they are too many, each of which costs a goroutine for at most refusalTime;
	// beyond it they are closed without a word.
	mostRefusals = 64
	refusalTime  = time.Second
)

// crowd counts the connections of a listener by address. It lets those of this machine and of proxies that are trusted through uncounted: behind
// them are many people.
type crowd struct {
	net.Listener
	limit   int
	proxies []netip.Prefix
	secure  bool // TLS follows: a refusal cannot be put into words

	refusals chan struct{}
	mu       sync.Mutex
	open     map[netip.Prefix]int
}

// limited bounds the connections of each address to ln; 0: no bound.
func limited(ln net.Listener, limit int, proxies []netip.Prefix, secure bool) net.Listener {
	if limit <= 0 {
		return ln
	}
	return &crowd{Listener: ln, limit: limit, proxies: proxies, secure: secure, refusals: make(chan struct{}, mostRefusals), open: map[netip.Prefix]int{}}
}

// Accept returns the next connection of somebody who does not have too many.
func (c *crowd) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		who, counted := c.holder(conn.RemoteAddr())
		switch {
		case !counted:
			return conn, nil
		case c.enter(who):
			return &member{Conn: conn, leave: sync.OnceFunc(func() { c.leave(who) })}, nil
		}
		c.refuse(conn)
	}
}

// holder is whom a connection is counted for: an address, or with IPv6 the /64 that one customer has. false: it is not counted.
func (c *crowd) holder(addr net.Addr) (netip.Prefix, bool) {
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.Prefix{}, false // not of a network
	}
	ip := ap.Addr().Unmap().WithZone("")
	if ip.IsLoopback() || within(c.proxies, ip) {
		return netip.Prefix{}, false
	}
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	who, err := ip.Prefix(bits)
	return who, err == nil
}

func within(nets []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(nets, func(n netip.Prefix) bool { return n.Contains(ip) })
}

func (c *crowd) enter(who netip.Prefix) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[who] >= c.limit {
		return false
	}
	c.open[who]++
	return true
}

func (c *crowd) leave(who netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[who]--; c.open[who] == 0 {
		delete(c.open, who)
	}
}

// refuse says why, where that can be understood, and closes. Nothing of the request is read but what is thrown away, so that the answer is not
// lost with it.
func (c *crowd) refuse(conn net.Conn) {
	if c.secure {
		_ = conn.Close()
		return
	}
	select {
	case c.refusals <- struct{}{}:
	default:
		_ = conn.Close()
		return
	}
	go func() {
		defer func() { <-c.refusals }()
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(refusalTime))
		body := fmt.Sprintf(`{"error":{"code":"too_many_requests","message":"this address holds %d connections already, and no more are taken: close some, or use them again"}}`+"\n", c.limit)
		_, err := fmt.Fprintf(conn, "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nContent-Length: %d\r\nRetry-After: 1\r\nConnection: close\r\n\r\n%s", len(body), body)
		if half, ok := conn.(interface{ CloseWrite() error }); ok && err == nil && half.CloseWrite() == nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(conn, 64<<10)) // until the other side has read it, or the time is over
		}
	}()
}

// member is a connection that is counted until it is closed.
type member struct {
	net.Conn
	leave func()
}

// Close closes the connection; it may be called more than once.
func (m *member) Close() error {
	defer m.leave()
	return m.Conn.Close()
}
