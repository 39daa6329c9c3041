package link

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/pki"
)

// Config is what a Link is made of.
type Config struct {
	Dir        string // of its own: the last desired set and the number of this start are kept there
	NodeID     string
	Credential *pki.Credential
	Servers    *Servers
	Log        *slog.Logger
}

// Link is one node's connection to the servers, as its agent sees it: the newest desired set, and reports. All methods are for any
// goroutine; [Link.Run] must run for the desired set to move.
type Link struct {
	cfg   Config
	epoch uint64

	mu      sync.Mutex
	wish    wish // as servers have told it in this life or, until then, as the snapshot has it
	desired api.NodeDesired
	changed chan struct{}
	unsaved bool // the last snapshot could not be written

	began    chan struct{} // closed by the agent's first report, with which wish.running is known
	beginOne sync.Once

	failing bool // no server tells; belongs to Run

	sending chan struct{} // held by the report on its way
	sent    sentReport    // belongs to who holds sending
}

// sentReport is what the servers know of this node.
type sentReport struct {
	seq    uint64
	digest [sha256.Size]byte // of the report with that number, but for its times
	acked  bool              // the servers have stored it
	at     time.Time         // of the last answer that said so
}

// Limits and pauses.
const (
	maxLine    = 64 << 20 // bytes of one desired set
	retryFirst = 100 * time.Millisecond
	retryLast  = 3 * time.Second
	// restoreJitter spreads nodes that all have to send everything again, because the cluster has lost sight of them together.
	restoreJitter = 2 * time.Second
)

// New numbers this start and reads what an earlier one has kept. The error says what is wrong with the directory.
func New(cfg Config) (*Link, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the node's wishes: %w", err)
	}
	epoch, err := nextEpoch(cfg.Dir, time.Now())
	if err != nil {
		return nil, err
	}
	l := &Link{cfg: cfg, epoch: epoch, changed: make(chan struct{}), sending: make(chan struct{}, 1), began: make(chan struct{})}
	switch s, err := loadSnapshot(cfg.Dir, cfg.NodeID, cfg.Credential); {
	case err == nil:
		l.wish.snapshot = s
		cfg.Servers.Learn(append(cfg.Servers.Addrs(), s.Desired.Servers...))
	case !errors.Is(err, fs.ErrNotExist):
		cfg.Log.Warn("the kept copy of what this node should run is not used; the servers will tell", "reason", err)
	}
	return l, nil
}

// Desired returns the newest desired set and a channel that closes when there is a newer one. Its revision is 0 until a server has told
// one or, when none can be reached, the last one that an earlier start has kept is taken.
func (l *Link) Desired() (api.NodeDesired, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.desired, l.changed
}

// Run follows the servers until ctx ends. It returns nil; nothing that servers do ends it.
func (l *Link) Run(ctx context.Context) error {
	defer l.cfg.Servers.Close()
	for pause := retryFirst; ; pause = min(2*pause, retryLast) {
		told, err := l.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if api.HasCode(err, api.CodeUnavailable) || errors.Is(err, errBehind) {
			l.useSnapshot()
		}
		if told {
			pause = retryFirst
		} else if !l.failing {
			l.failing = true
			l.cfg.Log.Warn("the servers do not tell this node what to run; what runs goes on", "error", err)
		}
		if sleep(ctx, pause/2+rand.N(pause/2)) != nil {
			return nil
		}
	}
}

// errBehind ends a stream whose server lags: another one may know more.
var errBehind = errors.New("the server tells an older set than is known")

// follow reads one stream to its end. Told means that a set came.
func (l *Link) follow(ctx context.Context) (told bool, err error) {
	body, err := l.cfg.Servers.Stream(ctx, "/api/v2/nodes/"+l.cfg.NodeID+"/desired?watch=1")
	if err != nil {
		return false, err
	}
	defer func() { _ = body.Close() }()
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for lines.Scan() {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue // a sign of life
		}
		var d api.NodeDesired
		if err := json.Unmarshal(line, &d); err != nil {
			return told, l.distrust(body, fmt.Errorf("a desired set that cannot be read: %w", err))
		}
		if d.NodeID != l.cfg.NodeID || d.Revision <= 0 {
			return told, l.distrust(body, fmt.Errorf("a desired set for node %q at revision %d", d.NodeID, d.Revision))
		}
		if err := l.awaitAgent(ctx, d); err != nil {
			return told, err
		}
		if !l.take(d) {
			return told, l.distrust(body, errBehind)
		}
		told = true
		l.cfg.Servers.Quiet(l.beat() * 4 / 3) // a line comes every third of a heartbeat
		if l.failing {
			l.failing = false
			l.cfg.Log.Info("the servers tell this node again what to run")
		}
	}
	if err := lines.Err(); err != nil {
		return told, err
	}
	return told, io.ErrUnexpectedEOF
}

// awaitAgent waits for the agent's first report when a set can be judged only by what runs: nothing is known of earlier ones, as after
// joining again, and the cluster is a backup that may not know what this node was told.
func (l *Link) awaitAgent(ctx context.Context, d api.NodeDesired) error {
	l.mu.Lock()
	known := l.wish.Desired.NodeID != ""
	l.mu.Unlock()
	if known || !restored(d) {
		return nil
	}
	select {
	case <-l.began:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin takes note of what runs before this link has told anything.
func (l *Link) begin(o api.NodeObserved) {
	l.beginOne.Do(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for i := range o.Endpoints {
			l.wish.running = append(l.wish.running, held{o.Endpoints[i].Key(), o.Endpoints[i].ModelUID})
		}
		close(l.began)
	})
}

// distrust makes the next call go to another server than the stream's.
func (l *Link) distrust(body io.ReadCloser, err error) error {
	if st, ok := body.(*stream); ok {
		st.failed(err)
	}
	return err
}

// take makes a set the newest one; false when it is older than what is known.
func (l *Link) take(d api.NodeDesired) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.wish
	next, v := was.take(d, time.Now())
	l.wish = next
	if v == behind {
		return false
	}
	l.cfg.Servers.Learn(d.Servers)
	switch before, now := len(was.Held), len(next.Held); {
	case now > before:
		l.cfg.Log.Warn("the cluster's history is another one than before; what it does not name is kept until its restore is accepted", "held", now, "history", d.History)
	case now < before:
		l.cfg.Log.Info("replicas that were kept through a restore are not held any more", "held", now, "before", before)
	}
	if v == taken || l.unsaved {
		l.save()
	}
	l.publish()
	return true
}

// save keeps the newest set for a start without servers. When that cannot be done, what was kept before goes: it names less than what will run,
// and a start by it would stop the rest; a start by nothing stops nothing. The caller holds mu.
func (l *Link) save() {
	err := saveSnapshot(l.cfg.Dir, l.wish.snapshot, l.cfg.Credential)
	if err != nil {
		err = errors.Join(err, dropSnapshot(l.cfg.Dir))
	}
	if err != nil && !l.unsaved {
		l.cfg.Log.Warn("what this node should run cannot be kept on disk; a start without servers would not know it", "error", err)
	}
	l.unsaved = err != nil
}

// publish shows the agent the newest set, when it is another one. The caller holds mu.
func (l *Link) publish() {
	d := l.wish.effective()
	if l.desired.Revision != 0 && sameSet(d, l.desired) {
		l.desired.Revision = d.Revision
		return
	}
	l.desired = d
	close(l.changed)
	l.changed = make(chan struct{})
}

// useSnapshot begins with the kept set when no server has told one.
func (l *Link) useSnapshot() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.desired.Revision != 0 || l.wish.Desired.Revision == 0 {
		return
	}
	l.cfg.Log.Warn("no server answers: this node begins with what it was last told to run", "revision", l.wish.Desired.Revision)
	l.publish()
}

// Report stores what is true on this node, and returns nil once the cluster shows it. When nothing has changed since the last report it is
// a heartbeat, which is left out while the last one is young.
func (l *Link) Report(ctx context.Context, o api.NodeObserved) error {
	l.begin(o)
	select {
	case l.sending <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-l.sending }()
	digest, err := digestOf(o)
	if err != nil {
		return err
	}
	if err := l.pace(ctx, digest != l.sent.digest); err != nil {
		return err
	}
	if l.sent.seq == 0 || digest != l.sent.digest {
		l.sent = sentReport{seq: l.sent.seq + 1, digest: digest}
	}
	if l.sent.acked {
		if time.Since(l.sent.at) < l.beat()*3/4 {
			return nil
		}
		err := l.heartbeat(ctx)
		if !api.HasCode(err, api.CodeConflict) {
			return err
		}
		l.sent.acked = false
		if err := sleep(ctx, rand.N(max(1, min(l.beat(), restoreJitter)))); err != nil {
			return err
		}
	}
	o.Node.Epoch, o.Node.Seq = l.epoch, l.sent.seq
	if err := l.cfg.Servers.JSON(ctx, "PUT", l.path("observed"), o, nil); err != nil {
		return err
	}
	l.sent.acked, l.sent.at = true, time.Now()
	return nil
}

// paceShare: the reports of a large fleet, which is one whose servers want few heartbeats, come at most so many times as often as those.
const paceShare = 5

// pace holds a report of something new back while the last one is young, in a large fleet alone. What changes meanwhile is in the next one.
func (l *Link) pace(ctx context.Context, news bool) error {
	beat := l.beat()
	if !news || beat <= smallFleet || !l.sent.acked {
		return nil
	}
	return sleep(ctx, beat/paceShare-time.Since(l.sent.at))
}

// smallFleet is the heartbeat that servers of a fleet of ordinary size want.
const smallFleet = 3 * time.Second

func (l *Link) heartbeat(ctx context.Context) error {
	err := l.cfg.Servers.JSON(ctx, "POST", l.path("heartbeat"), api.NodeHeartbeat{Epoch: l.epoch, Seq: l.sent.seq}, nil)
	if err == nil {
		l.sent.at = time.Now()
	}
	return err
}

// Blobs asks about the large files that this node fetches.
func (l *Link) Blobs(ctx context.Context, ask api.BlobsAsk) (api.BlobsAnswer, error) {
	var answer api.BlobsAnswer
	if err := l.cfg.Servers.JSON(ctx, "POST", l.path("blobs"), ask, &answer); err != nil {
		return api.BlobsAnswer{}, err
	}
	if len(answer.Blobs) != len(ask.Want) {
		return api.BlobsAnswer{}, fmt.Errorf("asked about %d blobs and told of %d", len(ask.Want), len(answer.Blobs))
	}
	return answer, nil
}

// beat is how often the servers want a sign of life; 0 = they have not said.
func (l *Link) beat() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Duration(l.wish.Desired.HeartbeatMS) * time.Millisecond
}

func (l *Link) path(what string) string { return "/api/v2/nodes/" + l.cfg.NodeID + "/" + what }

// digestOf tells reports apart that say something different. The times of looking at the machine alone say nothing.
func digestOf(o api.NodeObserved) ([sha256.Size]byte, error) {
	o.Node.LastHeartbeatMS = 0
	if o.Disk != nil {
		disk := *o.Disk
		disk.UpdatedAtMS = 0
		o.Disk = &disk
	}
	b, err := json.Marshal(o)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("encode the report: %w", err)
	}
	return sha256.Sum256(b), nil
}
