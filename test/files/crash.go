package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nebula-serve/nebula/test/figures"
	"github.com/nebula-serve/nebula/test/hub"
)

// measureKills kills downloads somewhere in their middle and counts what the next process fetches again. What may be is what comes in a
// second, and 1 MiB for each connection that was open.
func measureKills(ctx context.Context, o options, out figures.Report) error {
	s, err := startHub(ctx, o, int64(o.pick(256<<20, 64<<20)), repeated)
	if err != nil {
		return err
	}
	defer s.stop()
	rnd := rand.New(rand.NewPCG(1, 2))
	var shares, again []float64
	for range o.pick(20, 4) {
		if err := s.breaks(ctx, hub.Faults{BytesPerSecond: perConnection}); err != nil {
			return err
		}
		at := s.size*3/10 + rnd.Int64N(s.size*4/10)
		refetched, allowed, err := kill(ctx, o, s, at)
		if err != nil {
			return err
		}
		again, shares = append(again, refetched/(1<<20)), append(shares, refetched/allowed)
	}
	out.Add(figures.Figure{Name: "files_kill9_fetched_again_p50", Value: figures.Median(again), Unit: "MiB"})
	out.Add(figures.Figure{Name: "files_kill9_fetched_again_max", Value: figures.Quantile(again, 1), Unit: "MiB"})
	out.Add(figures.Figure{Name: "files_kill9_fetched_again_of_allowed_max", Value: figures.Quantile(shares, 1), Unit: "x", Op: "<=", Target: 1})
	return nil
}

// kill kills a download when the hub has sent so much of the file, lets another process end it, and returns how many bytes came twice and how
// many may.
func kill(ctx context.Context, o options, s *server, at int64) (refetched, allowed float64, err error) {
	dir, err := os.MkdirTemp(o.dir, "target-")
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cmd := exec.CommandContext(ctx, o.self, fetchRole, "-cache", dir, "-hub", s.URL)
	cmd.Stderr, cmd.SysProcAttr = os.Stderr, &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	rate, open, err := s.until(ctx, at)
	err = errors.Join(err, cmd.Process.Signal(syscall.SIGKILL))
	_ = cmd.Wait() // it was killed
	if err != nil {
		return 0, 0, fmt.Errorf("the download ended before it was killed: %w", err)
	}
	if _, err := os.Stat(blob(dir, s.SHA256)); err == nil {
		return 0, 0, errors.New("the file was published before it was whole")
	}
	if _, err := nebula().get(ctx, o, s, dir); err != nil {
		return 0, 0, err
	}
	sum, err := sumOf(blob(dir, s.SHA256))
	if err == nil && sum != s.SHA256 {
		err = fmt.Errorf("after a kill at %d bytes the file is %s", at, sum)
	}
	if err != nil {
		return 0, 0, err
	}
	st, err := s.state(ctx)
	return float64(max(0, st.Sent-s.size)), rate + float64(open)*(1<<20), err
}

// until waits until the hub has sent so many bytes and returns how many came in the second before and how many answers were under way.
func (s *server) until(ctx context.Context, at int64) (rate float64, open int, err error) {
	type sample struct {
		when time.Time
		sent int64
	}
	var seen []sample
	for {
		st, err := s.state(ctx)
		if err != nil {
			return 0, 0, err
		}
		now := time.Now()
		seen = append(seen, sample{now, st.Sent})
		for len(seen) > 1 && now.Sub(seen[1].when) >= time.Second {
			seen = seen[1:]
		}
		if st.Sent >= at {
			first := seen[0]
			return float64(st.Sent-first.sent) / max(1, now.Sub(first.when).Seconds()), st.Open, nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
	}
}

// measureFlips lets one bit of a file arrive wrong, always the same one, and counts the downloads that ended well all the same. One in three
// times it is wrong only once: the file is fetched again, and has to be right.
func measureFlips(ctx context.Context, o options, out figures.Report) error {
	s, err := startHub(ctx, o, 24<<20, repeated)
	if err != nil {
		return err
	}
	defer s.stop()
	rnd := rand.New(rand.NewPCG(3, 4))
	flips, caught := o.pick(60, 12), 0
	for i := range flips {
		f := hub.Faults{Flip: hub.Always, FlipAt: rnd.Int64N(s.size)}
		if i%3 == 0 {
			f.Flip = 1
		}
		if err := s.breaks(ctx, f); err != nil {
			return err
		}
		ok, err := flip(ctx, o, s, f.Flip == 1)
		if err != nil {
			return fmt.Errorf("byte %d: %w", f.FlipAt, err)
		}
		if ok {
			caught++
		}
	}
	out.Add(figures.Figure{Name: "files_bit_flips_caught", Value: float64(caught) / float64(flips) * 100, Unit: fmt.Sprintf("%% of %d", flips), Op: ">=", Target: 100})
	return nil
}

// flip downloads from a hub that flips a bit and tells whether nothing wrong came of it.
func flip(ctx context.Context, o options, s *server, once bool) (caught bool, err error) {
	dir, err := os.MkdirTemp(o.dir, "target-")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	_, failed := nebula().get(ctx, o, s, dir)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	st, err := s.state(ctx)
	if err != nil {
		return false, err
	}
	if st.Happened.Flip == 0 {
		return false, errors.New("no bit was flipped")
	}
	if once {
		sum, err := sumOf(blob(dir, s.SHA256))
		return failed == nil && err == nil && sum == s.SHA256, nil
	}
	return failed != nil && len(published(dir)) == 0, nil
}

// published lists what other programs would take for files of a model.
func published(dir string) []string {
	var out []string
	for _, pattern := range []string{"blobs/*", "snapshots/*/*", "refs/*"} {
		names, _ := filepath.Glob(filepath.Join(dir, "hub", "*", pattern)) // the patterns are sound
		for _, n := range names {
			if !strings.Contains(filepath.Base(n), ".nebula.") {
				out = append(out, n)
			}
		}
	}
	return out
}
