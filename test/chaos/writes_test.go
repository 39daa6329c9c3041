//go:build chaos

package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
)

// The load on the API: writers that change a label of a model of their own, about 20 changes a second in all, and a watcher at each server.
const (
	writers    = 5
	writePause = 250 * time.Millisecond
	label      = "n"
)

// writes is the load on the API while it runs.
type writes struct {
	f    *fleet
	stop chan struct{}
	wg   sync.WaitGroup

	mu    sync.Mutex
	acked map[string]int // by model: the highest number whose change was acknowledged
	tried map[string]int // and the highest that was sent
	acks  []time.Time
	seen  map[*server][]time.Time // when a watcher was shown a change
}

// write starts the load on the API and waits until it flows. Every row that uses it ends with [writes.finish].
func (f *fleet) write(t *testing.T) *writes {
	t.Helper()
	w := &writes{f: f, stop: make(chan struct{}), acked: map[string]int{}, tried: map[string]int{}, seen: map[*server][]time.Time{}}
	for i := range writers {
		uid := "w" + strconv.Itoa(i)
		_, err := f.up(t).client.CreateModel(context.Background(), api.CreateModel{ModelName: uid, ModelUID: uid, ModelSource: api.SourceLocal, ModelPath: "/nowhere.gguf"})
		if !api.HasCode(err, api.CodeModelExists) { // another row has made it
			ok(t, err)
		}
		w.wg.Go(func() { w.writer(uid, i) })
	}
	for _, s := range f.servers {
		w.wg.Go(func() { w.watcher(s) })
	}
	t.Cleanup(w.end)
	w.flow(t)
	return w
}

// flow waits until changes are acknowledged, and shown by every server that runs.
func (w *writes) flow(t *testing.T) {
	t.Helper()
	acks, seen := w.counts()
	eventually(t, time.Minute, func() error {
		a, s := w.counts()
		if a < acks+10 {
			return fmt.Errorf("%d changes acknowledged", a-acks)
		}
		for _, srv := range w.f.servers {
			if srv.runs() && !srv.Paused() && s[srv] < seen[srv]+5 {
				return fmt.Errorf("%s has shown %d changes", srv.name, s[srv]-seen[srv])
			}
		}
		return nil
	})
}

func (w *writes) counts() (acks int, seen map[*server]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen = map[*server]int{}
	for s, at := range w.seen {
		seen[s] = len(at)
	}
	return len(w.acks), seen
}

// writer sets its model's label to 1, 2, 3 ...; a server that fails it is left for the next one, and the number is sent again.
func (w *writes) writer(uid string, at int) {
	for n := 1; ; {
		select {
		case <-w.stop:
			return
		case <-time.After(writePause):
		}
		s := w.f.servers[at%len(w.f.servers)]
		w.mu.Lock()
		w.tried[uid] = n
		w.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := s.client.UpdateModel(ctx, uid, api.UpdateModel{Labels: map[string]string{label: strconv.Itoa(n)}})
		cancel()
		if err != nil {
			at++
			continue
		}
		w.mu.Lock()
		w.acked[uid] = n
		w.acks = append(w.acks, time.Now())
		w.mu.Unlock()
		n++
	}
}

// watcher follows the models at one server and comes back to it whenever the watch ends.
func (w *writes) watcher(s *server) {
	for {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = w.watch(ctx, s) // why it ended makes no difference
		}()
		select {
		case <-ended:
		case <-w.stop:
		}
		cancel()
		<-ended
		select {
		case <-w.stop:
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (w *writes) watch(ctx context.Context, s *server) error {
	res, err := s.client.WithHTTP(w.f.http()).Do(ctx, http.MethodGet, "/api/v2/models?watch=1", nil, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		var m api.ModelView
		if ok && json.Unmarshal([]byte(data), &m) == nil && m.Labels[label] != "" {
			w.mu.Lock()
			w.seen[s] = append(w.seen[s], time.Now())
			w.mu.Unlock()
		}
	}
	return lines.Err()
}

func (w *writes) end() {
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	w.wg.Wait()
}

// gap is the longest time without an acknowledged change.
func (w *writes) gap() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return longest(w.acks)
}

// silence is the longest time in which a server's watcher was shown no change.
func (w *writes) silence(s *server) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return longest(w.seen[s])
}

func longest(at []time.Time) time.Duration {
	var most time.Duration
	for i := 1; i < len(at); i++ {
		most = max(most, at[i].Sub(at[i-1]))
	}
	return most
}

// finish stops the load and checks that every server shows every acknowledged change, and none that nobody asked for.
func (w *writes) finish(t *testing.T) {
	t.Helper()
	w.flow(t)
	w.end()
	for _, s := range w.f.servers {
		eventually(t, time.Minute, func() error { return w.missing(s.client) })
	}
	t.Logf("%d changes acknowledged, longest gap %s", len(w.acks), w.gap().Round(10*time.Millisecond))
}

func (w *writes) missing(c *client.Client) error {
	all, err := models(c)
	if err != nil {
		return err
	}
	shown := map[string]int{}
	for _, m := range all {
		shown[m.ModelUID], _ = strconv.Atoi(m.Labels[label])
	}
	for uid, n := range w.acked {
		if got := shown[uid]; got < n || got > w.tried[uid] {
			return fmt.Errorf("%s shows %d; %d was acknowledged and %d sent", uid, got, n, w.tried[uid])
		}
	}
	return nil
}
