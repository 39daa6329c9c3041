package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// engineCommand makes the bench's own program an engine that answers at once: bench engineCommand KIND ARGUMENTS OF THE ENGINE.
const engineCommand = "__engine"

// writeEngine makes an executable that Nebula takes for the engine called name.
func writeEngine(dir, name, self string) error {
	script := fmt.Sprintf("#!/bin/sh\nexec '%s' %s %s \"$@\"\n", self, engineCommand, name)
	return os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755)
}

// engineMain is the engine. It reads of its command line what it needs to be found: the port and the served name.
func engineMain(kind string, args []string) error {
	if len(args) > 0 && args[0] == "--version" {
		fmt.Println("0.16.0")
		return nil
	}
	port, name := "0", "model"
	for i := 0; i+1 < len(args); i++ {
		switch args[i] {
		case "--port":
			port = args[i+1]
		case "-a", "--alias", "--served-model-name":
			name = args[i+1]
		}
	}
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return err
	}
	fmt.Printf("%s: listening on http://%s\n", kind, ln.Addr()) // as llama-server tells its port
	return serveEngine(ln, name)
}

// serveEngine answers until the listener is closed.
func serveEngine(ln net.Listener, name string) error {
	answers := newAnswers(name)
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			_ = answers.serve(conn) // the client went away
		}()
	}
}

// answers are all that the engine can say, written once.
type answers struct {
	chat, models, empty, missing   []byte
	streamHead, first, chunk, last []byte
}

func newAnswers(name string) *answers {
	plain := func(status, body string) []byte {
		return fmt.Appendf(nil, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
	}
	event := func(delta, finish string) string {
		return fmt.Sprintf(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"%s",`+
			`"choices":[{"index":0,"delta":%s,"logprobs":null,"finish_reason":%s}]}`+"\n\n", name, delta, finish)
	}
	framed := func(s string) []byte { return fmt.Appendf(nil, "%x\r\n%s\r\n", len(s), s) }
	usage := `"usage":{"prompt_tokens":200,"completion_tokens":160,"total_tokens":360}`
	return &answers{
		chat: plain("200 OK", fmt.Sprintf(`{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"%s",`+
			`"choices":[{"index":0,"message":{"role":"assistant","content":"%s"},"logprobs":null,"finish_reason":"stop"}],%s}`,
			name, strings.Repeat("word ", 160), usage)),
		models:     plain("200 OK", fmt.Sprintf(`{"object":"list","data":[{"id":"%s","object":"model","created":1700000000,"owned_by":"bench"}]}`, name)),
		empty:      plain("200 OK", `{"status":"ok"}`),
		missing:    plain("404 Not Found", `{"error":{"message":"not found"}}`),
		streamHead: []byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"),
		first:      framed(event(`{"role":"assistant","content":""}`, "null")),
		chunk:      framed(event(`{"content":" word"}`, "null")),
		last: append(framed(event(`{}`, `"stop"`)+fmt.Sprintf(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,`+
			`"model":"%s","choices":[],%s}`, name, usage)+"\n\ndata: [DONE]\n\n"), "0\r\n\r\n"...),
	}
}

func (a *answers) serve(conn net.Conn) error {
	in := bufio.NewReaderSize(conn, 64<<10)
	var body []byte
	for {
		path, length, err := readRequest(in)
		if err != nil {
			return err
		}
		if cap(body) < length {
			body = make([]byte, length)
		}
		body = body[:length]
		if _, err := io.ReadFull(in, body); err != nil {
			return err
		}
		switch {
		case strings.HasPrefix(path, "/v1/chat/completions") && streamed(body):
			err = a.stream(conn, tokens(body))
		case strings.HasPrefix(path, "/v1/chat/completions"):
			_, err = conn.Write(a.chat)
		case path == "/v1/models":
			_, err = conn.Write(a.models)
		case path == "/health":
			_, err = conn.Write(a.empty)
		default:
			_, err = conn.Write(a.missing)
		}
		if err != nil {
			return err
		}
	}
}

// stream writes n tokens, each by itself as engines do, with no gap between them.
func (a *answers) stream(conn net.Conn, n int) error {
	if _, err := conn.Write(append(slices.Clip(a.streamHead), a.first...)); err != nil {
		return err
	}
	for range n {
		if _, err := conn.Write(a.chunk); err != nil {
			return err
		}
	}
	_, err := conn.Write(a.last)
	return err
}

// readRequest reads a request up to its body.
func readRequest(in *bufio.Reader) (path string, length int, err error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return "", 0, err
	}
	f := bytes.Fields(line)
	if len(f) != 3 {
		return "", 0, fmt.Errorf("not a request: %q", line)
	}
	path = string(f[1])
	_, length, _, err = readHeader(in)
	return path, length, err
}

// readHeader reads header lines up to the body, of a request or a response.
func readHeader(in *bufio.Reader) (found bool, length int, chunked bool, err error) {
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return false, 0, false, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return found, length, chunked, nil
		}
		key, value, _ := bytes.Cut(line, []byte(":"))
		switch value = bytes.TrimSpace(value); {
		case bytes.EqualFold(key, []byte("Content-Length")):
			found = true
			if length, err = strconv.Atoi(string(value)); err != nil {
				return false, 0, false, err
			}
		case bytes.EqualFold(key, []byte("Transfer-Encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		}
	}
}

func streamed(body []byte) bool {
	return bytes.Contains(body, []byte(`"stream":true`)) || bytes.Contains(body, []byte(`"stream": true`))
}

// tokens reads max_tokens.
func tokens(body []byte) int {
	_, rest, ok := bytes.Cut(body, []byte(`"max_tokens":`))
	if !ok {
		return 16
	}
	n := 0
	for _, c := range bytes.TrimLeft(rest, " ") {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int(c-'0')
	}
	return n
}
