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
	// Explanation, in a dry run, says where the model would run then, or why it would not.
	Explanation *api.Explanation `json:"explanation,omitempty"`
}

// carrying carries out changes, each under the condition that its object is as it was read.
type carrying struct {
	cl      *client.Client
	say     func(line string)
	dryRun  bool
	patch   bool // a model is changed by naming the fields that change, and not as a whole
	results []applied
	left    []string           // what is not done, in words
	told    []*api.Explanation // what the trial says of each change; nil: nothing
}

// check has the server try every change without doing it, so that what is wrong or has moved is known before anything is done.
func (r *carrying) check(ctx context.Context, changes []apply.Change) error {
	r.told = make([]*api.Explanation, len(changes))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i, ch := range changes {
		if len(ch.Verbs) == 0 {
			continue
		}
		g.Go(func() error {
			x, err := r.try(ctx, &ch)
			r.told[i] = x
			return refusal(&ch, err)
		})
	}
	return g.Wait()
}

// try has the server try one change without doing it. Of a model it says where the model would run then, each as if it alone were changed.
func (r *carrying) try(ctx context.Context, ch *apply.Change) (*api.Explanation, error) {
	on := client.Write{IfMatch: ch.Revision, DryRun: true}
	if ch.Kind == apply.KindTemplate {
		_, err := r.templateRequest(ctx, ch, on)
		return nil, err
	}
	w, err := ch.ModelWrites()
	if err != nil {
		return nil, err
	}
	cl := r.cl.On(on)
	switch {
	case w.Delete:
		return nil, ignoreGone(cl.DeleteModel(ctx, ch.ID))
	case w.Create != nil:
		made, err := cl.CreateModel(ctx, w.Trial())
		return made.Explanation, err
	}
	var x *api.Explanation
	if w.Update != nil {
		out, err := r.update(ctx, cl, ch, *w.Update)
		if err != nil {
			return nil, err
		}
		x = out.Explanation
	}
	if w.Deployment == nil {
		return x, nil
	}
	req, exact := w.TrialDeployment()
	out, err := cl.PutDeployment(ctx, ch.ID, req)
	if err != nil || !exact {
		return nil, err
	}
	return out.Explanation, nil
}

// ignoreGone takes it for done when somebody was faster.
func ignoreGone(err error) error {
	if api.HasCode(err, api.CodeNotFound) {
		return nil
	}
	return err
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
			res := applied{Ref: ch.Ref, Done: done, DryRun: r.dryRun}
			if r.dryRun && r.told != nil {
				res.Explanation = r.told[i]
			}
			r.results = append(r.results, res)
			r.say(ch.String() + " " + pastTense(done) + r.mark())
			for _, line := range verdict(res.Explanation) {
				r.say("  " + line)
			}
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
	if ch.Kind == apply.KindTemplate {
		return r.templateRequest(ctx, ch, client.Write{IfMatch: ch.Revision})
	}
	return r.modelRequests(ctx, ch)
}

func (r *carrying) templateRequest(ctx context.Context, ch *apply.Change, on client.Write) ([]apply.Verb, error) {
	w, err := ch.TemplateWrites()
	cl := r.cl.On(on)
	switch {
	case err != nil:
	case w.Delete:
		err = ignoreGone(cl.DeleteTemplate(ctx, ch.ID))
	case w.Create != nil:
		_, err = cl.CreateTemplate(ctx, *w.Create, false)
	default:
		_, err = cl.UpdateTemplate(ctx, ch.ID, *w.Update)
	}
	if err != nil {
		return nil, err
	}
	return ch.Verbs, nil
}

// modelRequests sends what a change of a model takes. Each step names the revision that the one before it has made.
func (r *carrying) modelRequests(ctx context.Context, ch *apply.Change) ([]apply.Verb, error) {
	w, err := ch.ModelWrites()
	if err != nil {
		return nil, err
	}
	var done []apply.Verb
	rev := ch.Revision
	cl := r.cl.On(client.Write{IfMatch: rev, Revision: &rev})
	switch {
	case w.Delete:
		if err := ignoreGone(cl.DeleteModel(ctx, ch.ID)); err != nil {
			return nil, err
		}
	case w.Create != nil:
		if _, err = cl.CreateModel(ctx, *w.Create); err != nil {
			return nil, err
		}
		done = []apply.Verb{apply.VerbCreate}
	case w.Update != nil:
		if _, err = r.update(ctx, cl, ch, *w.Update); err != nil {
			return nil, err
		}
		done = []apply.Verb{apply.VerbUpdate}
	}
	if w.Deployment == nil {
		return ch.Verbs, nil
	}
	if _, err = r.cl.On(client.Write{IfMatch: rev}).PutDeployment(ctx, ch.ID, *w.Deployment); err != nil {
		return done, err
	}
	return ch.Verbs, nil
}

// update changes what a model is.
func (r *carrying) update(ctx context.Context, cl *client.Client, ch *apply.Change, whole api.UpdateModel) (api.ModelWritten, error) {
	if !r.patch {
		return cl.UpdateModel(ctx, ch.ID, whole)
	}
	patch, err := ch.ModelPatch()
	if err != nil {
		return api.ModelWritten{}, err
	}
	return cl.PatchModel(ctx, ch.ID, patch)
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
