package cli

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

func (c *command) topCommand() *cobra.Command {
	once := false
	every := 2 * time.Second
	cmd := &cobra.Command{
		Use: "top", Short: "Look at models and nodes live", Args: exactly(0, "no argument"),
		Long: "Show what models and nodes do now: models at every change, nodes and figures every few seconds, until Ctrl-C. Where standard output is\n" +
			"no terminal, and with --once, it prints one picture. A narrow terminal shows fewer columns.\n\n" +
			"RUNNING, WAITING (requests), IN TOK/S, OUT TOK/S (tokens of prompts and of answers) and KV CACHE are what the engines of a model say\n" +
			"themselves, wherever they run; llama.cpp counts no tokens of a prompt that were in its cache, and newer ones tell nothing of the KV cache.\n" +
			"IN FLIGHT, REQ/S, ERR/S and TTFT (the mean time to the first byte of an answer) are those of the gateway in the server that is asked, over\n" +
			"the last interval. What is not known is \"-\".",
		Example: "  nebula top\n  nebula top --once",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < 500*time.Millisecond {
				return usagef("--interval must be at least 500ms")
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			t := &top{c: c, cl: cl, every: every}
			if err := t.look(cmd.Context()); err != nil {
				return err
			}
			if once || !terminal(c.env.Stdout) {
				return c.printStyled(t.seen.frame(0, 0))
			}
			return t.live(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "print one picture and end")
	cmd.Flags().DurationVar(&every, "interval", every, "how often nodes and figures are looked at")
	return cmd
}

// top is a live view that runs.
type top struct {
	c     *command
	cl    *client.Client
	every time.Duration
	seen  topView
}

// look asks for everything. What was seen before stays when it fails.
func (t *top) look(ctx context.Context) error {
	v := topView{server: t.cl.Base(), now: time.Now(), before: t.seen.figures, enginesBefore: t.seen.engines}
	var err error
	if v.models, _, err = t.cl.Models(ctx, client.ListOptions{}); err != nil {
		return err
	}
	if v.nodes, err = t.cl.Nodes(ctx); err != nil {
		return err
	}
	if v.alerts, err = t.cl.Alerts(ctx); err != nil {
		return err
	}
	v.figures, _ = readFigures(ctx, t.cl, v.now)       // without them there is "-"
	if engines, err := t.cl.Figures(ctx); err == nil { // a server of an earlier version does not tell
		v.engines = &engines
	}
	t.seen = v
	return nil
}

// refresh looks again. When nobody answers, the picture stays, and says so.
func (t *top) refresh(ctx context.Context) {
	if err := t.look(ctx); err != nil && ctx.Err() == nil {
		t.seen.trouble = err.Error()
	}
}

// live draws until ctx is over, which is how people leave.
func (t *top) live(ctx context.Context) error {
	out := t.c.env.Stdout
	const enter, leave = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l" // a screen of its own, without a cursor
	if _, err := fmt.Fprint(out, enter); err != nil {
		return err
	}
	defer func() { _, _ = fmt.Fprint(out, leave) }() // a terminal that is gone needs no tidying
	lists := make(chan []api.ModelView)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { t.watch(ctx, lists) })
	tick := time.NewTicker(t.every)
	defer tick.Stop()
	for {
		if _, err := fmt.Fprint(out, "\x1b[H\x1b[J"); err != nil {
			return err
		}
		if err := t.c.printStyled(t.seen.frame(t.c.width(), t.c.height())); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case list := <-lists:
			t.seen.models, t.seen.now, t.seen.trouble = list, time.Now(), ""
		case <-tick.C:
			t.refresh(ctx)
		}
	}
}

// watch sends every new list of models, until ctx is over. A watch that breaks is begun again: that the server is away the other questions
// tell.
func (t *top) watch(ctx context.Context, lists chan<- []api.ModelView) {
	for ctx.Err() == nil {
		for list, err := range t.cl.WatchModelList(ctx, client.ListOptions{}) {
			if err != nil {
				break
			}
			select {
			case lists <- list:
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(t.every):
		}
	}
}

// topView is what a picture shows.
type topView struct {
	server          string
	now             time.Time
	models          []api.ModelView
	nodes           []api.NodeView
	alerts          []api.DiskAlert
	figures, before *figures // now, and at the look before; nil = not known
	// engines are what engines say, now and at the look before; nil = not known.
	engines, enginesBefore *api.EngineFigures
	trouble                string // why this picture is not of now
}

// frame draws a picture for a terminal of that size; 0 = any. Where there is no room the last models are left out, and counted.
func (v *topView) frame(width, height int) string {
	head := fmt.Sprintf("%s  %s  %s  %s\n", clean(v.server), v.now.Format("15:04:05"), v.modelLine(), v.nodeLine())
	nodes := v.nodeTable(width)
	var tail strings.Builder
	for _, a := range v.alerts {
		tail.WriteString("! " + oneLine(clean(a.Message)) + "\n")
	}
	if v.trouble != "" {
		tail.WriteString("! Not of now: " + oneLine(clean(v.trouble)) + "\n")
	}
	models := strings.SplitAfter(v.modelTable(width), "\n")
	models = models[:len(models)-1]
	if room := height - strings.Count(nodes, "\n") - strings.Count(tail.String(), "\n") - 5; height > 0 && len(models) > max(room, 2) {
		room = max(room, 2)
		more := len(models) - room
		models = append(models[:room], fmt.Sprintf("and %d more\n", more))
	}
	if width > 0 {
		head = ansi.Truncate(strings.TrimSuffix(head, "\n"), width, "…") + "\n"
	}
	return head + "\n" + strings.Join(models, "") + "\n" + nodes + tail.String()
}

// modelLine counts the models by state.
func (v *topView) modelLine() string {
	count := map[api.ModelState]int{}
	for _, m := range v.models {
		count[m.State]++
	}
	return counted(len(v.models), "model", api.ModelStates(), count)
}

// nodeLine counts the nodes by state.
func (v *topView) nodeLine() string {
	count := map[api.NodeState]int{}
	for _, n := range v.nodes {
		count[n.State]++
	}
	return counted(len(v.nodes), "node", []api.NodeState{api.NodeReady, api.NodeCutOff, api.NodeLost}, count)
}

func counted[S ~string](all int, noun string, order []S, count map[S]int) string {
	var parts []string
	for _, s := range order {
		if count[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[s], strings.ReplaceAll(string(s), "_", " ")))
		}
	}
	text := plural(uint32(all), noun)
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	return text
}
