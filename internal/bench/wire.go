package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// Conn is one connection over which one caller asks, kept alive. It writes
// requests by hand and reads of an answer what the measurement needs: the load
// shares its cores with the server, and net/http would cost as much as the server.
type Conn struct {
	address string
	timeout time.Duration // of one answer
	net     net.Conn      // nil: not connected
	read    *bufio.Reader
	write   []byte
	body    []byte
}

// Answer is what a server said to one request.
type Answer struct {
	Status int
	Body   []byte // valid until the next request
}

// answerLimit bounds an answer, in bytes.
const answerLimit = 1 << 20

var errAnswer = errors.New("this is not an answer of HTTP/1.1")

// Dial makes a connection to a server at host:port, when the first request is
// sent. An answer that takes longer than the timeout is an error.
func Dial(address string, timeout time.Duration) *Conn {
	return &Conn{address: address, timeout: timeout}
}

// Close ends the connection; the next request makes a new one.
func (c *Conn) Close() {
	if c.net != nil {
		_ = c.net.Close() // nothing is expected of it any more
		c.net = nil
	}
}

// Post sends one changing request and waits for its answer. After an error the
// outcome is unknown: the same request under the same key tells it.
func (c *Conn) Post(path, token, key string, body []byte) (a Answer, err error) {
	if c.net == nil {
		if c.net, err = net.DialTimeout("tcp", c.address, 5*time.Second); err != nil {
			c.net = nil
			return a, fmt.Errorf("connecting: %w", err)
		}
		c.read = bufio.NewReaderSize(c.net, 4<<10)
	}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	w := append(c.write[:0], "POST "...)
	w = append(w, path...)
	w = append(w, " HTTP/1.1\r\nHost: "...)
	w = append(w, c.address...)
	w = append(w, "\r\nAuthorization: Bearer "...)
	w = append(w, token...)
	w = append(w, "\r\nIdempotency-Key: "...)
	w = append(w, key...)
	w = append(w, "\r\nContent-Type: application/json\r\nContent-Length: "...)
	w = strconv.AppendInt(w, int64(len(body)), 10)
	w = append(w, "\r\n\r\n"...)
	c.write = append(w, body...)
	if err := c.net.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return a, fmt.Errorf("setting a deadline: %w", err)
	}
	if _, err := c.net.Write(c.write); err != nil {
		return a, fmt.Errorf("sending: %w", err)
	}
	return c.answer()
}

// answer reads one answer whole, so that the connection can be used again.
func (c *Conn) answer() (a Answer, err error) {
	line, err := c.read.ReadSlice('\n')
	if err != nil {
		return a, fmt.Errorf("waiting for an answer: %w", err)
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return a, errAnswer
	}
	if a.Status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return a, errAnswer
	}
	length, closes := -1, false
	for {
		line, err := c.read.ReadSlice('\n')
		if err != nil {
			return a, fmt.Errorf("reading an answer: %w", err)
		}
		name, value, ok := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(":"))
		if !ok {
			break
		}
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return a, errAnswer
			}
		case bytes.EqualFold(name, []byte("Connection")):
			closes = bytes.EqualFold(value, []byte("close"))
		}
	}
	// The server writes short answers in one piece, with their length.
	if length < 0 || length > answerLimit {
		return a, fmt.Errorf("%w: length %d", errAnswer, length)
	}
	if cap(c.body) < length {
		c.body = make([]byte, length, 2*length)
	}
	a.Body = c.body[:length]
	if _, err := io.ReadFull(c.read, a.Body); err != nil {
		return a, fmt.Errorf("reading an answer: %w", err)
	}
	if closes {
		c.Close()
	}
	return a, nil
}

// Accepted reports whether the server decided yes.
func (a Answer) Accepted() bool { return a.Status/100 == 2 }

// Number is a member of the answer that is a whole number; 0 when it is not there.
func (a Answer) Number(name string) int64 {
	text := a.member(name)
	end := 0
	for end < len(text) && (text[end] >= '0' && text[end] <= '9' || end == 0 && text[end] == '-') {
		end++
	}
	n, err := strconv.ParseInt(string(text[:end]), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Text is a member of the answer that is a string without escapes, as ids and
// codes are; "" when it is not there.
func (a Answer) Text(name string) string {
	text := a.member(name)
	if len(text) == 0 || text[0] != '"' {
		return ""
	}
	inside, _, ok := bytes.Cut(text[1:], []byte(`"`))
	if !ok {
		return ""
	}
	return string(inside)
}

// Code is the error code of a refusal.
func (a Answer) Code() string { return a.Text("code") }

// member finds the first member of a name, at whatever depth: the answers read
// here are flat where it matters.
func (a Answer) member(name string) []byte {
	var quoted [40]byte
	want := append(quoted[:0], '"')
	want = append(append(want, name...), '"', ':')
	at := bytes.Index(a.Body, want)
	if at < 0 {
		return nil
	}
	return bytes.TrimLeft(a.Body[at+len(want):], " ")
}
