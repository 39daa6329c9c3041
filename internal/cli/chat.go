package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

func (c *command) chatCommand() *cobra.Command {
	var model, system, given string
	var maxTokens int
	cmd := &cobra.Command{
		Use: "chat [MESSAGE...]", Short: "Talk to a model; without a message, until /quit or Ctrl-D",
		Example: "  nebula chat -m my-model \"Why is the sky blue?\"\n  cat question.txt | nebula chat -m my-model\n  nebula chat",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			if model == "" {
				if model, err = onlyModel(cmd.Context(), cl); err != nil {
					return err
				}
			}
			s := &session{c: c, client: cl, model: model, system: system, maxTokens: maxTokens}
			s.clear()
			if given != "" && len(args) > 0 {
				return usagef("give the message once: as argument or with --message")
			}
			message := strings.Join(append(args, given)[:max(len(args), 1)], " ")
			if message == "" && !terminal(c.env.Stdin) {
				b, err := io.ReadAll(io.LimitReader(c.env.Stdin, maxPiped))
				if err != nil {
					return fmt.Errorf("read the message: %w", err)
				}
				if message = strings.TrimSpace(string(b)); message == "" {
					return usagef("the message is empty: give one as argument or on standard input")
				}
			}
			if message != "" {
				return s.say(cmd.Context(), message)
			}
			return s.converse(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&model, "model", "m", "", "model (default: the only one that runs)")
	f.StringVar(&given, "message", "", "the message, instead of the argument")
	f.StringVar(&system, "system", "", "system prompt")
	f.IntVar(&maxTokens, "max-tokens", 2048, "longest answer, in tokens")
	_ = cmd.RegisterFlagCompletionFunc("model", func(cmd *cobra.Command, _ []string, p string) ([]string, cobra.ShellCompDirective) {
		return c.completeUID(cmd, nil, p)
	}) // the flag was just made: it cannot fail
	return cmd
}

const maxPiped = 8 << 20

// onlyModel picks the model when there is no choice.
func onlyModel(ctx context.Context, cl *client.Client) (string, error) {
	models, _, err := cl.Models(ctx, client.ListOptions{})
	if err != nil {
		return "", err
	}
	var ready []string
	for _, m := range models {
		if m.Replicas.Ready > 0 {
			ready = append(ready, m.ModelUID)
		}
	}
	switch {
	case len(ready) == 1:
		return ready[0], nil
	case len(ready) > 1:
		return "", usagef("several models run; choose one with -m: %s", strings.Join(ready, ", "))
	case len(models) > 0:
		return "", api.Errorf(api.CodeUnavailable, "no model runs now; see: nebula model list")
	}
	return "", api.Errorf(api.CodeNotFound, "there is no model; declare one with: nebula model create NAME --start")
}

// session is one conversation.
type session struct {
	c         *command
	client    *client.Client
	model     string
	system    string
	maxTokens int
	messages  []client.Message
}

func (s *session) clear() {
	s.messages = nil
	if s.system != "" {
		s.messages = []client.Message{{Role: "system", Content: s.system}}
	}
}

// say sends a message and prints the answer as it comes. A message without an answer is not part of the conversation.
func (s *session) say(ctx context.Context, message string) error {
	asked := append(slices.Clip(s.messages), client.Message{Role: "user", Content: message})
	var answer strings.Builder
	show := clean
	if !terminal(s.c.env.Stdout) {
		show = func(t string) string { return t }
	}
	for piece, err := range s.client.Chat(ctx, client.ChatRequest{Model: s.model, Messages: asked, MaxTokens: s.maxTokens}) {
		if err != nil {
			if answer.Len() > 0 {
				fmt.Fprintln(s.c.env.Stdout)
			}
			return err
		}
		answer.WriteString(piece)
		if _, err := io.WriteString(s.c.env.Stdout, show(piece)); err != nil {
			return fmt.Errorf("print the answer: %w", err)
		}
	}
	s.messages = append(asked, client.Message{Role: "assistant", Content: answer.String()})
	_, err := fmt.Fprintln(s.c.env.Stdout)
	return err
}

// converse reads messages until /quit or the end of input. An answer that fails does not end the conversation.
func (s *session) converse(ctx context.Context) error {
	out := s.c.env.Stderr
	fmt.Fprintf(out, "Talking to %s. /clear starts anew, /quit or Ctrl-D ends.\n", s.model)
	lines := make(chan string)
	ended := make(chan error, 1)
	go func() {
		in := bufio.NewScanner(s.c.env.Stdin)
		in.Buffer(nil, maxPiped)
		for in.Scan() {
			select {
			case lines <- in.Text():
			case <-ctx.Done():
				return
			}
		}
		ended <- in.Err()
	}()
	for {
		fmt.Fprint(out, "> ")
		var line string
		select {
		case <-ctx.Done():
			fmt.Fprintln(out)
			return nil
		case err := <-ended:
			fmt.Fprintln(out)
			return err
		case line = <-lines:
		}
		switch text := strings.TrimSpace(line); text {
		case "":
		case "/quit", "/exit":
			return nil
		case "/clear":
			s.clear()
		default:
			if err := s.say(ctx, text); err != nil {
				if errors.Is(err, context.Canceled) {
					return nil
				}
				fmt.Fprintln(out, "Error:", err)
			}
		}
	}
}
