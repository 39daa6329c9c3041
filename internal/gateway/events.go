package gateway

import (
	"bytes"
)

// events cuts a stream of server-sent events into runs of whole events, so that one that breaks off in the middle of an event never
// shows half of it to a client. Most reads end with an event; nothing is copied then.
type events struct {
	held []byte // the beginning of an event
	torn bool   // the last run ended inside an event, which was too long to hold
}

// maxHeld bounds the beginning of an event that is held back.
const maxHeld = 256 << 10

// push adds what was read and returns the events that are whole now, or nil. They are valid until the next call.
func (e *events) push(data []byte) []byte {
	if len(e.held) > 0 {
		e.held = append(e.held, data...)
		data = e.held
	}
	end := wholeUntil(data)
	rest := data[end:]
	if len(rest) > maxHeld {
		e.held, e.torn = e.held[:0], true
		return data
	}
	switch {
	case len(e.held) > 0:
		e.held = rest // what is before it is still being read
	default:
		e.held = append(e.held[:0], rest...)
	}
	if end > 0 {
		e.torn = false
	}
	return data[:end]
}

// wholeUntil returns where the last whole event of data ends: behind its blank line.
func wholeUntil(data []byte) int {
	if bytes.HasSuffix(data, []byte("\n\n")) {
		return len(data)
	}
	end := 0
	for _, blank := range [...]string{"\n\n", "\n\r\n"} {
		if i := bytes.LastIndex(data, []byte(blank)); i >= 0 {
			end = max(end, i+len(blank))
		}
	}
	return end
}

// isDone tells whether data ends with the event that ends a complete answer.
func isDone(data []byte) bool {
	data = bytes.TrimRight(data, "\r\n")
	for _, mark := range [...]string{"data: [DONE]", "data:[DONE]"} {
		if rest, ok := bytes.CutSuffix(data, []byte(mark)); ok {
			return len(rest) == 0 || rest[len(rest)-1] == '\n'
		}
	}
	return false
}

// eachData calls f with the data of each event of a run, and with isError for those that llama-server marks as an error by the name
// of the field.
func eachData(run []byte, f func(data []byte, isError bool) error) error {
	var data []byte
	several := false
	for len(run) > 0 {
		line, rest, _ := bytes.Cut(run, []byte("\n"))
		run = rest
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			if data != nil {
				if err := f(data, false); err != nil {
					return err
				}
			}
			data, several = nil, false
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch {
		case string(name) == "error":
			if err := f(value, true); err != nil {
				return err
			}
		case string(name) != "data":
		case data == nil:
			data = value
		default:
			if !several { // not into the stream's own buffer
				data, several = bytes.Clone(data), true
			}
			data = append(append(data, '\n'), value...)
		}
	}
	return nil
}

// firstError returns the error that a run of events begins with, if it does: an engine that fails before its first token says so in
// a stream that HTTP calls a success.
func firstError(run []byte) (c complaint, found bool) {
	trimmed := bytes.TrimLeft(run, "\r\n")
	if !bytes.HasPrefix(trimmed, []byte("error:")) && !bytes.HasPrefix(trimmed, []byte("data:")) {
		return complaint{}, false
	}
	line, _, _ := bytes.Cut(trimmed, []byte("\n"))
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimSpace(value)
	if string(name) == "data" && !bytes.HasPrefix(bytes.ReplaceAll(value[:min(len(value), 16)], []byte(" "), nil), []byte(`{"error":`)) {
		return complaint{}, false
	}
	return streamed(value), true
}

// streamed is an error that came in a stream; its status is in the error's code, if anywhere.
func streamed(value []byte) complaint {
	c := complaint{status: 500, body: bytes.Clone(value)}
	if code, ok := c.words().Code.(float64); ok && code >= 400 && code < 600 {
		c.status = int(code)
	}
	return c
}
