package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

const defaultWait = 30 * time.Minute

// waitOptions say what to wait for.
type waitOptions struct {
	State   api.ModelState
	Timeout time.Duration // 0 = for ever
}

func (c *command) modelWait() *cobra.Command {
	var o waitOptions
	var state string
	cmd := &cobra.Command{
		Use: "wait UID", Short: "Wait until a model is running (or in the state of --for)", Args: exactly(1, "the model's UID"),
		ValidArgsFunction: c.completeUID,
		Long: "Wait until a model is running, with a progress line while it downloads and starts.\n\n" +
			"Exits 0 when it is, 1 when it failed for good, 3 when there is no such model, 5 when the time is over.",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			o.State = api.ModelState(state)
			known := false
			for _, s := range api.ModelStates() {
				known = known || s == o.State
			}
			if !known {
				return usagef("state %q is unknown", state)
			}
			return c.waitFor(cmd.Context(), cl, args[0], o)
		},
	}
	cmd.Flags().StringVar(&state, "for", string(api.StateRunning), "the state to wait for")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", defaultWait, "how long; 0 waits for ever")
	return cmd
}

// waitFor returns when the model is in the wanted state. A watch that breaks is begun again until the time is over.
func (c *command) waitFor(parent context.Context, cl *client.Client, uid string, o waitOptions) error {
	ctx := parent
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(parent, o.Timeout)
		defer cancel()
	}
	line := newProgress(c, uid)
	defer line.close()
	for {
		err := c.waitOnce(ctx, cl, uid, o.State, line)
		switch {
		case err == nil:
			return nil
		case parent.Err() != nil:
			return parent.Err()
		case ctx.Err() != nil:
			return api.Errorf(api.CodeTimeout, "model %s was not %s after %s; it is %s", uid, o.State, o.Timeout, line.last)
		case !again(err, line.seen):
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(rewatchEvery):
		}
	}
}

const rewatchEvery = 500 * time.Millisecond

var errFailed = errors.New("failed")

// waitOnce follows one watch.
func (c *command) waitOnce(ctx context.Context, cl *client.Client, uid string, want api.ModelState, line *progress) error {
	for d, err := range cl.WatchModel(ctx, uid) {
		if err != nil {
			return err
		}
		line.show(d)
		switch d.State {
		case want:
			line.close()
			fmt.Fprintf(c.env.Stdout, "Model %s is %s\n", uid, colouredOn(c, d.State))
			return nil
		case api.StateFailed:
			return fmt.Errorf("model %s %w: %s", uid, errFailed, reasonText(d.Reason))
		case api.StateStopped:
			if want == api.StateRunning {
				return fmt.Errorf("model %s %w to run: it is stopped; start it with: nebula model start %s", uid, errFailed, uid)
			}
		}
	}
	return client.ErrStreamEnded
}

func colouredOn(c *command, s api.ModelState) string {
	if terminal(c.env.Stdout) {
		return colouredState(s)
	}
	return string(s)
}

// progress is the live line of a wait: a bar on a terminal, one line a change elsewhere.
type progress struct {
	c     *command
	uid   string
	bar   *progressbar.ProgressBar
	total uint64
	last  string
	seen  bool
}

func newProgress(c *command, uid string) *progress {
	return &progress{c: c, uid: uid, last: "not seen yet"}
}

func (p *progress) show(d api.ModelDetail) {
	text := string(d.State)
	if d.Reason != nil {
		text += ": " + clean(d.Reason.Message)
	}
	done, total, eta := sumDownloads(d)
	p.tell(string(d.State), text, done, total, eta)
}

// tell shows how far it is: as a bar while total is known, else as text. Where there is no terminal a download's line begins with its word.
func (p *progress) tell(word, text string, done, total uint64, eta time.Duration) {
	p.seen = true
	if !terminal(p.c.env.Stderr) {
		if total > 0 {
			text = fmt.Sprintf("%s: %d %% of %s", word, percentStep(done, total), size(total))
		}
		if text != p.last {
			fmt.Fprintf(p.c.env.Stderr, "%s %s\n", p.uid, text)
		}
		p.last = text
		return
	}
	p.last = text
	if total > 0 {
		p.download(word, done, total, eta)
		return
	}
	p.close()
	fmt.Fprintf(p.c.env.Stderr, "\r\x1b[K%s %s", p.uid, clip(text, 100))
}

// download draws the bar. What is left is told by the node, which knows the speed of every connection.
func (p *progress) download(word string, done, total uint64, eta time.Duration) {
	if p.bar == nil || p.total != total {
		p.close()
		p.total = total
		p.bar = progressbar.NewOptions64(int64(total), progressbar.OptionSetWriter(p.c.env.Stderr), progressbar.OptionShowBytes(true),
			progressbar.OptionUseIECUnits(true), progressbar.OptionSetPredictTime(false),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(24))
	}
	left := ""
	if eta > 0 {
		left = ", " + eta.String() + " left"
	}
	p.bar.Describe(p.uid + " " + word + left)
	_ = p.bar.Set64(int64(done)) // a progress line that cannot be drawn is no reason to stop
}

func (p *progress) close() {
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
		return
	}
	if p.seen && terminal(p.c.env.Stderr) {
		fmt.Fprint(p.c.env.Stderr, "\r\x1b[K")
	}
}

// percentStep rounds down to tens, so that a log gets ten lines and not a thousand.
func percentStep(done, total uint64) uint64 { return done * 10 / total * 10 }

// sumDownloads adds up a model's downloads; the last of them to end says when all have.
func sumDownloads(d api.ModelDetail) (done, total uint64, eta time.Duration) {
	if d.DownloadProgress == nil || d.State != api.StateDownloading {
		return 0, 0, 0
	}
	for _, r := range d.DownloadProgress.Replicas {
		done, total, eta = done+r.DownloadedBytes, total+r.TotalBytes, max(eta, seconds(r.ETASeconds))
	}
	return done, total, eta
}

func seconds(n uint64) time.Duration { return time.Duration(min(n, 1<<31)) * time.Second }

func clip(s string, n int) string {
	s = strings.ReplaceAll(s, "\n", " ")
	if len([]rune(s)) <= n {
		return s
	}
	return string([]rune(s)[:n]) + "…"
}
