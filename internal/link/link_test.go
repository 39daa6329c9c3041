package link_test

import (
	"testing"
)

func TestLink_tellsAndReports(t *testing.T) {
	f := newFleet(t, mem(t))
	s := f.serve("s1", "", nil)
	f.place("a", 1, "n1")
	n := f.node("n1", "", nil, s.addr)
	f.sees(n, "a/0")
	f.place("b", 1, "n1")
	f.sees(n, "a/0", "b/0")
	n.mustReport(t, "a")
	st, _ := f.st.Current()
	e, ok := st.Endpoints.Get("a/0")
	if node, live := st.Nodes.Get("n1"); !ok || !live || e.Lease != 0 || node.Lease == 0 || node.Value.Epoch == 0 || node.Value.Seq != 1 {
		t.Fatalf("endpoint %+v, node %+v", e, node)
	}
	f.unplace("a")
	f.sees(n, "b/0")
}
