package upstream

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// parse feeds an answer to a client in pieces that end at the given cut, and returns what the client makes of it.
func parse(answer []byte, cut int) (status int, body string, err error) {
	here, there := net.Pipe()
	defer here.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer there.Close()
		cut = min(max(cut, 0), len(answer))
		for _, p := range [][]byte{answer[:cut], answer[cut:]} {
			if len(p) > 0 {
				if _, err := there.Write(p); err != nil {
					return
				}
			}
		}
	}()
	defer func() { _ = here.Close(); <-done }()
	c := newConn(here, here, place{addr: "pipe"})
	c.buf = new(buffer)
	l := Limits{FirstByte: 5 * time.Second, Idle: 5 * time.Second}
	h, bad := c.head(l.FirstByte)
	if bad != nil {
		return 0, "", bad
	}
	if h.status/100 == 1 {
		return h.status, "", io.ErrNoProgress // Do reads on to the next head
	}
	r := &Response{head: h, conn: c, limits: l}
	if bad := r.begin(); bad != nil {
		return h.status, "", bad
	}
	body, err = readAll(r)
	return h.status, body, err
}

func TestResponse_reads(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\n"
	long := strings.Repeat("z", 40_000)
	for name, c := range map[string]struct{ in, want string }{
		"length":             {head + "Content-Length: 5\r\n\r\nhello", "hello"},
		"same length twice":  {head + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "hello"},
		"long":               {head + "Content-Length: 40000\r\n\r\n" + long, long},
		"empty":              {head + "Content-Length: 0\r\n\r\n", ""},
		"no reason":          {"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\na", "a"},
		"chunks":             {head + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3;x=y\r\ncde\r\n0\r\n\r\n", "abcde"},
		"long chunk":         {head + "transfer-encoding: Chunked\r\n\r\n9C40\r\n" + long + "\r\n0\r\n\r\n", long},
		"chunks and trailer": {head + "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n000\r\nA: b\r\nC: d\r\n\r\n", "a"},
		"events until close": {head + "Content-Type: text/event-stream\r\n\r\ndata: 1\n\n", "data: 1\n\n"},
		"utf-8 value":        {head + "X: ü\r\nContent-Length: 1\r\n\r\na", "a"},
	} {
		for cut := 0; cut <= min(len(c.in), 120); cut++ {
			status, body, err := parse([]byte(c.in), cut)
			if err != nil || status != 200 || body != c.want {
				t.Fatalf("%s, cut at %d: %d %.40q %v", name, cut, status, body, err)
			}
		}
	}
}

func TestResponse_refuses(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\n"
	const chunked = head + "Transfer-Encoding: chunked\r\n\r\n"
	for name, c := range map[string]struct {
		in   string
		want Kind
	}{
		"nothing":              {"", Lost},
		"not http":             {"SSH-2.0-OpenSSH\r\n\r\n", Malformed},
		"http 2":               {"HTTP/2.0 200 OK\r\n\r\n", Malformed},
		"http 1.2":             {"HTTP/1.2 200 OK\r\n\r\n", Malformed},
		"odd status":           {"HTTP/1.1 2x0 OK\r\n\r\n", Malformed},
		"status too low":       {"HTTP/1.1 099 OK\r\n\r\n", Malformed},
		"long status":          {"HTTP/1.1 2000 OK\r\n\r\n", Malformed},
		"bare line feeds":      {"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", Malformed},
		"folded header":        {head + "A: b\r\n c\r\n\r\n", Malformed},
		"space before colon":   {head + "Content-Length : 1\r\n\r\na", Malformed},
		"return in a line":     {head + "A: b\rc\r\n\r\n", Malformed},
		"chunks in http 1.0":   {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Malformed},
		"no colon":             {head + "nonsense\r\n\r\n", Malformed},
		"no name":              {head + ": x\r\n\r\n", Malformed},
		"two lengths":          {head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", Malformed},
		"signed length":        {head + "Content-Length: +1\r\n\r\na", Malformed},
		"negative length":      {head + "Content-Length: -1\r\n\r\na", Malformed},
		"huge length":          {head + "Content-Length: 99999999999999999999\r\n\r\na", Malformed},
		"length and chunks":    {head + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", Malformed},
		"other coding":         {head + "Transfer-Encoding: gzip, chunked\r\n\r\n", Malformed},
		"coding twice":         {head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", Malformed},
		"compressed":           {head + "Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\na", Malformed},
		"no frame":             {head + "Content-Type: application/json\r\n\r\n{}", Malformed},
		"huge head":            {head + "A: " + strings.Repeat("b", bufSize) + "\r\n\r\n", Malformed},
		"short body":           {head + "Content-Length: 5\r\n\r\nabc", Lost},
		"cut chunk":            {chunked + "5\r\nab", Lost},
		"cut between chunks":   {chunked + "2\r\nab\r\n", Lost},
		"cut trailer":          {chunked + "0\r\n", Lost},
		"no size":              {chunked + "\r\n", Malformed},
		"size of letters":      {chunked + "xyz\r\n", Malformed},
		"negative size":        {chunked + "-1\r\n", Malformed},
		"huge size":            {chunked + "fffffffffffffffff\r\n", Malformed},
		"chunk without end":    {chunked + "2\r\nabc\r\n", Malformed},
		"endless chunk line":   {chunked + "1;" + strings.Repeat("x", 2*maxLine), Malformed},
		"endless trailer line": {chunked + "0\r\n" + strings.Repeat("x", 2*maxLine) + "\r\n\r\n", Malformed},
	} {
		if _, body, err := parse([]byte(c.in), 7); kindOf(err) != c.want {
			t.Errorf("%s: got %.40q, %v; want kind %d", name, body, err, c.want)
		}
	}
}

// Whatever comes, nothing panics; and what this client takes, net/http reads in the same way.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		ok, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3;x=y\r\ncde\r\n0\r\nA: b\r\n\r\n",
		"HTTP/1.0 503 Busy\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n",
	} {
		f.Add([]byte(s), len(s)/2)
	}
	f.Fuzz(func(t *testing.T, answer []byte, cut int) {
		status, body, err := parse(answer, cut)
		if err != nil {
			return
		}
		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), &http.Request{Method: http.MethodPost})
		if err != nil {
			t.Fatalf("net/http refuses what was taken: %v\n%q", err, answer)
		}
		defer res.Body.Close()
		want, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != status || string(want) != body {
			t.Fatalf("net/http reads %d %q %v, we read %d %q\n%q", res.StatusCode, want, err, status, body, answer)
		}
	})
}
