package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

// gatewayView is one of the things that a gateway tells of itself.
type gatewayView struct {
	name, about string
	steps       bool // it has a point for each step
	fetch       func(context.Context, *client.Client, api.GatewayWindow, api.GatewayStep) (gatewayAnswer, error)
}

// gatewayAnswer is a view as the server gave it, and as a table.
type gatewayAnswer struct {
	document any
	scope    api.GatewayScope
	header   []string
	rows     [][]string
}

func gatewayViews() []gatewayView {
	return []gatewayView{
		{"overview", "requests, failures, further tries", false, gatewayOverview},
		{"traffic", "requests, by how they were answered", true, gatewayTraffic},
		{"reliability", "further tries, and how engines failed", true, gatewayReliability},
		{"latency", "how long answers took", true, gatewayLatency},
		{"protection", "what was kept from engines", false, gatewayProtection},
	}
}

func (c *command) gatewayStats() *cobra.Command {
	var window, step string
	views := gatewayViews()
	var names, about []string
	for _, v := range views {
		names = append(names, v.name+"\t"+v.about)
		about = append(about, fmt.Sprintf("  %-12s %s", v.name, v.about))
	}
	cmd := &cobra.Command{
		Use: "stats [VIEW]", Short: "Show how the gateway of a server did, over the last minutes and hours",
		Long: "Show what the gateway in the process at --server has counted: a server's own, or that of a \"nebula gateway\". Each process tells of\n" +
			"itself, and begins anew when it is started. The views are\n\n" + strings.Join(about, "\n"),
		Example: "  nebula gateway stats\n  nebula gateway stats latency --window 6h\n  nebula gateway stats traffic --window 1h --step 5m",
		Args:    atMostOne, ValidArgs: names,
		RunE: func(cmd *cobra.Command, args []string) error {
			view, err := viewOf(views, args)
			if err != nil {
				return err
			}
			if step != "" && !view.steps {
				return usagef("%s is about the whole window and has no --step", view.name)
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			a, err := view.fetch(cmd.Context(), cl, api.GatewayWindow(window), api.GatewayStep(step))
			if err != nil {
				return err
			}
			return c.print(a.document, func(bool) error { return c.gatewayTable(a) })
		},
	}
	cmd.Flags().StringVar(&window, "window", "", "how far back to look: 5m, 15m, 1h, 6h or 24h (default 1h; of overview and protection 15m)")
	cmd.Flags().StringVar(&step, "step", "", "a row for each part of the window that is so long: 1m, 5m, 15m or 1h")
	c.completeFlag(cmd, "window", words([]api.GatewayWindow{api.Window5m, api.Window15m, api.Window1h, api.Window6h, api.Window24h}))
	c.completeFlag(cmd, "step", words([]api.GatewayStep{api.Step1m, api.Step5m, api.Step15m, api.Step1h}))
	c.addOutput(cmd)
	return cmd
}

func atMostOne(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usagef("%s takes one view at a time\nSee: %s --help", cmd.CommandPath(), cmd.CommandPath())
	}
	return nil
}

// viewOf finds the view of an argument; the first without one.
func viewOf(views []gatewayView, args []string) (gatewayView, error) {
	if len(args) == 0 {
		return views[0], nil
	}
	names := make([]string, 0, len(views))
	for _, v := range views {
		if v.name == args[0] {
			return v, nil
		}
		names = append(names, v.name)
	}
	return gatewayView{}, usagef("there is no view %.40q: use one of %s%s", args[0], strings.Join(names, ", "), didYouMean(args[0], names))
}

func (c *command) gatewayTable(a gatewayAnswer) error {
	seen := time.Duration(a.scope.ObservedSeconds * float64(time.Second)).Round(time.Second)
	if err := c.printStyled(fmt.Sprintf("%s, window %s, seen %s\n", clean(a.scope.Gateway), clean(string(a.scope.Window)), seen)); err != nil {
		return err
	}
	return c.printTable(a.header, a.rows)
}

func gatewayOverview(ctx context.Context, cl *client.Client, w api.GatewayWindow, _ api.GatewayStep) (gatewayAnswer, error) {
	d, err := cl.GatewayOverview(ctx, w)
	return gatewayAnswer{d, d.GatewayScope, []string{"REQ/S", "FAILED", "RETRIES OK", "RESTS"}, [][]string{
		{fmt.Sprintf("%.3g", d.RPS), percent(d.Error5xxRatio), percent(d.RetrySuccessRatio), fmt.Sprint(d.CircuitOpenCount)},
	}}, err
}

func gatewayProtection(ctx context.Context, cl *client.Client, w api.GatewayWindow, _ api.GatewayStep) (gatewayAnswer, error) {
	d, err := cl.GatewayProtection(ctx, w)
	return gatewayAnswer{d, d.GatewayScope, []string{"TOO LARGE", "PASSED OVER", "RESTS"}, [][]string{
		{fmt.Sprint(d.RequestTooLargeCount), fmt.Sprint(d.CircuitSkippedCount), fmt.Sprint(d.CircuitOpenCount)},
	}}, err
}

func gatewayTraffic(ctx context.Context, cl *client.Client, w api.GatewayWindow, step api.GatewayStep) (gatewayAnswer, error) {
	d, err := cl.GatewayTraffic(ctx, w, step)
	s := &d.Series
	return gatewayAnswer{
		d, d.GatewayScope,
		[]string{"UNTIL", "REQUESTS", "OK", "REFUSED", "FAILED"},
		seriesRows("", s.RequestsTotal, s.Responses2xx, s.Responses4xx, s.Responses5xx),
	}, err
}

func gatewayReliability(ctx context.Context, cl *client.Client, w api.GatewayWindow, step api.GatewayStep) (gatewayAnswer, error) {
	d, err := cl.GatewayReliability(ctx, w, step)
	s := &d.Series
	return gatewayAnswer{
		d, d.GatewayScope,
		[]string{"UNTIL", "RETRIES", "RETRIES OK", "NOT REACHED", "TOO SLOW", "BAD ANSWER", "LOST"},
		seriesRows("", s.RetryTotal, s.RetrySuccessTotal, s.UpstreamErrorConnect, s.UpstreamErrorTimeout, s.UpstreamError5xx, s.UpstreamErrorOther),
	}, err
}

func gatewayLatency(ctx context.Context, cl *client.Client, w api.GatewayWindow, step api.GatewayStep) (gatewayAnswer, error) {
	d, err := cl.GatewayLatency(ctx, w, step)
	s := &d.Series
	return gatewayAnswer{
		d, d.GatewayScope,
		[]string{"UNTIL", "P50", "P95", "P99", "TTFT P50", "TTFT P95"},
		seriesRows("ms", s.LatencyP50, s.LatencyP95, s.LatencyP99, s.TTFTP50, s.TTFTP95),
	}, err
}

// seriesRows has a row for each time of the first series. Of latencies (unit ms) 0 means that there was none.
func seriesRows(unit string, series ...[]api.GatewayPoint) (rows [][]string) {
	for i, p := range series[0] {
		row := []string{clean(p.TS)}
		for _, s := range series {
			text := "-"
			if i < len(s) && (unit == "" || s[i].Value > 0) {
				text = strings.TrimSpace(fmt.Sprintf("%.f %s", s[i].Value, unit))
			}
			row = append(row, text)
		}
		rows = append(rows, row)
	}
	return rows
}

func percent(ratio float64) string { return fmt.Sprintf("%.3g %%", ratio*100) }
