package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/client"
	"github.com/nebula-serve/nebula/internal/apply"
)

// applied is what became of one object.
type applied struct {
	apply.Ref
	Done   []apply.Verb `json:"done"`
	DryRun bool         `json:"dry_run,omitempty"`
}

// carrying carries out changes, each under the condition that its object is as it was read.
type carrying struct {
	cl      *client.Client
	say     func(line string)
	dryRun  bool
	patch   bool // a model is changed by naming the fields that change, and not as a whole
	results []applied
	left    []string // what is not done, in words
}

// check has the server try every change without doing it, so that what is wrong or has moved is known before anything is done.
func (r *carrying) check(ctx context.Context, changes []apply.Change) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for _, ch := range due(changes) {
		g.Go(func() error {
			_, err := r.requests(ctx, &ch, client.Write{IfMatch: ch.Revision, DryRun: true})
			return refusal(&ch, err)
		})
	}
	return g.Wait()
}

// refusal words an answer to a trial, which says that nothing is done and where the fault is.
func refusal(ch *apply.Change, err error) error {
	switch {
	case err == nil:
		return nil
	case api.HasCode(err, api.CodeRevisionMismatch), api.HasCode(err, api.CodeModelExists), api.HasCode(err, api.CodeTemplateExists), api.HasCode(err, api.CodeNotFound) && ch.Revision > 0:
		return api.Errorf(api.CodeRevisionMismatch,
			"%s has changed since it was read, so nothing is done: look at it with nebula diff, then run the command again", ch.Ref)
	}
	e, ok := api.AsError(err)
	if !ok || ch.At.Line == 0 {
		return err
	}
	told := *e
	told.Message = ch.At.String() + ": " + ch.String() + ": " + e.Message + "; nothing is done"
	return &told
}

// all carries the changes out in their order and stops at the first that fails.
func (r *carrying) all(ctx context.Context, changes []apply.Change) error {
	r.results = []applied{}
	for i, ch := range changes {
		done, err := r.one(ctx, &ch)
		if len(done) > 0 || err == nil {
			r.results = append(r.results, applied{ch.Ref, done, r.dryRun})
			r.say(ch.String() + " " + pastTense(done) + r.mark())
		}
		if err == nil {
			continue
		}
		r.left = append(r.left, ch.String()+state(done, err))
		for _, later := range due(changes[i+1:]) {
			r.left = append(r.left, later.String())
		}
		return err
	}
	return nil
}

func (r *carrying) mark() string {
	if r.dryRun {
		return " (dry run)"
	}
	return ""
}

// state says how much of a change that failed is done.
func state(done []apply.Verb, err error) string {
	var parts []string
	if len(done) > 0 {
		parts = append(parts, "only "+pastTense(done))
	}
	if uncertain(err) {
		parts = append(parts, "the last step may be done all the same")
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, "; ") + ")"
}

// explain says what a failure has left undone.
func (r *carrying) explain(w io.Writer) {
	done := 0
	for _, res := range r.results {
		if len(res.Done) > 0 {
			done++
		}
	}
	fmt.Fprintf(w, "Done: %s; not done: %s\nRun the same command again to do the rest.\n", plural(uint32(done), "change"), clean(strings.Join(r.left, ", ")))
}

// uncertain tells whether a request that failed may have been carried out all the same.
func uncertain(err error) bool {
	return errors.Is(err, context.Canceled) || api.HasCode(err, api.CodeTimeout) || api.HasCode(err, api.CodeUnavailable) || api.HasCode(err, api.CodeUpstream)
}

// one carries out one change and returns what of it is done.
func (r *carrying) one(ctx context.Context, ch *apply.Change) ([]apply.Verb, error) {
	if len(ch.Verbs) == 0 || r.dryRun {
		return ch.Verbs, nil
	}
	return r.requests(ctx, ch, client.Write{IfMatch: ch.Revision})
}

// requests sends what a change takes.
func (r *carrying) requests(ctx context.Context, ch *apply.Change, on client.Write) ([]apply.Verb, error) {
	if ch.Kind == apply.KindTemplate {
		return r.templateRequest(ctx, ch, on)
	}
	return r.modelRequests(ctx, ch, on)
}

func (r *carrying) templateRequest(ctx context.Context, ch *apply.Change, on client.Write) ([]apply.Verb, error) {
	w, err := ch.TemplateWrites()
	switch {
	case err != nil:
	case w.Delete:
		if err = r.cl.DeleteTemplateWith(ctx, ch.ID, on); api.HasCode(err, api.CodeNotFound) { // somebody was faster
			err = nil
		}
	case w.Create != nil:
		_, _, err = r.cl.CreateTemplateWith(ctx, *w.Create, on)
	default:
		_, _, err = r.cl.UpdateTemplateWith(ctx, ch.ID, *w.Update, on)
	}
	if err != nil {
		return nil, err
	}
	return ch.Verbs, nil
}

// modelRequests sends what a change of a model takes. Each step names the revision that the one before it has made; a trial makes none.
func (r *carrying) modelRequests(ctx context.Context, ch *apply.Change, on client.Write) ([]apply.Verb, error) {
	w, err := ch.ModelWrites()
	if err != nil {
		return nil, err
	}
	var done []apply.Verb
	rev := on.IfMatch
	switch {
	case w.Delete:
		if err := r.cl.DeleteModelWith(ctx, ch.ID, on); err != nil && !api.HasCode(err, api.CodeNotFound) { // somebody was faster
			return nil, err
		}
	case w.Create != nil:
		if _, rev, err = r.cl.CreateModelWith(ctx, *w.Create, on); err != nil {
			return nil, err
		}
		done = []apply.Verb{apply.VerbCreate}
	case w.Update != nil:
		if rev, err = r.update(ctx, ch, *w.Update, on); err != nil {
			return nil, err
		}
		done = []apply.Verb{apply.VerbUpdate}
	}
	if w.Deployment == nil || on.DryRun && w.Create != nil { // of a model that is not there yet nothing more can be tried
		return ch.Verbs, nil
	}
	if !on.DryRun {
		on.IfMatch = rev
	}
	if _, _, err = r.cl.PutDeployment(ctx, ch.ID, *w.Deployment, on); err != nil {
		return done, err
	}
	return ch.Verbs, nil
}

// update changes what a model is, and returns its new revision.
func (r *carrying) update(ctx context.Context, ch *apply.Change, whole api.UpdateModel, on client.Write) (rev int64, err error) {
	if !r.patch {
		_, rev, err = r.cl.UpdateModelWith(ctx, ch.ID, whole, on)
		return rev, err
	}
	patch, err := ch.ModelPatch()
	if err == nil {
		_, rev, err = r.cl.PatchModelWith(ctx, ch.ID, patch, on)
	}
	return rev, err
}

var past = map[apply.Verb]string{
	apply.VerbCreate: "created", apply.VerbUpdate: "updated", apply.VerbStart: "started", apply.VerbStop: "stopped",
	apply.VerbScale: "scaled", apply.VerbDelete: "deleted",
}

func pastTense(verbs []apply.Verb) string {
	if len(verbs) == 0 {
		return "unchanged"
	}
	var out []string
	for _, v := range verbs {
		out = append(out, past[v])
	}
	return strings.Join(out, ", ")
}
