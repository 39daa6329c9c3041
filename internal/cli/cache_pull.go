package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

func (c *command) cachePull() *cobra.Command {
	wait, timeout := false, defaultWait
	cmd := c.onFiles("pull MODEL", "Bring a model's files to nodes before it starts there", "bring them to this node (default: to all that report)",
		func(ctx context.Context, cl *client.Client, req api.FilesRequest) error {
			got, err := cl.PullFiles(ctx, req)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.env.Stdout, "Pulling %s to %s; look with: nebula cache pulls\n", clean(got.ModelName), clean(strings.Join(got.NodeIDs, ", ")))
			if len(got.Away) > 0 {
				fmt.Fprintf(c.env.Stderr, "Away now, and to pull when back within a day: %s\n", clean(strings.Join(got.Away, ", ")))
			}
			if !wait {
				return nil
			}
			return c.waitPulled(ctx, cl, nameOf(req), got, timeout)
		})
	cmd.Long = "Bring a model's files to nodes before it starts there, and keep them from being deleted to make room for a day.\n\n" +
		"With --wait it returns when all nodes have them. Ctrl-C ends the waiting, not the pull. It exits with 1 when a pull has failed, with 4\n" +
		"when somebody has cancelled one, and with 5 when the time is over."
	cmd.Example = "  nebula cache pull qwen --node gpu1,gpu2 --wait\n" +
		"  nebula cache pull Qwen/Qwen2.5-0.5B-Instruct-GGUF --file '*q4_k_m*' --node gpu1"
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until all nodes have them")
	cmd.Flags().DurationVar(&timeout, "timeout", defaultWait, "with --wait: how long; 0 waits for ever")
	return cmd
}

// waitPulled returns when every pull has ended, with a live line until then. A watch that breaks is begun again until the time is over.
func (c *command) waitPulled(parent context.Context, cl *client.Client, name string, w api.FilesWished, timeout time.Duration) error {
	ctx := parent
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(parent, timeout)
		defer cancel()
	}
	line := newProgress(c, clean(name))
	defer line.close()
	for {
		err := waitPullsOnce(ctx, cl, w, line)
		switch {
		case err == nil:
			line.close()
			fmt.Fprintf(c.env.Stdout, "The files of %s are on %s\n", clean(w.ModelName), clean(strings.Join(w.NodeIDs, ", ")))
			return nil
		case errors.Is(parent.Err(), context.Canceled):
			line.close()
			fmt.Fprintf(c.env.Stderr, "The pull goes on; look with \"nebula cache pulls\", end it with \"nebula cache cancel %s\".\n", clean(name))
			return parent.Err()
		case ctx.Err() != nil:
			return api.Errorf(api.CodeTimeout, "%s was not pulled everywhere after %s; it goes on, and was last seen with: %s", name, timeout, line.last)
		case errors.Is(err, errCancelled):
			return api.Errorf(api.CodeConflict, "%v", err)
		case !again(err, line.seen):
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(rewatchEvery):
		}
	}
}

var errCancelled = errors.New("was cancelled")

func waitPullsOnce(ctx context.Context, cl *client.Client, w api.FilesWished, line *progress) error {
	for all, err := range cl.WatchPulls(ctx, "") {
		if err != nil {
			return err
		}
		mine := slices.DeleteFunc(all, func(p api.PullView) bool { return p.PullID != w.PullID || !slices.Contains(w.NodeIDs, p.NodeID) })
		if over, err := showPulls(mine, w, line); over {
			return err
		}
	}
	return client.ErrStreamEnded
}

// showPulls draws the line, and tells whether every pull has ended and how.
func showPulls(pulls []api.PullView, w api.FilesWished, line *progress) (over bool, err error) {
	var done, total uint64
	var eta time.Duration
	var words, failures []string
	open := 0
	for _, p := range pulls {
		words = append(words, p.NodeID+" "+pullText(p))
		if p.State == api.PullFailed {
			failures = append(failures, p.NodeID+": "+p.Progress.Failure.Message)
		} else if p.State != api.PullComplete {
			open++
		}
		if p.Progress != nil {
			done, total, eta = done+p.Progress.DownloadedBytes, total+p.Progress.TotalBytes, max(eta, seconds(p.Progress.ETASeconds))
		}
	}
	if open > 0 {
		line.tell("pulling", clean(strings.Join(words, "; ")), done, total, eta)
		return false, nil
	}
	switch {
	case len(failures) > 0:
		return true, fmt.Errorf("%s %w on %s", w.ModelName, errFailed, clean(strings.Join(failures, "; ")))
	case len(pulls) < len(w.NodeIDs):
		return true, fmt.Errorf("the pull of %s %w on some nodes", w.ModelName, errCancelled)
	}
	return true, nil
}

// pullText says how a pull stands, in the words of people.
func pullText(p api.PullView) string {
	switch {
	case p.State == api.PullAway:
		return "is away: it pulls when it is back"
	case p.State == api.PullFailed:
		return "failed: " + p.Progress.Failure.Message
	case p.State == api.PullDownloading && p.Progress.Failure != nil:
		return "tries again after: " + p.Progress.Failure.Message
	case p.State == api.PullDownloading:
		return downloadText(p.Progress.DownloadProgress)
	}
	return string(p.State)
}

func (c *command) cachePulls() *cobra.Command {
	var node string
	cmd := listCommand(c, listing[api.PullView]{
		Use: "pulls", Short: "List pulls, those of the last day that have ended included",
		Empty: "No pulls. Begin one with: nebula cache pull MODEL --node NODE",
		Key:   func(p api.PullView) string { return p.NodeID + "/" + p.PullID },
		Fetch: func(ctx context.Context, cl *client.Client) ([]api.PullView, error) { return cl.Pulls(ctx, node) },
		Watch: func(ctx context.Context, cl *client.Client) iter.Seq2[[]api.PullView, error] {
			return cl.WatchPulls(ctx, node)
		},
		Columns: []column[api.PullView]{
			{Title: "NODE", Text: func(p api.PullView, _ time.Time) string { return p.NodeID }},
			{Title: "MODEL", Text: func(p api.PullView, _ time.Time) string { return p.Spec.ModelName }},
			{Title: "STATE", Text: func(p api.PullView, _ time.Time) string { return string(p.State) }},
			{Title: "AGE", Text: func(p api.PullView, now time.Time) string { return age(p.CreatedAtMS, now) }},
			{Title: "PROGRESS", Text: func(p api.PullView, _ time.Time) string {
				if text := pullText(p); text != string(p.State) {
					return text
				}
				return ""
			}},
		},
	})
	c.addNode(cmd, &node, "only those of this node")
	return cmd
}
