package httpapi

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/internal/auth"
)

// TestOldUses_bounded: neither strangers nor people can make it remember without end, and strangers cannot keep people out.
func TestOldUses_bounded(t *testing.T) {
	var o oldUses
	now, route := time.UnixMilli(1), &Route{Method: "GET", Path: "/api/healthz"}
	for i := range 3 * maxOldUses {
		o.note(anonymous, fmt.Sprintf("%d %s", i, strings.Repeat("é\x00", 5000)), "192.0.2.1", route, now)
	}
	if n := len(o.list()); n != maxStrangeUses+1 {
		t.Errorf("strangers have %d rows", n)
	}
	for i := range 3 * maxOldUses {
		o.note(auth.Principal{ID: fmt.Sprint("user", i), Kind: auth.KindUser}, "cli", "192.0.2.1", route, now)
	}
	list, calls, longest := o.list(), uint64(0), 0
	for _, u := range list {
		calls, longest = calls+u.Calls, max(longest, len(u.Agent))
	}
	if len(list) > maxOldUses+2 || calls != 6*maxOldUses || longest > 4*maxAgent {
		t.Errorf("%d rows, %d calls, %d bytes", len(list), calls, longest)
	}
}
