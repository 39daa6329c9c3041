package peer

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// wire is this node's connections to the others: HTTP/1.1 over TLS, on which each shows the certificate of its name.
type wire struct {
	tls func(node string) *tls.Config

	mu   sync.Mutex
	ways map[string]*http.Transport
}

func newWire(secure func(string) *tls.Config) wire {
	return wire{tls: secure, ways: map[string]*http.Transport{}}
}

// to returns the way to a node.
func (w *wire) to(node string) *http.Transport {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.ways[node]
	if t == nil {
		t = &http.Transport{
			DialContext:     (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
			TLSClientConfig: w.tls(node), TLSHandshakeTimeout: 3 * time.Second, ResponseHeaderTimeout: holderWaits + 2*time.Second,
			TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/2 would put all ranges on one connection
			MaxIdleConns: 8, IdleConnTimeout: time.Minute, DisableCompression: true, ReadBufferSize: 64 << 10,
		}
		w.ways[node] = t
	}
	return t
}

func (w *wire) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.ways {
		t.CloseIdleConnections()
	}
}
