package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// load is a number of equal requests.
type load struct {
	addr     string
	request  []byte // head and body
	count    int
	inFlight int
	rate     int // requests a second, whatever the answers do; 0 = the next one as soon as one is answered
}

// outcome is what a load gave.
type outcome struct {
	took    time.Duration
	latency []float64 // milliseconds from when the request was due, in no order
}

// chatRequest is a chat request as one string of bytes.
func chatRequest(host, token, body string) []byte {
	head := fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", host, len(body))
	if token != "" {
		head += "Authorization: Bearer " + token + "\r\n"
	}
	return []byte(head + "\r\n" + body)
}

// run sends all requests over kept connections and returns when all are answered. An answer that is not what it should be ends it.
func (l load) run(ctx context.Context) (outcome, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	latency := make([][]float64, l.inFlight)
	began := time.Now()
	for i := range l.inFlight {
		wg.Go(func() {
			var err error
			if latency[i], err = l.work(ctx, &next, began); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	out := outcome{took: time.Since(began)}
	for _, part := range latency {
		out.latency = append(out.latency, part...)
	}
	return out, context.Cause(ctx)
}

// work is one connection.
func (l load) work(ctx context.Context, next *atomic.Int64, began time.Time) ([]float64, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", l.addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	in := bufio.NewReaderSize(conn, 64<<10)
	var latency []float64
	for {
		n := next.Add(1) - 1
		if n >= int64(l.count) {
			return latency, nil
		}
		due := time.Now()
		if l.rate > 0 {
			due = began.Add(time.Duration(n) * time.Second / time.Duration(l.rate))
			time.Sleep(time.Until(due))
		}
		if _, err := conn.Write(l.request); err != nil {
			return nil, err
		}
		if err := readAnswer(in); err != nil {
			return nil, fmt.Errorf("answer of %s: %w", l.addr, err)
		}
		latency = append(latency, float64(time.Since(due).Microseconds())/1000)
	}
}

// readAnswer reads one answer to its end. It must be a 200 with a chat's choices, and a stream must be whole.
func readAnswer(in *bufio.Reader) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	ok := bytes.HasPrefix(line, []byte("HTTP/1.1 200"))
	status := string(bytes.TrimSpace(line))
	found, length, chunked, err := readHeader(in)
	switch {
	case err != nil:
		return err
	case !ok:
		b, _ := io.ReadAll(io.LimitReader(in, int64(min(length, 500)))) // for the message alone
		return fmt.Errorf("%s: %s", status, b)
	case chunked:
		return readChunks(in)
	case !found:
		return errors.New("it has no length")
	}
	b, err := in.Peek(min(length, 2048))
	if err != nil {
		return err
	}
	if !bytes.Contains(b, []byte(`"choices":`)) {
		return fmt.Errorf("no choices in %q", b)
	}
	_, err = in.Discard(length)
	return err
}

// readChunks reads a chunked body; the last of it must be the end of an event stream.
func readChunks(in *bufio.Reader) error {
	const end = "data: [DONE]\n\n"
	tail := make([]byte, 0, 4*len(end)) // the last bytes so far: a proxy may cut anywhere
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 32)
		if err != nil {
			return err
		}
		keep := min(int(n), len(end))
		if _, err := in.Discard(int(n) - keep); err != nil {
			return err
		}
		b, err := in.Peek(keep + len("\r\n"))
		if err != nil {
			return err
		}
		tail = append(tail, b[:keep]...)
		tail = append(tail[:0], tail[max(0, len(tail)-len(end)):]...)
		if _, err := in.Discard(len(b)); err != nil {
			return err
		}
		switch {
		case n > 0:
		case string(tail) != end:
			return fmt.Errorf("the stream ended with %q", tail)
		default:
			return nil
		}
	}
}
