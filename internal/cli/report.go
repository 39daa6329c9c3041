package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
)

// report prints an error, once, with what to do next, and returns the exit code.
func (c *command) report(ctx context.Context, cmd *cobra.Command, err error) int {
	if err == nil {
		return exitOK
	}
	if q, ok := errors.AsType[*quiet](err); ok {
		return q.code
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	text := clean(err.Error())
	fmt.Fprintln(c.env.Stderr, "Error:", text)
	e, isAPI := api.AsError(err)
	if isAPI && e.RequestID != "" && e.Code.HTTPStatus() >= 500 {
		fmt.Fprintln(c.env.Stderr, "Request id:", clean(e.RequestID))
	}
	if next := c.hint(ctx, cmd, err); next != "" {
		fmt.Fprintln(c.env.Stderr, next)
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	if isAPI {
		return e.Code.ExitCode()
	}
	return exitError
}

// hint is what to do about an error, unless its own text says that already: it names a command or a flag.
func (c *command) hint(ctx context.Context, cmd *cobra.Command, err error) string {
	text := err.Error()
	e, isAPI := api.AsError(err)
	if _, ok := errors.AsType[*usageError](err); ok || isAPI && e.Code.ExitCode() == exitUsage && e.Code != api.CodeInvalidUID {
		if strings.Contains(text, "--help") {
			return ""
		}
		return "See: " + cmd.CommandPath() + " --help"
	}
	if isAPI && (e.Code == api.CodeNotFound || e.Code == api.CodeInvalidUID) {
		if near := c.nearObject(ctx, cmd, text); near != "" {
			return near
		}
	}
	if strings.Contains(text, "nebula ") || strings.Contains(text, " --") || strings.Contains(text, "chmod ") {
		return ""
	}
	if !isAPI {
		return "Hint: see " + cmd.CommandPath() + " --help"
	}
	return "Hint: " + hintOf(e.Code, cmd)
}

// nearObject asks what there is, in the same way as completion does, when the command's argument names nothing.
func (c *command) nearObject(ctx context.Context, cmd *cobra.Command, text string) string {
	args := cmd.Flags().Args()
	if cmd.ValidArgsFunction == nil || len(args) == 0 || ctx.Err() != nil || !strings.Contains(text, args[0]) {
		return ""
	}
	found, _ := cmd.ValidArgsFunction(cmd, nil, "")
	for i, s := range found {
		found[i], _, _ = strings.Cut(s, "\t")
	}
	if near := nearest(args[0], found, 3); len(near) > 0 {
		return "Did you mean: " + clean(strings.Join(near, ", ")) + "?"
	}
	return ""
}

// hintOf is what helps against a kind of error.
func hintOf(code api.Code, cmd *cobra.Command) string {
	look := "see " + cmd.CommandPath() + " --help"
	if list := listBeside(cmd); list != nil {
		look = "look with " + list.CommandPath()
	}
	switch code {
	case api.CodeUnauthorized:
		return "log in with nebula login, or give a credential in NEBULA_TOKEN"
	case api.CodeForbidden:
		return "nebula whoami tells who you are here; somebody with the role admin can give you more"
	case api.CodeNotFound, api.CodeInvalidUID:
		return look
	case api.CodeModelExists:
		return "choose another uid, or look at the model with nebula model get"
	case api.CodeModelStopped:
		return "start it with nebula model start"
	case api.CodeConflict, api.CodeRevisionMismatch:
		return "something else has changed it, or uses it: " + look + ", then repeat the command if you still want it"
	case api.CodeMethodNotAllowed:
		return "the server is of another version than this command; compare with nebula version"
	case api.CodeMisdirected:
		return "name the server by its address with --server, or start it with --allowed-host"
	case api.CodeTooManyRequests:
		return "wait a moment, then repeat the command"
	case api.CodeUnavailable:
		return "it may be starting or overloaded: repeat the command in a moment; nebula admin status tells how its store stands"
	case api.CodeTimeout:
		return "what was asked for may still be done: " + look + "; a command with --wait takes --timeout"
	case api.CodeUpstream:
		return "the log of the model says more: nebula model logs UID"
	case api.CodeInternal:
		return "the server's log says more, under the request id"
	}
	return look
}

// listBeside is the list command of the same group.
func listBeside(cmd *cobra.Command) *cobra.Command {
	if parent := cmd.Parent(); parent != nil {
		for _, sub := range parent.Commands() {
			if sub.Name() == "list" && sub != cmd {
				return sub
			}
		}
	}
	return nil
}
