package metrics

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// scrapeAt scrapes once, on a connection of its own.
func scrapeAt(addr string) (status int, body string, err error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	res, err := client.Get("http://" + addr + "/metrics")
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// TestThousandScrapes at once are all answered, and do not cost a thousand collections.
func TestThousandScrapes(t *testing.T) {
	const scrapes = 1000
	var collected atomic.Int32
	all := make(chan bool)
	addr, _, _ := serving(t, NewHandler(New(Build{}, func() (Kernel, error) {
		collected.Add(1)
		<-all // so they are at once
		return Kernel{}, nil
	}, Options{}), HandlerOptions{}))
	var sent, done sync.WaitGroup
	for range scrapes {
		sent.Add(1)
		done.Go(func() {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				defer c.Close()
				_, err = io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			}
			sent.Done()
			if err != nil {
				t.Error(err)
				return
			}
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Error(err)
				return
			}
			body, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), "netobs_build_info{") {
				t.Errorf("%s, %v\n%s", res.Status, err, body)
			}
		})
	}
	sent.Wait()
	close(all)
	done.Wait()
	if n := collected.Load(); n > scrapes/10 {
		t.Errorf("%d scrapes took %d collections", scrapes, n)
	}
}

// TestSlowLoris: clients that never finish their request are cut off, and meanwhile do not get all connections; a scrape that
// comes after them is answered.
func TestSlowLoris(t *testing.T) {
	t.Parallel()
	addr, _, _ := serving(t, NewHandler(busy(t), HandlerOptions{}))
	var silent []net.Conn
	for range maxConnections + 50 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: x\r\nX-A: ")
		silent = append(silent, c)
	}
	if status, _, err := scrapeAt(addr); err != nil || status != http.StatusOK {
		t.Errorf("a scrape beside %d silent clients: %d, %v", len(silent), status, err)
	}
	for _, c := range silent {
		c.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.Copy(io.Discard, c); err != nil { // nil when netobs closed it
			t.Fatalf("a silent client was not cut off: %v", err)
		}
	}
}

// TestSlowReaders: clients that ask and do not read hold no scrape up.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 8<<20) // more than the kernel takes for a client that does not read
	addr, _, _ := serving(t, NewHandler(New(Build{Version: big}, func() (Kernel, error) { return Kernel{}, nil }, Options{}), HandlerOptions{}))
	var clients []net.Conn
	for range 2 * maxScrapes {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.(*net.TCPConn).SetReadBuffer(4096)
		io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
		clients = append(clients, c)
	}
	for _, c := range clients {
		if _, err := c.Read(make([]byte, 1)); err != nil { // the answer has begun
			t.Fatal(err)
		}
	}
	if status, body, err := scrapeAt(addr); err != nil || status != http.StatusOK || !strings.Contains(body, big) {
		t.Errorf("a scrape beside clients that do not read: %d, %d bytes, %v", status, len(body), err)
	}
}

// TestHugeRequests are refused without being kept.
func TestHugeRequests(t *testing.T) {
	t.Parallel()
	addr, _, _ := serving(t, NewHandler(busy(t), HandlerOptions{}))
	for name, request := range map[string]string{
		"header":       "GET /metrics HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("a", 8<<20),
		"many headers": "GET /metrics HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-A: b\r\n", 1<<20),
		"path":         "GET /" + strings.Repeat("a", 8<<20),
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go io.WriteString(c, request)
		c.SetReadDeadline(time.Now().Add(30 * time.Second))
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%s: %v, %v", name, res, err)
		}
	}
	if status, _, err := scrapeAt(addr); err != nil || status != http.StatusOK {
		t.Errorf("a scrape afterwards: %d, %v", status, err)
	}
}
