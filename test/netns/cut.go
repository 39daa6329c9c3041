package netns

import (
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
)

// cut is one rule of a host: packets that come in on a network, or go out on it, are dropped.
type cut struct {
	subnet Subnet
	out    bool
	peer   string // the other side's address; empty: everybody's
}

func (c cut) rule() string {
	r := fmt.Sprintf("iifname %q", c.subnet.device())
	side := "saddr"
	if c.out {
		r, side = fmt.Sprintf("oifname %q", c.subnet.device()), "daddr"
	}
	if c.peer != "" {
		r += fmt.Sprintf(" ip %s %s", side, c.peer)
	}
	return r + " drop"
}

// Cut takes a host off a network: nothing comes in and nothing goes out, and nobody is told.
func (h *Host) Cut(s Subnet) error { return h.change(add(cut{s, false, ""}, cut{s, true, ""})) }

// CutFrom drops all between two hosts on a network.
func (h *Host) CutFrom(peer *Host, s Subnet) error {
	return h.change(add(cut{s, false, peer.Addr(s)}, cut{s, true, peer.Addr(s)}))
}

// Deafen drops what the peer sends to this host on a network; the other way stays open.
func (h *Host) Deafen(peer *Host, s Subnet) error { return h.change(add(cut{s, false, peer.Addr(s)})) }

// Heal ends all cuts of this host.
func (h *Host) Heal() error { return h.change(func(c map[cut]bool) { clear(c) }) }

// Heal ends the cuts of all hosts.
func (n *Net) Heal() error {
	for _, h := range n.Hosts() {
		if err := h.Heal(); err != nil {
			return err
		}
	}
	return nil
}

func add(cuts ...cut) func(map[cut]bool) {
	return func(c map[cut]bool) {
		for _, x := range cuts {
			c[x] = true
		}
	}
}

// change changes the host's cuts and loads the whole rule set in one transaction, so that no moment has half of it.
func (h *Host) change(by func(map[cut]bool)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cuts == nil {
		h.cuts = map[cut]bool{}
	}
	before := len(h.cuts)
	if by(h.cuts); before+len(h.cuts) == 0 {
		return nil
	}
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(ruleset(slices.Collect(maps.Keys(h.cuts))))
	return h.Do(func() error { return runCmd(cmd) })
}

// ruleset is the nft program. Some versions of nft refuse a chain on one line.
func ruleset(cuts []cut) string {
	var in, out []string
	for _, c := range cuts {
		if c.out {
			out = append(out, "    "+c.rule()+"\n")
		} else {
			in = append(in, "    "+c.rule()+"\n")
		}
	}
	slices.Sort(in)
	slices.Sort(out)
	chain := func(name string, rules []string) string {
		return fmt.Sprintf("  chain %s {\n    type filter hook %s priority 0; policy accept;\n%s  }\n", name, name, strings.Join(rules, ""))
	}
	return "flush ruleset\ntable inet cut {\n" + chain("input", in) + chain("output", out) + "}\n"
}

// Limit holds what the host sends on a network to a rate, such as "8mbit"; empty lifts the limit.
func (h *Host) Limit(s Subnet, rate string) error {
	if rate == "" {
		return run("tc", "-n", h.namespace, "qdisc", "del", "dev", s.device(), "root")
	}
	return run("tc", "-n", h.namespace, "qdisc", "replace", "dev", s.device(), "root", "tbf", "rate", rate, "burst", "32kbit", "latency", "400ms")
}
