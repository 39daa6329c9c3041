package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/cluster"
)

// leanEngine answers every request on a connection with the same bytes and allocates nothing per request, so that what a benchmark
// counts is the gateway and net/http's server.
func leanEngine(b *testing.B, answer []byte) net.Addr {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 1<<20)
				for readMessage(c, buf) == nil {
					if _, err := c.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	b.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr()
}

var lengthField = []byte("\r\nContent-Length: ")

// readMessage reads one HTTP message that has a length.
func readMessage(r io.Reader, buf []byte) error {
	n, want := 0, -1
	for want < 0 || n < want {
		k, err := r.Read(buf[n:])
		if err != nil {
			return err
		}
		n += k
		if end := bytes.Index(buf[:n], []byte("\r\n\r\n")); want < 0 && end >= 0 {
			at := bytes.Index(buf[:end], lengthField)
			if at < 0 {
				return fmt.Errorf("no length in %q", buf[:end])
			}
			want = end + 4
			length := 0
			for _, c := range buf[at+len(lengthField) : end] {
				if c < '0' || c > '9' {
					break
				}
				length = length*10 + int(c-'0')
			}
			want += length
		}
	}
	return nil
}

func benchGateway(b *testing.B, engine net.Addr) string {
	b.Helper()
	v := newView()
	v.update(func(s *cluster.State) {
		addModel(s, "m", "m")
		addEndpoint(s, endpointAt("m", 0, "http://"+engine.String()))
		e, _ := s.Endpoints.Value("m/0")
		e.EngineType, e.ServedName = api.EngineVLLM, "served"
		addEndpoint(s, e)
	})
	g := New(Config{View: v, LocalNode: "n1", Log: slog.New(slog.DiscardHandler)})
	mux := http.NewServeMux()
	for _, r := range g.Routes() {
		mux.Handle(r.Method+" "+r.Path, r.Handler)
	}
	srv := httptest.NewServer(mux)
	b.Cleanup(func() { srv.Close(); g.client.Close() })
	return srv.Listener.Addr().String()
}

func httpRequest(body []byte) []byte {
	return append([]byte("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nUser-Agent: bench\r\nAccept: */*\r\nAuthorization: Bearer 0123456789abcdef\r\n"+
		"Content-Type: application/json\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"), body...)
}

func BenchmarkGateway_chat(b *testing.B) {
	for _, size := range []int{1 << 10, 32 << 10, 400 << 10} {
		b.Run(fmt.Sprintf("%dkB", size>>10), func(b *testing.B) {
			reply := `{"choices":[{"message":{"role":"assistant","content":"` + strings.Repeat("word ", 100) + `"}}]}`
			addr := benchGateway(b, leanEngine(b, fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(reply), reply)))
			c, err := net.Dial("tcp", addr)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			request, buf := httpRequest(chatBody("m", size)), make([]byte, 64<<10)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(request); err != nil {
					b.Fatal(err)
				}
				if err := readMessage(c, buf); err != nil {
					b.Fatal(err)
				}
			}
			if !bytes.Contains(buf, []byte("200 OK")) {
				b.Fatalf("%.300s", buf)
			}
		})
	}
}

// One operation is one streamed chunk.
func BenchmarkGateway_streamedChunk(b *testing.B) {
	const chunks = 1000
	event := "data: " + strings.Replace(goodStream, "good", "some more words", 1) + "\n\n"
	var answer bytes.Buffer
	answer.WriteString("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
	for range chunks {
		fmt.Fprintf(&answer, "%x\r\n%s\r\n", len(event), event)
	}
	answer.WriteString("e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
	addr := benchGateway(b, leanEngine(b, answer.Bytes()))
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	request, br := httpRequest([]byte(streamed1)), bufio.NewReaderSize(c, 64<<10)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%chunks != 0 {
			continue
		}
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		for {
			line, err := br.ReadSlice('\n')
			if err != nil {
				b.Fatal(err)
			}
			if string(line) == "0\r\n" {
				break
			}
		}
		if _, err := br.Discard(2); err != nil {
			b.Fatal(err)
		}
	}
}
