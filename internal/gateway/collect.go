package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nebula-serve/nebula/internal/gateway/upstream"
)

// form is what an answer looks like that is not streamed.
type form struct {
	object string // its "object"
	choice func(*node) []byte
}

var (
	chatForm = form{"chat.completion", chatChoice}
	textForm = form{"text_completion", textChoice}
)

// chatChoice turns the merged deltas of one choice of a chat into its message.
func chatChoice(c *node) []byte {
	delta := c.get(`"delta"`)
	if delta == nil {
		delta = &node{kind: isObject}
	}
	b := []byte(`"message":{"role":"assistant"`)
	if content := delta.get(`"content"`); content == nil || content.kind == isNull {
		b = append(b, `,"content":null`...)
	}
	for _, m := range delta.members {
		if m.node.kind == isNull || string(m.key) == `"role"` {
			continue
		}
		b = append(append(append(b, ','), m.key...), ':')
		b = m.node.append(b)
	}
	return append(b, '}')
}

func textChoice(c *node) []byte {
	text := c.get(`"text"`)
	if text == nil {
		text = &node{kind: isText}
	}
	return text.append([]byte(`"text":`))
}

// collector puts the chunks of a stream together into the answer that the same request would have had without "stream".
type collector struct {
	form *form
	top  node // every member of the chunks but the choices
	all  node // the choices
	size int64
}

// errEngine is an error that the engine put into its stream.
type errEngine struct{ complaint }

func (e errEngine) Error() string {
	return fmt.Sprintf("the engine's stream holds an error: %.500s", e.body)
}

// add takes in one chunk.
func (c *collector) add(chunk []byte) error {
	c.size += int64(len(chunk))
	chunk = bytes.TrimSpace(chunk)
	if string(chunk) == "null" { // llama-server puts one between the answers to several prompts
		return nil
	}
	return eachMember(chunk, func(key, val []byte) error {
		switch string(key) {
		case `"choices"`:
			if val[0] != '[' {
				return errDelta
			}
			return c.all.mergeList(val)
		case `"error"`:
			if val[0] != 'n' {
				return errEngine{streamed(chunk)}
			}
		case `"object"`, `"prompt_progress"`: // of the chunk, not of the answer
		default:
			if val[0] != 'n' {
				m := c.top.member(key)
				*m = node{kind: isPlain, text: append(m.text[:0], val...)} // the last one counts, as it is written
			}
		}
		return nil
	})
}

// answer returns the whole answer; ok = false when there was none in the chunks.
func (c *collector) answer() (b []byte, ok bool) {
	if len(c.all.items) == 0 {
		return nil, false
	}
	b = append(make([]byte, 0, 512+len(c.all.items)*256), `{"object":"`...)
	b = append(append(b, c.form.object...), `","choices":[`...)
	comma := false
	for i, choice := range c.all.items {
		if choice == nil {
			continue
		}
		if comma {
			b = append(b, ',')
		}
		comma = true
		b = fmt.Appendf(b, `{"index":%d,`, i)
		b = append(b, c.form.choice(choice)...)
		for _, m := range choice.members {
			switch string(m.key) {
			case `"index"`, `"delta"`, `"text"`:
			default:
				b = append(append(append(b, ','), m.key...), ':')
				b = m.node.append(b)
			}
		}
		b = append(b, '}')
	}
	b = append(b, ']')
	for _, m := range c.top.members {
		b = append(append(append(b, ','), m.key...), ':')
		b = m.node.append(b)
	}
	return append(b, '}'), true
}

// collect reads a stream that the client did not ask for and answers with what it adds up to. The client has nothing before that, so
// until then another replica may be asked.
func (x *exchange) collect(m *model, r *replica, res *upstream.Response) *failure {
	var (
		in   events
		sum  = collector{form: x.kind.form}
		done bool
	)
	for !done {
		data, err := res.Next()
		if errors.Is(err, io.EOF) && isDone(in.held) {
			break
		}
		if errors.Is(err, io.EOF) {
			err = &upstream.Error{Kind: upstream.Lost, Err: errors.New("the stream ended without [DONE]")}
		}
		if err != nil {
			return x.broke(err)
		}
		run := in.push(data)
		before := sum.size
		if done, err = sum.run(run); err != nil {
			return x.unusable(m, err)
		}
		if before == 0 && sum.size > 0 {
			x.g.metrics.firstByte(m, time.Since(x.start))
		}
		if sum.size > x.g.limits.MaxAnswer || in.torn {
			return x.tooLong()
		}
	}
	res.Linger(lingerDone)
	_, _ = res.Next() // the end of the body, so that the connection can be used again
	b, ok := sum.answer()
	if !ok {
		return x.unusable(m, errors.New("the stream holds no choice"))
	}
	r.unwatch(x.call())
	x.answer(b)
	return nil
}

// run takes in whole events; done when the last one says so.
func (c *collector) run(run []byte) (done bool, err error) {
	err = eachData(run, func(data []byte, isError bool) error {
		switch {
		case isError:
			return errEngine{streamed(data)}
		case string(data) == "[DONE]":
			done = true
			return nil
		}
		return c.add(data)
	})
	return done, err
}

// unusable classifies what an engine streamed that cannot be an answer.
func (x *exchange) unusable(m *model, err error) *failure {
	if e, ok := errors.AsType[errEngine](err); ok {
		return judge(e.complaint, m.uid, x.kind.path)
	}
	return x.broke(err)
}
