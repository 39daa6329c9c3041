package httpapi

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/go-chi/chi/v5/middleware"
)

// forwarded is what a trusted proxy says of a request.
type forwarded struct {
	secure bool   // the browser speaks TLS with the proxy
	own    string // the Host that the proxy itself sent; empty: there is no other one
}

// behindProxies takes from trusted proxies, and from nobody else, whom they speak for: the caller's address is the rightmost of X-Forwarded-For that is no
// trusted proxy's, and of X-Forwarded-Proto and X-Forwarded-Host the last value counts, which is the one of the proxy that we know. What cannot be read is as
// if it were not there; then the proxy itself is the caller. A machine that shows a certificate speaks for itself.
func (s *server) behindProxies(next http.Handler) http.Handler {
	if len(s.Proxies) == 0 {
		return next
	}
	networks := make([]string, len(s.Proxies))
	for i, p := range s.Proxies {
		networks[i] = p.String()
	}
	return middleware.ClientIPFromXFF(networks...)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if machineCert(r) == nil && trusts(s.Proxies, r.RemoteAddr) {
			r = asForwarded(r)
		}
		next.ServeHTTP(w, r)
	}))
}

// asForwarded is the request as the proxy got it.
func asForwarded(r *http.Request) *http.Request {
	f := forwarded{secure: r.TLS != nil}
	switch strings.ToLower(lastOf(r.Header, "X-Forwarded-Proto")) {
	case "https":
		f.secure = true
	case "http":
		f.secure = false
	}
	host := lastOf(r.Header, "X-Forwarded-Host")
	if host != "" {
		f.own = r.Host
	}
	out := r.WithContext(context.WithValue(r.Context(), keyForwarded, f))
	if host != "" {
		out.Host = host
	}
	if ip := middleware.GetClientIPAddr(r.Context()); ip.IsValid() {
		out.RemoteAddr = net.JoinHostPort(ip.String(), "0") // its port is not known
	}
	return out
}

// trusts tells whether the address of a connection is in one of some networks.
func trusts(networks []netip.Prefix, remote string) bool {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	ip := at.Addr().Unmap().WithZone("")
	for _, n := range networks {
		if n.Contains(ip) {
			return true
		}
	}
	return false
}

// lastOf is the last value of a header that may be there several times, with several values each.
func lastOf(h http.Header, name string) string {
	all := h.Values(name)
	if len(all) == 0 {
		return ""
	}
	last := all[len(all)-1]
	return strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
}

// overTLS tells whether what the caller sends and gets is encrypted on its way, as far as we know: to us, or to a proxy that we trust.
func overTLS(r *http.Request) bool {
	if f, ok := r.Context().Value(keyForwarded).(forwarded); ok {
		return f.secure
	}
	return r.TLS != nil
}

// answersTo tells whether the request is for a name of this server. A web page elsewhere may have pointed its own name at us (DNS rebinding). Over TLS it
// cannot: no browser takes our certificate for that name, and machines know servers by their certificates, whatever they are called. What a proxy says
// of names is not under that certificate.
func (s *server) answersTo(r *http.Request) bool {
	f, _ := r.Context().Value(keyForwarded).(forwarded)
	if f.own != "" {
		return s.knownHost(r.Host) && (r.TLS != nil || s.knownHost(f.own))
	}
	return r.TLS != nil || s.knownHost(r.Host)
}
