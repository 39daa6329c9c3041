// Package netns gives tests hosts of their own on one machine: network namespaces on two bridges, so that the link to the servers and the link
// between gateways and engines can be cut apart. It needs root, ip and nft. Nothing of it touches the machine's own network, and what a killed
// earlier run left behind is removed by the next one.
package netns

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nebula-serve/nebula/test/procs"
)

// Need skips a test, by name and with the reason, where no namespaces can be made.
func Need(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("network namespaces need root")
	}
	for _, tool := range []string{"ip", "nft", "tc"} {
		if _, err := exec.LookPath(tool); err != nil {
			tb.Skipf("%s is not installed: scripts/setup.sh iproute2 nftables", tool)
		}
	}
	probe := exec.Command("unshare", "--net", "nft", "list", "ruleset")
	if out, err := probe.CombinedOutput(); err != nil {
		tb.Skipf("this machine gives no network namespaces: %v: %s", err, out)
	}
}

// Subnet is one of the two networks that every host is on.
type Subnet int

// The networks.
const (
	Data    Subnet = iota // 10.100.0.0/24: gateways to engines, clients to gateways
	Control               // 10.101.0.0/24: machines to servers, servers to each other
)

func (s Subnet) device() string { return "eth" + strconv.Itoa(int(s)) }

// Net is a number of hosts.
type Net struct {
	prefix string // of the names of its namespaces

	mu    sync.Mutex
	hosts []*Host
}

// The namespaces are called netPrefix, the id of the process that made them, and the host.
const (
	netPrefix = "nbnet-"
	netDir    = "/run/netns"
	hubName   = "hub"
)

// New makes an empty net. What dead processes left is removed first.
func New() (*Net, error) {
	if err := Sweep(); err != nil {
		return nil, err
	}
	n := &Net{}
	for i := 0; i == 0 || exists(n.prefix+hubName); i++ { // a process may have several
		n.prefix = fmt.Sprintf("%s%s-%d-", netPrefix, procs.Self(), i)
	}
	if err := run("ip", "netns", "add", n.prefix+hubName); err != nil {
		return nil, err
	}
	return n, batch(n.prefix+hubName,
		"link add br0 type bridge", "link set br0 up",
		"link add br1 type bridge", "link set br1 up")
}

// Sweep removes the namespaces of processes that have ended. Programs that still run in them are left to their owner's own sweep; a namespace
// goes when the last of them does.
func Sweep() error {
	entries, err := os.ReadDir(netDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list namespaces: %w", err)
	}
	var all error
	for _, e := range entries {
		rest, ours := strings.CutPrefix(e.Name(), netPrefix)
		part := strings.Split(rest, "-")
		if !ours || len(part) < 3 {
			continue
		}
		if owner, ok := procs.Parse(part[0] + "-" + part[1]); ok && !owner.Alive() {
			if err := run("ip", "netns", "del", e.Name()); err != nil && exists(e.Name()) { // another sweep may have been faster
				all = errors.Join(all, err)
			}
		}
	}
	return all
}

func exists(namespace string) bool {
	_, err := os.Stat(filepath.Join(netDir, namespace))
	return err == nil
}

// Host adds a host with an address on both networks.
func (n *Net) Host(name string) (*Host, error) {
	h, err := n.bare(name)
	if err != nil {
		return nil, err
	}
	for _, s := range []Subnet{Data, Control} {
		port := fmt.Sprintf("h%d%s", h.number, s.device())
		err := errors.Join(
			batch(n.prefix+hubName,
				fmt.Sprintf("link add %s type veth peer name %s netns %s", port, s.device(), h.namespace),
				fmt.Sprintf("link set %s master br%d up", port, s)),
			h.address(s))
		if err != nil {
			return nil, err
		}
	}
	return h, nil
}

// bare adds a host with loopback alone.
func (n *Net) bare(name string) (*Host, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &Host{Name: name, net: n, namespace: n.prefix + name, number: len(n.hosts) + 1}
	if err := run("ip", "netns", "add", h.namespace); err != nil {
		return nil, err
	}
	n.hosts = append(n.hosts, h)
	fd, err := unix.Open(filepath.Join(netDir, h.namespace), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open namespace %s: %w", h.namespace, err)
	}
	h.fd = fd
	return h, batch(h.namespace, "link set lo up")
}

// Hosts returns all hosts in the order in which they were added.
func (n *Net) Hosts() []*Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]*Host(nil), n.hosts...)
}

// Close removes all hosts. Programs in them must have ended.
func (n *Net) Close() error {
	var all error
	for _, h := range n.Hosts() {
		all = errors.Join(all, h.close())
	}
	return errors.Join(all, run("ip", "netns", "del", n.prefix+hubName))
}

// batch runs ip commands in a namespace.
func batch(namespace string, lines ...string) error {
	cmd := exec.Command("ip", "-n", namespace, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	return runCmd(cmd)
}

func run(name string, args ...string) error { return runCmd(exec.Command(name, args...)) }

func runCmd(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
