package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/test/figures"
)

// changeLabel carries the number of a change to the watchers.
const changeLabel = "change"

// measureAPI asks a real "nebula up" with its embedded etcd for many models, from one machine over loopback.
func measureAPI(ctx context.Context, o options, out figures.Report) error {
	data := filepath.Join(o.dir, "api")
	n, err := startNebula(o, data, o.dir, o.llamaServer)
	if err != nil {
		return err
	}
	defer n.stop()
	if err := n.ready(ctx, data); err != nil {
		return err
	}
	a := &apiBench{options: o, nebula: n, out: out, data: data, models: o.pick(10_000, 2_000)}
	for _, step := range []func(context.Context) error{a.command, a.declareMany, a.lists, a.details, a.command, a.watchers} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

type apiBench struct {
	options
	*nebula
	out    figures.Report
	data   string
	models int
	made   int // models declared so far
}

func (a *apiBench) uid(i int) string { return fmt.Sprintf("model-%06d", i) }

// declareMany declares the models, many at a time.
func (a *apiBench) declareMany(ctx context.Context) error {
	began := time.Now()
	err := inParallel(ctx, 32, a.models, func(ctx context.Context, i int) error {
		_, err := a.client.CreateModel(ctx, api.CreateModel{
			ModelUID: a.uid(i), ModelName: "org/" + a.uid(i), EngineType: []string{api.EngineLlamaCPP, api.EngineVLLM}[i%2],
			Labels: map[string]string{"team": fmt.Sprintf("team-%d", i%50), changeLabel: "none"},
		})
		return err
	})
	a.made = a.models
	a.out.Note("api: %d models declared in %.0f s", a.models, time.Since(began).Seconds())
	return err
}

// inParallel runs a job for each number below n, and returns the first error.
func inParallel(ctx context.Context, workers, n int, job func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := job(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// lists takes the whole list, and pages of a hundred, one request after the other over one connection; the time is to the last byte.
func (a *apiBench) lists(ctx context.Context) error {
	before, err := a.etcd(ctx)
	if err != nil {
		return err
	}
	rounds := a.pick(300, 60)
	whole, size, err := a.timed(ctx, rounds, func(int) string { return "/api/v2/models" })
	if err != nil {
		return err
	}
	page, _, err := a.timed(ctx, rounds, func(int) string { return "/api/v2/models?limit=100" })
	if err != nil {
		return err
	}
	// Sorted, searched and a page in the middle of it; each request searches for something else, so that none is answered from what another made.
	sorted, _, err := a.timed(ctx, rounds, func(i int) string { return fmt.Sprintf("/api/v2/models?limit=100&sort=-name&q=TEAM-%d", i%50) })
	if err != nil {
		return err
	}
	counted, _, err := a.timed(ctx, rounds, func(i int) string { return fmt.Sprintf("/api/v2/summary/models?q=%d", i) })
	if err != nil {
		return err
	}
	after, err := a.etcd(ctx)
	if err != nil {
		return err
	}
	a.out.Note("api: the list of %d models has %.2f MB", a.models, float64(size)/1e6)
	a.out.Add(figures.Figure{Name: "api_list_p99", Value: figures.Quantile(whole, 0.99), Unit: "ms", Op: "<", Target: 50})
	a.out.Add(figures.Figure{Name: "api_list_p50", Value: figures.Median(whole), Unit: "ms"})
	a.out.Add(figures.Figure{Name: "api_list_limit100_p99", Value: figures.Quantile(page, 0.99), Unit: "ms", Op: "<", Target: 50})
	a.out.Add(figures.Figure{Name: "api_list_sorted_p99", Value: figures.Quantile(sorted, 0.99), Unit: "ms", Op: "<", Target: 50})
	a.out.Add(figures.Figure{Name: "api_summary_p50", Value: figures.Median(counted), Unit: "ms", Op: "<", Target: 5})
	a.out.Add(figures.Figure{Name: "api_list_etcd_reads", Value: after.reads - before.reads, Unit: "reads", Op: "<=", Target: 0})
	return nil
}

// details takes one model in detail after the other.
func (a *apiBench) details(ctx context.Context) error {
	took, _, err := a.timed(ctx, a.pick(5000, 1000), func(i int) string { return "/api/v2/models/" + a.uid(i*7919%a.models) })
	if err != nil {
		return err
	}
	a.out.Add(figures.Figure{Name: "api_detail_p99", Value: figures.Quantile(took, 0.99), Unit: "ms", Op: "<", Target: 5})
	return nil
}

// timed returns how long each request took, in ms, and the bytes of the last answer.
func (a *apiBench) timed(ctx context.Context, rounds int, path func(int) string) (took []float64, size int64, err error) {
	for i := range rounds + 5 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.addr+path(i), nil)
		if err != nil {
			return nil, 0, err
		}
		req.Header.Set("Authorization", "Bearer "+a.token)
		began := time.Now()
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, 0, err
		}
		size, err = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			return nil, 0, fmt.Errorf("GET %s: %s, %w", path(i), res.Status, err)
		}
		if i >= 5 { // the first ones make the connection and the table
			took = append(took, 1e3*time.Since(began).Seconds())
		}
	}
	return took, size, nil
}

// command measures the processor time of "nebula model list".
func (a *apiBench) command(ctx context.Context) error {
	for _, args := range [][]string{{"model", "list"}, {"model", "list", "-o", "json"}} {
		var took []float64
		for range a.pick(15, 5) {
			cmd := exec.CommandContext(ctx, a.options.nebula, args...)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + a.dir, "NEBULA_SERVER=http://" + a.addr, "NEBULA_TOKEN=" + a.token}
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("nebula %s: %w: %s", strings.Join(args, " "), err, stderr.String())
			}
			took = append(took, 1e3*(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()).Seconds())
		}
		f := figures.Figure{Name: fmt.Sprintf("cli_model_list_cpu_%d", a.made), Value: figures.Median(took), Unit: "ms"}
		if len(args) > 2 {
			f.Name = fmt.Sprintf("cli_model_list_json_cpu_%d", a.made)
		} else {
			f.Op, f.Target = "<", 50
		}
		a.out.Add(f)
	}
	return nil
}

// watchers opens many watches, each with the whole list first, lets models change, and takes when each watcher hears of it.
func (a *apiBench) watchers(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	count := a.pick(1000, 200)
	before, err := a.weigh(ctx)
	if err != nil {
		return err
	}
	ws := make([]*watch, count)
	err = inParallel(ctx, 4, count, func(_ context.Context, i int) (err error) { // the watches live longer than this
		ws[i], err = a.watch(ctx)
		return err
	})
	defer func() {
		for _, w := range ws {
			if w != nil {
				_ = w.conn.Close()
			}
		}
	}()
	if err != nil {
		return err
	}
	after, err := a.weigh(ctx)
	if err != nil {
		return err
	}
	a.out.Add(figures.Figure{Name: "api_watcher_memory_rss", Value: (after.rss - before.rss) / float64(count), Unit: "KiB", Op: "<", Target: 64})
	a.out.Add(figures.Figure{Name: "api_watcher_memory_heap", Value: (after.heap - before.heap) / float64(count), Unit: "KiB"})
	kept, err := a.etcd(ctx)
	if err != nil {
		return err
	}
	a.out.Add(figures.Figure{Name: "api_watchers_etcd_watches", Value: kept.watchers, Unit: "watches", Op: "<=", Target: 1})
	return a.changes(ctx, ws)
}

// changes writes 100 changes a second and compares when each was committed with when each watcher heard of it.
func (a *apiBench) changes(ctx context.Context, ws []*watch) error {
	const rate = 100
	total := rate * a.pick(30, 10)
	committed := make([]atomic.Int64, total)
	var mu sync.Mutex
	var delays []float64
	var heard sync.WaitGroup
	for _, w := range ws {
		heard.Go(func() {
			mine := w.hear(total, committed)
			mu.Lock()
			delays = append(delays, mine...)
			mu.Unlock()
		})
	}
	began := time.Now()
	var writing sync.WaitGroup
	var failed atomic.Pointer[error]
	for i := range total {
		if d := time.Until(began.Add(time.Duration(i) * time.Second / rate)); d > 0 {
			time.Sleep(d)
		}
		writing.Go(func() {
			labels := map[string]string{"team": "t", changeLabel: strconv.Itoa(i)}
			_, err := a.client.UpdateModel(ctx, a.uid(i%a.models), api.UpdateModel{Labels: labels})
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
			committed[i].Store(time.Now().UnixNano()) // the answer comes when the server's own State shows the commit
		})
	}
	writing.Wait()
	wrote := time.Since(began)
	if err := failed.Load(); err != nil {
		return *err
	}
	time.AfterFunc(10*time.Second, func() {
		for _, w := range ws {
			_ = w.conn.Close() // what has not come by now does not come
		}
	})
	heard.Wait()
	a.out.Note("api: %d changes in %.1f s (%.0f a second), heard %d times by %d watchers", total, wrote.Seconds(), float64(total)/wrote.Seconds(), len(delays), len(ws))
	a.out.Add(figures.Figure{Name: "api_watch_delay_p99", Value: figures.Quantile(delays, 0.99), Unit: "s", Op: "<", Target: 1})
	a.out.Add(figures.Figure{Name: "api_watch_delay_p50", Value: figures.Median(delays), Unit: "s"})
	if want := total * len(ws); len(delays) < want {
		a.out.Note("api: %d of %d deliveries did not come, or came before the writer had its answer twice over", want-len(delays), want)
	}
	return nil
}

// watch is one open event stream.
type watch struct {
	conn net.Conn
	body *bufio.Reader
}

// watch opens one and reads the list to its end.
func (a *apiBench) watch(ctx context.Context) (*watch, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", a.addr)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(conn, "GET /api/v2/models?watch=1 HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", a.addr, a.token)
	if err != nil {
		return nil, err
	}
	w := &watch{conn: conn, body: bufio.NewReaderSize(conn, 16<<10)}
	for {
		line, err := w.body.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("the list of a watch ended early: %w", err)
		}
		if bytes.HasPrefix(line, []byte("event: synced")) {
			return w, nil
		}
	}
}

// hear reads changes until it has heard of them all, and returns how long after its commit each came, in seconds. A number may be split between two
// chunks of the transfer encoding, so the text is taken without them.
func (w *watch) hear(total int, committed []atomic.Int64) (delays []float64) {
	type arrival struct {
		change int
		at     int64
	}
	var came []arrival
	mark := []byte(`"` + changeLabel + `":"`)
	for chunks := newChunks(w.body); len(came) < total; {
		line, err := chunks.ReadSlice('\n')
		if err != nil {
			break
		}
		if _, rest, ok := bytes.Cut(line, mark); ok {
			digits, _, _ := bytes.Cut(rest, []byte(`"`))
			if n, err := strconv.Atoi(string(digits)); err == nil && n < total {
				came = append(came, arrival{n, time.Now().UnixNano()})
			}
		}
	}
	for _, c := range came {
		var at int64
		for at = committed[c.change].Load(); at == 0; at = committed[c.change].Load() { // the watcher was faster than the writer's own answer
			time.Sleep(time.Millisecond)
		}
		delays = append(delays, max(0, float64(c.at-at)/1e9))
	}
	return delays
}

// newChunks takes the lengths of chunks out of a body: lines that are hexadecimal numbers alone, at the places where one ends.
func newChunks(r *bufio.Reader) *bufio.Reader { return bufio.NewReaderSize(&chunks{r: r}, 8<<10) }

type chunks struct {
	r    *bufio.Reader
	left int64
}

func (c *chunks) Read(p []byte) (int, error) {
	for c.left == 0 {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 64)
		if err != nil || n == 0 {
			continue // the rest of the chunk within which the reader was taken over
		}
		c.left = n
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// storeFigures are what etcd counts of itself.
type storeFigures struct{ reads, watchers float64 }

// etcd asks the store's process for its counters, over its socket.
func (a *apiBench) etcd(ctx context.Context) (f storeFigures, err error) {
	sockets, err := filepath.Glob(filepath.Join(a.data, "etcd", "*.sock*"))
	if err != nil || len(sockets) == 0 {
		return f, fmt.Errorf("no socket of the store below %s: %w", a.data, err)
	}
	h := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", sockets[0])
	}}}
	defer h.CloseIdleConnections()
	text, err := fetch(ctx, &h, "http://etcd/metrics", "")
	if err != nil {
		return f, err
	}
	f.reads, f.watchers = metric(text, "etcd_debugging_mvcc_range_total"), metric(text, "etcd_debugging_mvcc_watcher_total")
	return f, nil
}

// weight is what the server's process takes, in KiB.
type weight struct{ rss, heap float64 }

// weigh looks after the garbage of the work before is gone, as far as the runtime lets it go.
func (a *apiBench) weigh(ctx context.Context) (w weight, err error) {
	var last weight
	for range 40 { // until it stands still
		text, err := fetch(ctx, http.DefaultClient, "http://"+a.addr+"/metrics", a.token)
		if err != nil {
			return w, err
		}
		last, w = w, weight{1024 * identify(a.pid()).rss, metric(text, "go_memstats_heap_inuse_bytes") / 1024}
		if last.rss != 0 && max(last.rss, w.rss)-min(last.rss, w.rss) < 256 {
			break
		}
		time.Sleep(3 * time.Second)
	}
	return w, nil
}

func fetch(ctx context.Context, h *http.Client, url, token string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := h.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, res.Status)
	}
	return string(b), err
}

// metric sums a metric over its labels.
func metric(text, name string) (sum float64) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		f := strings.Fields(rest)
		v, err := strconv.ParseFloat(f[len(f)-1], 64)
		if err == nil {
			sum += v
		}
	}
	return sum
}
