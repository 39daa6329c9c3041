package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/gateway/upstream"
	"github.com/nebula-serve/nebula/internal/obs"
)

// exchange is one request and its answer.
type exchange struct {
	g      *Gateway
	kind   *kind
	w      http.ResponseWriter
	id     string
	body   *[]byte
	req    request
	start  time.Time
	status int // what the client has been told; 0 = nothing yet

	tries int
	lost  int // engines that died over this request
	tried [maxTries]*replica
	calls [maxTries]upstream.Call
	up    upstream.Request // of the present try

	lines  [256]byte // room for up.Header
	pieces [9][]byte // room for up.Body
}

// maxTries bounds Limits.Tries.
const maxTries = 4

// call is the present try.
func (x *exchange) call() *upstream.Call { return &x.calls[x.tries-1] }

// leave ends what is under way for a client that has left, and whatever would begin after that.
func (x *exchange) leave() {
	for i := range x.calls {
		x.calls[i].Abort(errClientGone)
	}
}

var errClientGone = errors.New("the client has left")

// identify takes over the request's id, which is in the answer's header where a middleware has chosen one, and the header lines that
// engines get. Nothing else of the client's header goes on: no credential, no cookie, nothing that an engine could take for an order.
func (x *exchange) identify(r *http.Request) {
	if x.id = x.w.Header().Get("X-Request-Id"); x.id == "" {
		if x.id = r.Header.Get("X-Request-Id"); x.id == "" || len(x.id) > 128 {
			x.id = "req_" + rand.Text()
		}
		x.w.Header()["X-Request-Id"] = []string{x.id}
	}
	lines := append(x.lines[:0], "Content-Type: application/json\r\nX-Request-Id: "...)
	lines = append(append(lines, x.id...), "\r\n"...)
	for _, name := range [...]string{"Traceparent", "Tracestate"} {
		if v := r.Header[name]; len(v) == 1 && len(v[0]) <= 512 && !hopByHop(r.Header["Connection"], name) {
			lines = append(append(append(append(lines, name...), ": "...), v[0]...), "\r\n"...)
		}
	}
	x.up.Header = lines
}

// hopByHop tells whether a Connection header keeps name to this one connection.
func hopByHop(connection []string, name string) bool {
	for _, line := range connection {
		for option := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(option), name) {
				return true
			}
		}
	}
	return false
}

// open reads the request and finds its model.
func (x *exchange) open(r *http.Request) (*model, *fault) {
	x.body = x.g.bodies.get()
	if f := x.g.read(x.w, r, x.body); f != nil {
		return nil, f
	}
	var f *fault
	if x.req, f = scanRequest(*x.body); f != nil {
		return nil, f
	}
	return x.g.table.Load().find(x.req.model, allowed(r.Context()))
}

// dropBody gives the body back, once nothing can be sent a second time.
func (x *exchange) dropBody() {
	x.up.Body, x.pieces = nil, [len(x.pieces)][]byte{}
	if x.body != nil {
		x.g.bodies.put(x.body)
		x.body = nil
	}
}

// serve runs the exchange as one of its model's.
func (x *exchange) serve(ctx context.Context, m *model) *fault {
	m.live.requests.Add(1)
	m.live.active.Add(1)
	defer m.live.active.Add(-1)
	return x.run(ctx, m)
}

// run sends the request to one replica after the other until one has answered. It returns nil when the client has its answer, be it
// a stream that ended with an error event.
func (x *exchange) run(ctx context.Context, m *model) *fault {
	stop := context.AfterFunc(ctx, x.leave)
	defer stop()
	var last *failure
	for {
		r, skipped := m.choose(x.kind.need, x.tried[:x.tries], time.Since(x.g.born))
		if r == nil {
			if newer := x.g.table.Load().models[m.uid]; newer != nil && newer != m {
				m = newer
				continue
			}
			return x.nobody(m, last)
		}
		if skipped {
			x.g.metrics.tally.Add(obs.Skipped)
		}
		if last != nil {
			x.g.metrics.tally.Add(obs.Retries)
		}
		x.tried[x.tries] = r
		x.tries++
		next := x.try(ctx, m, r)
		if next == nil {
			if last != nil {
				x.g.metrics.tally.Add(obs.RetriesOK)
			}
			return nil
		}
		if last = next; !x.again(ctx, m, last) {
			return last.fault
		}
	}
}

// try sends the request to one replica and takes note of how that went.
func (x *exchange) try(ctx context.Context, m *model, r *replica) *failure {
	defer r.release()
	f := x.attempt(ctx, m, r)
	switch {
	case f == nil || f.outcome == refusedRequest:
		m.succeeded(r)
	case f.outcome == clientGone || f.outcome == abandoned || f.outcome == tooMuch:
	default:
		x.blame(ctx, m, r, f)
	}
	return f
}

// blame counts a failure against its replica and tells the operator, who alone gets to see what the engine really said.
func (x *exchange) blame(ctx context.Context, m *model, r *replica, f *failure) {
	x.g.metrics.tally.Add(f.outcome.counter())
	if m.failed(r, time.Since(x.g.born)) {
		x.g.metrics.tally.Add(obs.Rested)
	}
	if ok, dropped := x.g.storm.Allow(time.Now()); ok {
		x.g.log.WarnContext(ctx, "engine did not answer", "model", m.uid, "replica", r.replica, "addr", r.addr, "request_id", x.id,
			"try", x.tries, "error", f.cause, "similar_before", dropped)
	}
}

// again tells whether another replica may answer after a failure. Only while the client has nothing yet, and
//
//  1. the engine has not seen the request: yes.
//  2. The engine was lost over it: once. A request that has seen two engines die is not given a third.
//  3. The engine answered badly: within the model's budget for that.
//  4. The engine was too slow: no; the client has waited long enough.
func (x *exchange) again(ctx context.Context, m *model, f *failure) bool {
	if x.status != 0 || ctx.Err() != nil || x.tries >= x.g.limits.Tries {
		return false
	}
	switch f.outcome {
	case notReached, abandoned:
		return true
	case engineLost:
		x.lost++
		return x.lost < 2
	case answeredBadly:
		return m.mayRetry(time.Since(x.g.born))
	}
	return false
}

// nobody answers when no replica is left to ask: with what the last one did, or with why there is none.
func (x *exchange) nobody(m *model, last *failure) *fault {
	switch {
	case last != nil:
		return last.fault
	case slices.ContainsFunc(m.ready, func(r *replica) bool { return r.offered.Load() && r.caps&x.kind.need == 0 }):
		return m.cannot(x.kind)
	}
	return x.g.table.Load().notServing(m, time.Now())
}

// attempt sends the request to one replica and its answer to the client.
func (x *exchange) attempt(ctx context.Context, m *model, r *replica) *failure {
	r.watch(x.call())
	defer r.unwatch(x.call())
	// llama-server goes on generating when the client of a plain request leaves; a stream it ends within a token.
	collect := x.kind.form != nil && r.engine == api.EngineLlamaCPP && !x.req.stream
	var edits [4]edit
	x.up.Addr, x.up.Peer, x.up.Path = r.addr, r.node, r.prefix+x.kind.path
	x.up.Body = splice(x.pieces[:0], *x.body, x.edits(edits[:0], r, collect))
	res, err := x.send(ctx, m, r)
	if err != nil {
		return x.broke(err)
	}
	defer res.Close()
	switch {
	case res.Status() != http.StatusOK:
		return x.refused(m, res)
	case !res.IsEvents():
		return x.whole(res)
	case collect:
		return x.collect(m, r, res)
	}
	return x.relay(m, r, res)
}

// restartGrace is how long a request may wait for a node that takes none for the moment, when no other has the model: its agent is
// being restarted, and the engine goes on.
const (
	restartGrace = 5 * time.Second
	restartAgain = 100 * time.Millisecond
)

// send sends the request to r, if need be again and again while r's node is coming back.
func (x *exchange) send(ctx context.Context, m *model, r *replica) (*upstream.Response, error) {
	for {
		res, err := x.g.client.Do(ctx, x.call(), &x.up)
		if err == nil || r.peer == nil || time.Since(x.start) > restartGrace {
			return res, err
		}
		e, ok := errors.AsType[*upstream.Error](err)
		if !ok || e.Kind != upstream.Refused && e.Kind != upstream.Declined || !r.offered.Load() || m.another(r, x) || !sleep(ctx, restartAgain) {
			return nil, err
		}
	}
}

// another tells whether a replica that is well could take the request instead of r.
func (m *model) another(r *replica, x *exchange) bool {
	return slices.ContainsFunc(m.ready, func(o *replica) bool {
		return o != r && o.offered.Load() && !o.silent() && o.caps&x.kind.need != 0 && !slices.Contains(x.tried[:x.tries], o)
	})
}

// edits are what a body needs before it goes to r: the name that the engine knows, and, to collect the answer, a stream with usage.
func (x *exchange) edits(to []edit, r *replica, collect bool) []edit {
	if x.req.model != r.served {
		to = append(to, edit{x.req.modelAt, r.name})
	}
	if collect {
		front := span{x.req.open, x.req.open}
		for _, e := range []struct {
			at         span
			value, all string
		}{
			{x.req.streamAt, `true`, `"stream":true,`},
			{x.req.optionsAt, `{"include_usage":true}`, `"stream_options":{"include_usage":true},`},
		} {
			if e.at.empty() {
				to = append(to, edit{front, []byte(e.all)})
			} else {
				to = append(to, edit{e.at, []byte(e.value)})
			}
		}
	}
	slices.SortStableFunc(to, func(a, b edit) int { return a.at - b.at })
	return to
}

// outcome is how a try failed.
type outcome int

const (
	refusedRequest outcome = iota + 1 // the engine is well and does not take this request
	notReached                        // the engine has not seen the request, or says that it did nothing with it
	engineLost                        // the connection ended before the answer did
	answeredBadly                     // an error of the engine's own, or no sensible answer
	tooSlow
	tooMuch   // the answer is larger than we take
	abandoned // we gave it up, for another replica to answer
	clientGone
)

// counter is what counts it, by the contract's kinds.
func (o outcome) counter() obs.Counter {
	switch o {
	case notReached:
		return obs.FailedConnect
	case tooSlow:
		return obs.FailedTimeout
	case answeredBadly:
		return obs.Failed5xx
	}
	return obs.FailedOther
}

// failure is a try that did not answer the client.
type failure struct {
	outcome outcome
	fault   *fault // for the client, should no other try follow
	cause   error  // for the operator
}

func gone() *fault { return newFault(statusClientGone, "client_gone", "the client has left") }

// broke classifies an error on the way to an engine or back.
func (x *exchange) broke(err error) *failure {
	switch cause := x.call().Err(); {
	case errors.Is(cause, errUnhealthy):
		return &failure{abandoned, newFault(http.StatusServiceUnavailable, codeEngineFailed,
			"the engine of %s stopped answering; try again", x.req.model).after(2), cause}
	case cause != nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded): // the latter two while dialing
		return &failure{clientGone, gone(), err}
	}
	o := answeredBadly
	say := "the engine of %s gave no sensible answer; its log has more: nebula model logs"
	if e, ok := errors.AsType[*upstream.Error](err); ok {
		switch e.Kind {
		case upstream.Refused:
			o, say = notReached, "the engine of %s does not take connections; it may be restarting, so try again"
		case upstream.Declined:
			return &failure{abandoned, newFault(http.StatusServiceUnavailable, codeModelNotReady,
				"%s takes no requests at this moment; try again", x.req.model).after(2), err}
		case upstream.Lost:
			o, say = engineLost, "the engine of %s ended before its answer was complete; try again"
		case upstream.Timeout:
			return &failure{tooSlow, newFault(http.StatusGatewayTimeout, codeEngineTimeout,
				"the engine of %s has not said anything for too long", x.req.model), err}
		}
	}
	return &failure{o, newFault(http.StatusBadGateway, codeEngineFailed, say, x.req.model).after(2), err}
}
