// Hosts two handlers with nothing but the generated stub: worker [-concurrency N] QUEUE
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/headwater-ai/headwater/clients/go/headwater/connect"
	hw "github.com/headwater-ai/headwater/clients/go/headwater/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
)

// fetch gets the page at the context's `url`, each line a chunk, and sets `content_type` in the context.
func fetch(ctx context.Context, task *hw.WorkerTask, emit func(string) error) (any, map[string]any, error) {
	var given struct{ URL string }
	if err := json.Unmarshal([]byte(task.ContextJson), &given); err != nil {
		return nil, nil, permanent{err}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, given.URL, nil)
	if err != nil {
		return nil, nil, permanent{err}
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	if response.StatusCode >= 500 {
		return nil, nil, fmt.Errorf("%s answered %s", request.URL.Host, response.Status)
	} else if response.StatusCode != http.StatusOK { // asking again would not help
		return nil, nil, permanent{fmt.Errorf("%s answered %s", request.URL.Host, response.Status)}
	}
	var page strings.Builder
	lines := bufio.NewScanner(http.MaxBytesReader(nil, response.Body, maxResult))
	for lines.Scan() {
		line := lines.Text() + "\n"
		page.WriteString(line)
		if err := emit(line); err != nil {
			return nil, nil, err
		}
	}
	return page.String(), map[string]any{"content_type": response.Header.Get("Content-Type")}, lines.Err()
}

// count counts the words in the results of the steps before it, which must be texts.
func count(_ context.Context, task *hw.WorkerTask, _ func(string) error) (any, map[string]any, error) {
	var texts map[string]string
	if err := json.Unmarshal([]byte(task.DependencyResultsJson), &texts); err != nil {
		return nil, nil, permanent{err}
	}
	words := 0
	for _, text := range texts {
		words += len(strings.Fields(text))
	}
	return words, nil, nil
}

func main() {
	concurrency := flag.Int("concurrency", 4, "most tasks at a time, 1 to 10000")
	flag.Parse()
	if flag.NArg() != 1 || *concurrency < 1 || *concurrency > 10_000 {
		log.Fatal("usage: worker [-concurrency N] QUEUE")
	}
	conn, err := connect.FromEnvironment(
		grpc.WithConnectParams(grpc.ConnectParams{ // else gRPC waits up to two minutes between its tries
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 2, MaxDelay: time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
	)
	if err != nil {
		log.Fatal(err)
	}
	stop, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	w := &worker{
		handlers: map[string]handler{"fetch": fetch, "count": count},
		registration: &hw.WorkerRegistration{
			WorkerId: rand.Text(), Queue: flag.Arg(0), Handlers: []string{"fetch", "count"}, Concurrency: int32(*concurrency),
			ClientVersion: "headwater-go-example/0.1.0", Features: []string{chunkAcks},
		},
		slots:   make(chan struct{}, *concurrency),
		unacked: make(chan struct{}, maxUnacked),
		out:     make(chan *hw.AttachRequest, 64),
		tasks:   map[string]*held{},
	}
	if err := w.run(stop, hw.NewWorkerServiceClient(conn)); err != nil {
		log.Fatal(err)
	}
}
