package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

func (c *command) secretCommand() *cobra.Command {
	cmd := group("secret", "Keep tokens for models that need one of their own", c.secretSet(), c.secretList(), c.secretDelete())
	cmd.Aliases = []string{"secrets"}
	return cmd
}

func (c *command) secretSet() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Store a secret, or change its value", Args: oneSecret,
		Long: "Store a secret, or change its value. The value comes from standard input, from a prompt that does not show it, or from a file; never\n" +
			"from the command line, which others on this machine can read. Nobody can read it back: nodes get it for the download of a model that\n" +
			"names it, and models that failed because of it are tried again.",
		Example: "  nebula secret set hf-research < token.txt\n  nebula model create acme/Private-7B --token-secret hf-research --start",
		RunE: func(cmd *cobra.Command, args []string) error {
			value, err := c.secretValue(args[0], file)
			if err != nil {
				return err
			}
			if err := (&api.PutSecret{Value: value}).Validate(args[0]); err != nil {
				return err
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			v, err := cl.PutSecret(cmd.Context(), args[0], value)
			if err != nil {
				return err
			}
			next := "name it with: nebula model create NAME --token-secret " + clean(v.Name)
			if len(v.UsedBy) > 0 {
				next = "used by " + clean(strings.Join(v.UsedBy, ", "))
			}
			_, err = fmt.Fprintf(c.env.Stdout, "Secret %s is stored; %s\n", clean(v.Name), next)
			return err
		},
	}
	cmd.Flags().StringVar(&file, "from-file", "", "file with the value; its last line break is not part of it")
	return cmd
}

// oneSecret wants the name alone. What else was given may be the value, so it is not repeated.
func oneSecret(cmd *cobra.Command, args []string) error {
	switch len(args) {
	case 1:
		return nil
	case 0:
		return usagef("%s needs the secret's NAME\nSee: %s --help", cmd.CommandPath(), cmd.CommandPath())
	}
	return usagef("%s takes the secret's NAME alone: on the command line others can read the value; give it on standard input or with --from-file. "+
		"If this was a real one, replace it at its hub", cmd.CommandPath())
}

// secretValue reads the value of a secret. Its errors hold nothing of it.
func (c *command) secretValue(name, file string) (api.Token, error) {
	from := c.env.Stdin
	switch {
	case file != "":
		f, err := os.Open(file)
		if err != nil {
			return "", usagef("read the value: %w", err)
		}
		defer func() { _ = f.Close() }()
		from = f
	case terminal(from):
		fmt.Fprintf(c.env.Stderr, "Value of %s (it is not shown): ", clean(name))
		b, err := term.ReadPassword(int(from.(*os.File).Fd()))
		fmt.Fprintln(c.env.Stderr)
		if err != nil {
			return "", fmt.Errorf("read the value: %w", err)
		}
		return api.Token(b), nil
	}
	b, err := io.ReadAll(io.LimitReader(from, api.MaxSecretBytes+2)) // the end of a line may be two bytes
	if err != nil {
		return "", fmt.Errorf("read the value: %w", err)
	}
	return api.Token(strings.TrimRight(string(b), "\r\n")), nil
}

func (c *command) secretList() *cobra.Command {
	return listCommand(c, listing[api.SecretView]{
		Short: "List secrets, without their values", Empty: "No secrets. Store one with: nebula secret set NAME",
		Key:   func(s api.SecretView) string { return s.Name },
		Fetch: func(ctx context.Context, cl *client.Client) ([]api.SecretView, error) { return cl.Secrets(ctx) },
		Columns: []column[api.SecretView]{
			{Title: "NAME", Text: func(s api.SecretView, _ time.Time) string { return s.Name }},
			{Title: "AGE", Text: func(s api.SecretView, now time.Time) string { return age(s.CreatedAtMS, now) }},
			{Title: "CHANGED", Text: func(s api.SecretView, now time.Time) string { return age(s.UpdatedAtMS, now) }},
			{Title: "BY", Text: func(s api.SecretView, _ time.Time) string { return s.UpdatedBy }},
			{Title: "USED BY", Text: func(s api.SecretView, _ time.Time) string { return strings.Join(s.UsedBy, ",") }},
		},
	})
}

func (c *command) secretDelete() *cobra.Command {
	force := false
	cmd := doCommand(c, doing{
		Use: "delete NAME", Aliases: []string{"rm"}, Short: "Forget a secret", Arg: "the secret's NAME", Complete: c.completeSecret,
		Example: "  nebula secret delete hf-research",
		Do: func(ctx context.Context, cl *client.Client, name string) (any, string, error) {
			return nil, "Secret " + name + " is deleted", cl.DeleteSecret(ctx, name, force)
		},
	})
	cmd.Flags().BoolVar(&force, "force", false, "also one that models use: what they have on disk they keep, and they can fetch nothing more")
	return cmd
}
