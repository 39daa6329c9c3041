// Command fleet measures what a fleet of real servers, nodes, gateways and engines on this machine does when its parts are killed, paused or
// cut off, and what the way through a node costs. It prints one line per figure, and fails only when something could not be measured.
//
//	go run ./test/fleet -nebula bin/nebula -llama-server PATH [-only store,scheduler,agents,outage,path,files] [-short]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nebula-serve/nebula/internal/openapi/openapitest"
	"github.com/nebula-serve/nebula/test/answers"
	"github.com/nebula-serve/nebula/test/figures"
	"github.com/nebula-serve/nebula/test/llama"
)

// options say what is measured with what.
type options struct {
	nebula, llama string // program files
	short         bool
	keep          bool   // leave the directory with the logs
	dir           string // for everything that is written
	out           figures.Report
}

// pick returns the size of a measurement.
func pick[T any](o options, full, short T) T {
	if o.short {
		return short
	}
	return full
}

// part is a measurement with a fleet of its own.
type part struct {
	name string
	run  func(context.Context, options) error
}

var parts = []part{{"store", measureStore}, {"scheduler", measureScheduler}, {"agents", measureAgents}, {"outage", measureOutage}, {"path", measurePath}, {"files", measureFiles}}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if len(os.Args) == 3 && os.Args[1] == observerArg {
		err = observe(ctx, os.Args[2])
	} else {
		err = run(ctx, os.Args[1:])
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	o := options{out: figures.Report{W: os.Stdout}}
	f := flag.NewFlagSet("fleet", flag.ContinueOnError)
	f.StringVar(&o.nebula, "nebula", "bin/nebula", "nebula's program file")
	f.StringVar(&o.llama, "llama-server", llama.Find(), "llama-server's program file")
	f.BoolVar(&o.short, "short", false, "fewer and shorter rounds")
	f.BoolVar(&o.keep, "keep", false, "leave the directory with the programs' logs")
	only := f.String("only", "", "parts, separated by commas: store, scheduler, agents, outage, path, files (default: all but files, which make bench-files measures)")
	if err := f.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	for _, p := range []*string{&o.nebula, &o.llama} {
		if *p, err = program(*p); err != nil {
			return fmt.Errorf("%w: run make build and scripts/llama-server.sh, or give -nebula and -llama-server", err)
		}
	}
	o.out.Machine(pick(o, "full", "short") + " run of the fleet")
	var errs []error
	for _, p := range chosen {
		began := time.Now()
		if err := p.in(ctx, o); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
		}
		if ctx.Err() != nil {
			break
		}
		o.out.Note("%s took %s", p.name, time.Since(began).Round(time.Second))
	}
	return errors.Join(errs...)
}

// in runs the part in a directory of its own.
func (p part) in(ctx context.Context, o options) error {
	var err error
	if o.dir, err = os.MkdirTemp("", "nebula-fleet-"); err != nil {
		return err
	}
	if o.keep {
		o.out.Note("logs of %s are in %s", p.name, o.dir)
	} else {
		defer os.RemoveAll(o.dir)
	}
	if err := os.Mkdir(answersIn(o.dir), 0o700); err != nil {
		return err
	}
	return errors.Join(p.run(ctx, o), checkAnswers(o))
}

// answersIn is where a part keeps what servers answered.
func answersIn(dir string) string { return filepath.Join(dir, "answers") }

// checkAnswers holds what servers answered against the API's document.
func checkAnswers(o options) error {
	c, err := answers.NewChecker()
	if err != nil {
		return err
	}
	n, err := openapitest.CheckFolder(c, answersIn(o.dir))
	o.out.Note("%d answers held against the API's document", n)
	if err != nil {
		return fmt.Errorf("answers that the API's document does not promise: %w", err)
	}
	return nil
}

func choose(only string) ([]part, error) {
	if only == "" {
		return slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return p.name == "files" }), nil
	}
	var chosen []part
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(parts, func(p part) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no part %q: use store, scheduler, agents, outage, path or files", name)
		}
		chosen = append(chosen, parts[i])
	}
	return chosen, nil
}

func program(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// target prints a figure that must not be above its target.
func (o options) target(name string, value float64, unit string, most float64) {
	o.out.Add(figures.Figure{Name: name, Value: value, Unit: unit, Op: "<=", Target: most})
}

// plain prints a figure without a target.
func (o options) plain(name string, value float64, unit string) {
	o.out.Add(figures.Figure{Name: name, Value: value, Unit: unit})
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// until asks again and again until the answer is nil and returns how long that took.
func until(ctx context.Context, limit time.Duration, what string, ask func(context.Context) error) (time.Duration, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil {
			return time.Since(began), nil
		}
		if wait(ctx, 20*time.Millisecond) != nil {
			return 0, fmt.Errorf("wait until %s: not within %s: %w", what, limit, err)
		}
	}
}
