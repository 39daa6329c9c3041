//go:build unix

package upstream

import "syscall"

// alive tells whether the peer has kept an unused connection open: a read must find nothing, neither an end nor a byte.
func (c *conn) alive() bool {
	if c.raw == nil {
		return true
	}
	c.open = false
	err := c.raw.Read(c.peek)
	return err == nil && c.open
}

func (c *conn) look(fd uintptr) bool {
	var b [1]byte
	n, err := syscall.Read(int(fd), b[:])
	c.open = n <= 0 && (err == syscall.EAGAIN || err == syscall.EWOULDBLOCK || err == syscall.EINTR)
	return true
}
