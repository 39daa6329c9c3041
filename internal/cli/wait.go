package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
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
	All     bool          // every replica that is wished for is ready
	Timeout time.Duration // 0 = for ever
}

// reached tells whether a model is where it was to get.
func (o waitOptions) reached(d api.ModelDetail) bool {
	return d.State == o.State && (!o.All || d.Replicas.Ready == d.Replicas.Desired)
}

// add adds --wait and --timeout to a command.
func (o *waitOptions) add(cmd *cobra.Command, wait *bool, what string) {
	cmd.Flags().BoolVar(wait, "wait", false, "wait until "+what)
	cmd.Flags().DurationVar(&o.Timeout, "timeout", defaultWait, "with --wait: how long; 0 waits for ever")
}

// within is ctx with the time that a wait has.
func within(parent context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout > 0 {
		return context.WithTimeout(parent, timeout)
	}
	return context.WithCancel(parent)
}

// sayDone prints a line that follows the answer: beside a document for programs it goes to standard error.
func (c *command) sayDone(line string) error {
	w := c.env.Stdout
	if name := c.output.name; name != "table" && name != "wide" {
		w = c.env.Stderr
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

func (c *command) modelWait() *cobra.Command {
	var o waitOptions
	var state string
	cmd := &cobra.Command{
		Use: "wait UID", Short: "Wait until a model is running (or in the state of --for)", Args: exactly(1, "the model's UID"),
		ValidArgsFunction: c.completeUID, Example: "  nebula model wait my-model --timeout 10m\n  nebula model wait my-model --for stopped",
		Long: "Wait until a model is running, with a progress line while it downloads and starts.\n\n" +
			"Exits 0 when it is, 1 when it failed for good, 3 when there is no such model, 5 when the time is over.",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			o.State = api.ModelState(state)
			if err := checkState(state); err != nil {
				return err
			}
			return c.waitFor(cmd.Context(), cl, args[0], o)
		},
	}
	cmd.Flags().StringVar(&state, "for", string(api.StateRunning), "the state to wait for")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", defaultWait, "how long; 0 waits for ever")
	c.completeFlag(cmd, "for", words(api.ModelStates()))
	return cmd
}

// checkState refuses what is no state of a model.
func checkState(state string) error {
	if known := words(api.ModelStates()); !slices.Contains(known, state) {
		return usagef("state %.80q is unknown: use one of %s%s", state, strings.Join(known, ", "), didYouMean(state, known))
	}
	return nil
}

// waitGone returns when no node has a replica of a deleted model any more.
func (c *command) waitGone(parent context.Context, cl *client.Client, uid string, timeout time.Duration) error {
	ctx, cancel := within(parent, timeout)
	defer cancel()
	last := ""
	for {
		nodes, err := cl.Nodes(ctx)
		left := replicasOf(nodes, uid)
		switch {
		case err == nil && len(left) == 0:
			return c.sayDone("Nothing of model " + uid + " runs any more")
		case err != nil && !api.HasCode(err, api.CodeUnavailable) && ctx.Err() == nil:
			return err
		}
		if line := strings.Join(left, ", "); err == nil && line != last {
			last = line
			fmt.Fprintf(c.env.Stderr, "%s still runs on %s\n", uid, clean(line))
		}
		select {
		case <-ctx.Done():
			if parent.Err() != nil {
				return parent.Err()
			}
			return api.Errorf(api.CodeTimeout, "model %s is deleted, but after %s it still runs on %s: a node that is away stops it when it is back; look with: nebula node list",
				uid, timeout, cmp.Or(last, "nodes that cannot be seen now"))
		case <-time.After(drainLook):
		}
	}
}

// replicasOf names the nodes that report a replica of a model.
func replicasOf(nodes []api.NodeView, uid string) []string {
	var out []string
	for _, n := range nodes {
		if slices.ContainsFunc(n.Replicas, func(r api.NodeReplica) bool { return r.ModelUID == uid }) {
			out = append(out, n.NodeID)
		}
	}
	return out
}

// waitFor returns when the model is in the wanted state. A watch that breaks is begun again until the time is over.
func (c *command) waitFor(parent context.Context, cl *client.Client, uid string, o waitOptions) error {
	ctx, cancel := within(parent, o.Timeout)
	defer cancel()
	line := newProgress(c, uid)
	defer line.close()
	for {
		err := c.waitOnce(ctx, cl, uid, o, line)
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
func (c *command) waitOnce(ctx context.Context, cl *client.Client, uid string, o waitOptions, line *progress) error {
	for d, err := range cl.WatchModel(ctx, uid) {
		if err != nil {
			return err
		}
		line.show(d)
		switch {
		case o.reached(d):
			line.close()
			return c.sayDone("Model " + uid + " is " + colouredOn(c, d.State))
		case d.State == api.StateFailed:
			return fmt.Errorf("model %s %w: %s", uid, errFailed, reasonText(d.Reason))
		case d.State == api.StateStopped && o.State == api.StateRunning:
			return fmt.Errorf("model %s %w to run: it is stopped; start it with: nebula model start %s", uid, errFailed, uid)
		}
	}
	return client.ErrStreamEnded
}

func colouredOn(c *command, s api.ModelState) string {
	if terminal(c.env.Stdout) && c.env.Getenv("NO_COLOR") == "" {
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
