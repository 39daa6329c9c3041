package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

// completeWithin is how long the shell may wait for the server.
const completeWithin = time.Second

// completion asks the server for what can be typed: words, each with an explanation behind a tab or without. Whatever goes wrong there is
// nothing to offer, and nothing is said, because the line is still being typed.
func (c *command) completion(cmd *cobra.Command, ask func(context.Context, *client.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	if c.options(cmd) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	cl, err := c.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	parent := cmd.Context()
	if parent == nil { // cobra completes without one
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completeWithin)
	defer cancel()
	found, err := ask(ctx, cl)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for i := range found {
		found[i] = clean(found[i])
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// completeFirst is a completion of the first argument alone.
func (c *command) completeFirst(cmd *cobra.Command, args []string, ask func(context.Context, *client.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.completion(cmd, ask)
}

// completeFlag offers the words that a flag takes.
func (c *command) completeFlag(cmd *cobra.Command, flag string, choices []string) {
	// The command is ours and has the flag: it cannot fail.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(choices, cobra.ShellCompDirectiveNoFileComp))
}

// words are the texts of constants.
func words[T ~string](all []T) []string {
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = string(s)
	}
	return out
}

// completeUID offers the uids of models.
func (c *command) completeUID(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return c.completeFirst(cmd, args, func(ctx context.Context, cl *client.Client) ([]string, error) {
		models, _, err := cl.Models(ctx, client.ListOptions{})
		return each(models, func(m api.ModelView) string { return m.ModelUID + "\t" + string(m.State) }), err
	})
}

// completeNode offers the ids of nodes.
func (c *command) completeNode(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return c.completeFirst(cmd, args, func(ctx context.Context, cl *client.Client) ([]string, error) {
		nodes, err := cl.Nodes(ctx)
		return each(nodes, func(n api.NodeView) string { return n.NodeID + "\t" + nodeState(n) }), err
	})
}

// completeSecret offers the names of secrets.
func (c *command) completeSecret(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return c.completeFirst(cmd, args, func(ctx context.Context, cl *client.Client) ([]string, error) {
		secrets, err := cl.Secrets(ctx)
		return each(secrets, func(s api.SecretView) string { return s.Name }), err
	})
}

// completeKey offers the ids of keys.
func (c *command) completeKey(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return c.completeFirst(cmd, args, func(ctx context.Context, cl *client.Client) ([]string, error) {
		keys, err := cl.Keys(ctx, "")
		return each(keys, func(k api.KeyView) string { return k.ID + "\t" + k.Name }), err
	})
}

// completeToken offers the ids of join tokens.
func (c *command) completeToken(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return c.completeFirst(cmd, args, func(ctx context.Context, cl *client.Client) ([]string, error) {
		tokens, err := cl.Tokens(ctx)
		return each(tokens, func(t api.JoinTokenView) string { return t.ID + "\t" + string(t.For) }), err
	})
}

// completeMember offers the machines of the cluster.
func (c *command) completeMember(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return c.completeFirst(cmd, args, func(ctx context.Context, cl *client.Client) ([]string, error) {
		members, err := cl.Members(ctx)
		return each(members, func(m api.Member) string { return m.Key() }), err
	})
}

func each[T, U any](all []T, of func(T) U) []U {
	out := make([]U, len(all))
	for i, v := range all {
		out[i] = of(v)
	}
	return out
}
