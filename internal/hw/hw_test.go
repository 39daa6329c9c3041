package hw

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/nebula-serve/nebula/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the answers into testdata")

// answer is a Runner that always says the same.
type answer struct {
	out string
	err error
}

// Run says it.
func (a answer) Run(context.Context, string, ...string) ([]byte, error) { return []byte(a.out), a.err }

func TestNVIDIA_cases(t *testing.T) {
	const name = "testdata/nvidia_smi.txt"
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for i, text := range strings.Split(string(raw), "\ncase ") {
		if i == 0 {
			out.WriteString(text + "\n")
			continue
		}
		in, want, _ := strings.Cut(text, "want\n")
		title, lines, _ := strings.Cut(in, "\n")
		gpus, err := nvidia(t.Context(), answer{out: lines}, 128000, 8000)
		var b strings.Builder
		for _, g := range gpus {
			fmt.Fprintf(&b, "  %d %q %q %d of %d MiB, %s C, %s %%\n", g.Index, g.UUID, g.Name, g.MemoryUsedMB, g.MemoryTotalMB, number(g.TemperatureC), number(g.UtilizationGPU))
		}
		if err != nil {
			fmt.Fprintf(&b, "  error: %s\n", strings.ReplaceAll(err.Error(), "\n", "\n  "))
		}
		fmt.Fprintf(&out, "case %swant\n%s\n", in, b.String())
		if !*update && strings.TrimRight(want, "\n") != strings.TrimRight(b.String(), "\n") {
			t.Errorf("%s\ngot:\n%swant:\n%s", title, b.String(), want)
		}
	}
	if *update {
		if err := os.WriteFile(name, []byte(strings.TrimRight(out.String(), "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func number(n *uint32) string {
	if n == nil {
		return "?"
	}
	return fmt.Sprint(*n)
}

func TestNVIDIA_noneAndBroken(t *testing.T) {
	for _, c := range []struct {
		answer answer
		says   string
	}{
		{answer{err: &exec.Error{Name: "nvidia-smi", Err: exec.ErrNotFound}}, ""},
		{answer{out: "No devices were found\n", err: errors.New("exit status 6")}, ""},
		{answer{out: "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\nMore.", err: errors.New("exit status 9")}, "communicate with the NVIDIA driver"},
		{answer{err: context.DeadlineExceeded}, "unknown until it works"},
	} {
		s, err := detect(t.Context(), machine{fstest.MapFS{}, 2}, c.answer)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%+v: %v", c.answer, err)
		}
		if s.GPUs == nil || len(s.GPUs) != 0 || s.CPUs != 2 {
			t.Errorf("%+v", s)
		}
	}
}

func TestNVIDIA_failsHalfWay(t *testing.T) {
	gpus, err := nvidia(t.Context(), answer{"0, GPU-a, NVIDIA A40, 46068, 1, 29, 0\nUnable to determine the device handle", errors.New("exit status 15")}, 0, 0)
	if len(gpus) != 1 || err == nil {
		t.Errorf("%v, %v", gpus, err)
	}
}

const meminfo = "MemTotal:       16777216 kB\nMemFree:          100000 kB\nMemAvailable:    8388608 kB\nHugePages_Total:       0\n"

func TestDetect_limits(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	cases := []struct {
		name        string
		files       fstest.MapFS
		cores       uint32
		total, free uint64 // MiB
	}{
		{"no cgroup", fstest.MapFS{}, 8, 16384, 8192},
		{"version 2 without limits", fstest.MapFS{
			"proc/self/cgroup": file("0::/user.slice\n"), "sys/fs/cgroup/user.slice/cpu.max": file("max 100000\n"),
			"sys/fs/cgroup/user.slice/memory.max": file("max\n"),
		}, 8, 16384, 8192},
		{"version 2, limits above", fstest.MapFS{
			"proc/self/cgroup": file("0::/a/b\n"), "sys/fs/cgroup/a/cpu.max": file("250000 100000\n"), "sys/fs/cgroup/a/b/cpu.max": file("max 100000\n"),
			"sys/fs/cgroup/a/memory.max": file("4294967296\n"), "sys/fs/cgroup/a/memory.current": file("3221225472\n"),
			"sys/fs/cgroup/a/memory.stat": file("anon 1\ninactive_file 1073741824\n"),
		}, 3, 4096, 2048},
		{"version 2 in a container", fstest.MapFS{
			"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/cpu.max": file("50000 100000\n"), "sys/fs/cgroup/memory.max": file("1073741824\n"),
			"sys/fs/cgroup/memory.current": file("2147483648\n"),
		}, 1, 1024, 0},
		{"version 1", fstest.MapFS{
			"proc/self/cgroup":                           file("4:memory:/x\n3:cpuset:/\n1:cpu,cpuacct:/x\n"),
			"sys/fs/cgroup/cpu/x/cpu.cfs_quota_us":       file("400000\n"),
			"sys/fs/cgroup/cpu/x/cpu.cfs_period_us":      file("100000\n"),
			"sys/fs/cgroup/memory/memory.limit_in_bytes": file("9223372036854771712\n"), "sys/fs/cgroup/memory/x/memory.limit_in_bytes": file("2147483648\n"),
			"sys/fs/cgroup/memory/x/memory.usage_in_bytes": file("1073741824\n"), "sys/fs/cgroup/memory/x/memory.stat": file("total_inactive_file 536870912\n"),
		}, 4, 2048, 1536},
		{"version 1 without limits", fstest.MapFS{
			"proc/self/cgroup": file("4:memory:/\n1:cpu:/\n"), "sys/fs/cgroup/cpu/cpu.cfs_quota_us": file("-1\n"), "sys/fs/cgroup/cpu/cpu.cfs_period_us": file("100000\n"),
			"sys/fs/cgroup/memory/memory.limit_in_bytes": file("9223372036854771712\n"),
		}, 8, 16384, 8192},
		{"rubbish", fstest.MapFS{
			"proc/self/cgroup": file("x\n0::/../../y\n"), "sys/fs/cgroup/cpu.max": file("a b\n"), "sys/fs/cgroup/memory.max": file("-5\n"),
		}, 8, 16384, 8192},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.files["proc/meminfo"] = file(meminfo)
			c.files["proc/cpuinfo"] = file("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n")
			s, err := detect(t.Context(), machine{c.files, 8}, answer{err: exec.ErrNotFound})
			if err != nil {
				t.Fatal(err)
			}
			if s.CPUs != c.cores || s.MemoryTotalMB != c.total || s.MemoryFreeMB != c.free || s.CPUModel != "Some CPU @ 2 GHz" {
				t.Errorf("%d cores, %d of %d MiB free, %q; want %d, %d of %d", s.CPUs, s.MemoryFreeMB, s.MemoryTotalMB, s.CPUModel, c.cores, c.free, c.total)
			}
		})
	}
}

// TestDetect_real asks this machine, with a program of the right name on the PATH.
func TestDetect_real(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\n[ \"$2\" = --format=csv,noheader,nounits ] || exit 2\necho '3, GPU-x, Fake, 1000, 10, [N/A], 7'\n"
	if err := os.WriteFile(filepath.Join(dir, "nvidia-smi"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	s, err := Detect(t.Context(), &Exec{})
	if err != nil {
		t.Fatal(err)
	}
	seven := uint32(7)
	want := []api.GPUStatus{{Index: 3, UUID: "GPU-x", Name: "Fake", Vendor: "nvidia", MemoryTotalMB: 1000, MemoryUsedMB: 10, UtilizationGPU: &seven}}
	if d := cmp.Diff(want, []api.GPUStatus(s.GPUs)); d != "" {
		t.Error(d)
	}
	if s.CPUs < 1 || int(s.CPUs) > runtime.NumCPU() || s.Hostname == "" || s.OS != runtime.GOOS || s.Arch != runtime.GOARCH {
		t.Errorf("%+v", s)
	}
	if runtime.GOOS == "linux" && (s.MemoryTotalMB < 64 || s.MemoryFreeMB > s.MemoryTotalMB) {
		t.Errorf("%d of %d MiB free", s.MemoryFreeMB, s.MemoryTotalMB)
	}
}

func TestExec(t *testing.T) {
	e := &Exec{}
	if _, err := e.Run(t.Context(), "no-such-program-here"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("absent: %v", err)
	}
	if out, err := e.Run(t.Context(), "sh", "-c", "echo out; echo err >&2"); err != nil || string(out) != "out\nerr\n" {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := e.Run(t.Context(), "sh", "-c", "echo why; exit 9"); err == nil || string(out) != "why\n" {
		t.Errorf("%q, %v", out, err)
	}
	e.Timeout = 50 * time.Millisecond
	if _, err := e.Run(t.Context(), "sleep", "60"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("too slow: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Run(ctx, "sleep", "60"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestExec_hangs: a program that cannot be killed is not started again while it lives.
func TestExec_hangs(t *testing.T) {
	e, done := &Exec{}, make(chan struct{})
	e.leave("true", done)
	if _, err := e.Run(t.Context(), "true"); !errors.Is(err, errHangs) {
		t.Errorf("while it hangs: %v", err)
	}
	if _, err := e.Run(t.Context(), "echo"); err != nil {
		t.Errorf("another program: %v", err)
	}
	close(done)
	if _, err := e.Run(t.Context(), "true"); err != nil {
		t.Errorf("after it went: %v", err)
	}
}

func FuzzParseNVIDIA(f *testing.F) {
	f.Add("0, GPU-a, NVIDIA A40, 46068, 1, 29, 0\n")
	f.Add("0, [N/A], x, [N/A], [N/A], [N/A], [Not Supported]\n,,,,,,\n")
	f.Fuzz(func(t *testing.T, out string) {
		gpus, _ := parseNVIDIA(out, 1000, 1)
		for _, g := range gpus {
			if g.MemoryTotalMB == 0 {
				t.Fatalf("%q: a GPU without memory", out)
			}
		}
	})
}
