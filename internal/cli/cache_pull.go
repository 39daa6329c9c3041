package cli

import (
	"context"
	"errors"
	"fmt"
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
	cmd := &cobra.Command{
		Use: "pulls", Short: "List pulls, those of the last day that have ended included", Args: exactly(0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.checkOutput(); err != nil {
				return err
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			list, err := cl.Pulls(cmd.Context(), node)
			if err != nil {
				return err
			}
			return c.print(list, func(bool) error { return c.pullTable(list) })
		},
	}
	c.addNode(cmd, &node, "only those of this node")
	c.addOutput(cmd)
	return cmd
}

func (c *command) pullTable(list []api.PullView) error {
	if len(list) == 0 {
		fmt.Fprintln(c.env.Stderr, "No pulls. Begin one with: nebula cache pull MODEL --node NODE")
		return nil
	}
	var rows [][]string
	for _, p := range list {
		text := pullText(p)
		if text == string(p.State) {
			text = ""
		}
		rows = append(rows, []string{clean(p.NodeID), clean(p.Spec.ModelName), string(p.State), age(p.CreatedAtMS, time.Now()), clean(text)})
	}
	return c.printTable([]string{"NODE", "MODEL", "STATE", "AGE", "PROGRESS"}, rows)
}
