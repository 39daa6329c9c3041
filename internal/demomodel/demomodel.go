// Package demomodel writes a demo model: a true GGUF model of the llama architecture, about 100 kB, whose
// weights are set by construction so that it answers every prompt with one given reply and stops.
//
// It is for tests and first steps, where no weights can be downloaded: any engine that reads GGUF runs it
// as it runs every other model, and the text of the answer tells which model gave it. It knows nothing,
// learns nothing and reads nothing of the prompt; its metadata says so. The package never downloads and
// never starts an engine.
//
// The construction is a state machine in the weights. Attention and feed-forward are zero, so the last
// token alone decides the next one. The reply is cut into pieces that are all different, each a token of
// its own: piece i embeds as state i+1 and every other token as state 0; the output row of piece i points
// to state i, and that of the end token to the last state.
package demomodel

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/google/renameio/v2"

	"github.com/nebula-serve/nebula/api"
)

const (
	// MaxReply is the longest reply, in bytes; even one of single letters leaves half of the context to
	// the prompt.
	MaxReply = 16 << 10
	// ContextLength is the model's context, in tokens. A byte of a prompt is a token.
	ContextLength = 32 << 10

	maxName     = 128 // bytes
	defaultName = "Nebula demo model"
)

// Options says what to write.
type Options struct {
	Reply string // what the model answers, byte for byte; 1 to MaxReply bytes of UTF-8
	Name  string // general.name in the metadata; "Nebula demo model" where empty
	// Embedding marks the model as one that gives vectors (mean pooling), so that engines serve embeddings instead of the reply.
	Embedding bool
}

// check returns the *api.Error for options that no model can be made of, nil otherwise.
func (o Options) check() error {
	bad := func(format string, args ...any) error { return api.Errorf(api.CodeInvalidRequest, format, args...) }
	switch {
	case o.Reply == "":
		return bad("the demo model's reply is empty: give the text that it shall answer")
	case len(o.Reply) > MaxReply:
		return bad("the demo model's reply has %d bytes: shorten it to %d", len(o.Reply), MaxReply)
	case !utf8.ValidString(o.Reply) || strings.ContainsRune(o.Reply, 0):
		return bad("the demo model's reply must be text: UTF-8 without NUL")
	case strings.Contains(o.Reply, metaspace):
		return bad("the demo model's reply holds %q (U+2581), which engines print as a space: leave it out", metaspace)
	case len(o.Name) > maxName || !utf8.ValidString(o.Name) || strings.ContainsRune(o.Name, 0):
		return bad("the demo model's name must be UTF-8 without NUL, of at most %d bytes", maxName)
	}
	return nil
}

// Write writes the model to w. The same options give the same bytes. An *api.Error says what is wrong with
// the options, and then nothing is written; any other error is w's.
func Write(w io.Writer, o Options) error {
	if err := o.check(); err != nil {
		return err
	}
	if o.Name == "" {
		o.Name = defaultName
	}
	if _, err := w.Write(build(o)); err != nil {
		return fmt.Errorf("write demo model: %w", err)
	}
	return nil
}

// WriteFile writes the model to the file at path, mode 0644, which appears complete or not at all and
// replaces one that is there. The folder must exist. Errors are those of Write and of the file system.
func WriteFile(path string, o Options) error {
	if err := o.check(); err != nil {
		return err
	}
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644), renameio.WithExistingPermissions())
	if err != nil {
		return fmt.Errorf("create demo model: %w", err)
	}
	defer func() { _ = f.Cleanup() }() // nothing is left to do where it was replaced
	if err := Write(f, o); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("create demo model: %w", err)
	}
	return nil
}
