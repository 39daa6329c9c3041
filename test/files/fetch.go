package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/modelfiles"
)

// Roles of this program as a node that does one thing: files fetch -cache DIR -hub URL, files scan -cache DIR.
const (
	fetchRole = "fetch"
	scanRole  = "scan"
)

// told is what such a process says on its output at the end.
type told struct {
	PeakRSS int64         // bytes
	CPU     time.Duration // of what is measured: for scan that of the second one
	Files   int
}

// fetchMain brings the model into a cache.
func fetchMain(args []string) error {
	var cfg modelfiles.Config
	f := flag.NewFlagSet(fetchRole, flag.ContinueOnError)
	f.StringVar(&cfg.CacheDir, "cache", "", "folder")
	f.StringVar(&cfg.Endpoint, "hub", "", "address")
	f.IntVar(&cfg.Limits.Connections, "connections", 0, "most connections; 0 = Nebula's own choice")
	if err := f.Parse(args); err != nil {
		return err
	}
	cfg.KeepFree = 1
	s, err := modelfiles.New(cfg)
	if err != nil {
		return err
	}
	spec := api.ModelSpec{ModelUID: "m", ModelName: repository, ModelSource: api.SourceHuggingFace}
	m, err := s.Fetch(context.Background(), modelfiles.Request{Spec: spec, Engine: api.EngineLlamaCPP}, nil)
	if err != nil {
		return err
	}
	return tell(told{Files: len(m.Files)})
}

// scanMain looks at a cache twice. The first time is a new agent's; the second is what happens every minute.
func scanMain(args []string) error {
	var cfg modelfiles.Config
	f := flag.NewFlagSet(scanRole, flag.ContinueOnError)
	f.StringVar(&cfg.CacheDir, "cache", "", "folder")
	if err := f.Parse(args); err != nil {
		return err
	}
	s, err := modelfiles.New(cfg)
	if err != nil {
		return err
	}
	var out told
	for range 2 {
		before := ownCPU()
		entries, err := s.Scan(context.Background())
		if err != nil {
			return err
		}
		out = told{CPU: ownCPU() - before}
		for _, e := range entries {
			out.Files += int(e.FileCount)
		}
	}
	return tell(out)
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it cannot fail for oneself
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func tell(t told) error {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmHWM:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			t.PeakRSS = kib << 10
			return errors.Join(err, json.NewEncoder(os.Stdout).Encode(t))
		}
	}
	return fmt.Errorf("the kernel does not tell the peak of memory")
}
