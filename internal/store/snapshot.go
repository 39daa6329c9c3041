package store

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// Snapshot is where a process that routes requests keeps its last State, so that after a restart it serves although no store answers.
// It holds what [RoutingPrefixes] name, and no secret.
type Snapshot struct {
	Path string
	// Sign and Verify are those of the machine's own credential: a file that is damaged, or another machine's, is never served from.
	Sign   func(doc []byte) ([]byte, error)
	Verify func(doc, signature []byte) bool
	Wait   time.Duration // how long the store may take to answer before the snapshot is used; default 1 s
	Every  time.Duration // at most one write in this time; default 5 s. More passes when writing takes long
}

// OpenSnapshot is [Open] for processes that must come up without a store: when it does not answer soon, the Store begins with the
// snapshot, and [Store.Run] lists as soon as the store answers. Without a usable snapshot it is Open. A store that refuses the caller
// has answered.
func OpenSnapshot(ctx context.Context, kv KV, log *slog.Logger, from Snapshot) (*Store, error) {
	s := newStore(kv, log)
	wait, cancel := context.WithTimeout(ctx, orDefault(from.Wait, time.Second))
	defer cancel()
	err := s.list(wait)
	if err == nil {
		return s, nil
	}
	if e, answered := api.AsError(err); ctx.Err() != nil || answered && e.Code != api.CodeUnavailable {
		return nil, err
	}
	all, revision, unusable := from.load()
	if unusable != nil {
		level := slog.LevelWarn
		if errors.Is(unusable, fs.ErrNotExist) {
			level = slog.LevelInfo
		}
		log.Log(ctx, level, "the store does not answer, and there is no snapshot to begin with; waiting", "error", err, "snapshot", from.Path, "reason", unusable)
		if err := s.list(ctx); err != nil {
			return nil, err
		}
		return s, nil
	}
	s.publish(fromList(s.kinds, all, revision), true)
	log.Warn("the store does not answer; serving from the last snapshot until it does", "error", err, "snapshot", from.Path, "revision", revision)
	return s, nil
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// writeShare is how many times longer than the writing of a snapshot the pause after it is at least: a fiftieth of a core.
const writeShare = 50

// Keep writes the snapshot whenever the State has changed, until ctx ends, and then once more. A disk that takes none is one warning.
func (s *Store) Keep(ctx context.Context, to Snapshot) error {
	var written *cluster.State
	if s.lists.Load() == 0 { // it is what the file says
		written, _ = s.Current()
	}
	failing := false
	for {
		state, changed := s.Current()
		began := time.Now()
		if state != written {
			err := to.save(s.kinds, state)
			if err == nil {
				written = state
			}
			if err != nil && !failing {
				s.log.Warn("snapshot not written; without it this process cannot start while the store is away", "error", err)
			}
			failing = err != nil
		}
		if ctx.Err() != nil {
			return nil
		}
		sleep(ctx, max(orDefault(to.Every, 5*time.Second), writeShare*time.Since(began)))
		if failing {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// The file: one line "nebula-state 1 SIGNATURE", then the signed rest: a snapshotDoc, in gzip.
const snapshotMark = "nebula-state 1 "

type snapshotDoc struct {
	Revision int64         `json:"revision"`
	Keys     []snapshotKey `json:"keys"`
}

type snapshotKey struct {
	Key    string `json:"k"`
	Value  string `json:"v"`
	ModRev int64  `json:"r"`
	Lease  int64  `json:"l,omitempty"`
}

// unreadableValue stands for a value that could not be read: the one who loads it cannot either.
const unreadableValue = "!"

// save writes the file at once or not at all.
func (f *Snapshot) save(kinds map[string]kind, s *cluster.State) error {
	doc, err := encodeSnapshot(kinds, s)
	if err != nil {
		return err
	}
	signature, err := f.Sign(doc)
	if err != nil {
		return err
	}
	head := snapshotMark + base64.StdEncoding.EncodeToString(signature) + "\n"
	return renameio.WriteFile(f.Path, append([]byte(head), doc...), 0o600)
}

func encodeSnapshot(kinds map[string]kind, s *cluster.State) ([]byte, error) {
	out := snapshotDoc{Revision: s.Revision}
	for _, prefix := range RoutingPrefixes() {
		err := kinds[strings.Trim(prefix, "/")].each(s, func(kv KeyValue) {
			out.Keys = append(out.Keys, snapshotKey{kv.Key, string(kv.Value), kv.ModRev, kv.Lease})
		})
		if err != nil {
			return nil, err
		}
		for bad := range s.Bad.Prefix(prefix) {
			out.Keys = append(out.Keys, snapshotKey{bad.ID, unreadableValue, bad.Rev, bad.Lease})
		}
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if err := json.NewEncoder(z).Encode(out); err != nil {
		return nil, fmt.Errorf("encode the snapshot: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// load reads the file, when it is this machine's and whole.
func (f *Snapshot) load() ([]KeyValue, int64, error) {
	b, err := os.ReadFile(f.Path)
	if err != nil {
		return nil, 0, err
	}
	head, doc, whole := bytes.Cut(b, []byte("\n"))
	text, marked := strings.CutPrefix(string(head), snapshotMark)
	signature, err := base64.StdEncoding.DecodeString(text)
	if !whole || !marked || err != nil || !f.Verify(doc, signature) {
		return nil, 0, errors.New("the file is damaged, or another machine's; it is ignored")
	}
	z, err := gzip.NewReader(bytes.NewReader(doc))
	if err != nil {
		return nil, 0, err
	}
	var in snapshotDoc
	if err := json.NewDecoder(z).Decode(&in); err != nil {
		return nil, 0, err
	}
	if _, err := io.Copy(io.Discard, z); err != nil { // the checksum is at the end
		return nil, 0, err
	}
	all := make([]KeyValue, 0, len(in.Keys))
	for _, k := range in.Keys {
		all = append(all, KeyValue{k.Key, []byte(k.Value), k.ModRev, k.Lease})
	}
	return all, in.Revision, nil
}
