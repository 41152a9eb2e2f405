package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	hw "github.com/headwater-ai/headwater/clients/go/headwater/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const maxResult = 1 << 20 // bytes that the server takes as a result, and as changes of the context

// A handler does a task until its context is cancelled. It returns the result and the keys of the run's context that it
// changed; emit appends at most 64 Ki characters to the step's output. An error is retryable unless it is permanent.
type handler func(ctx context.Context, task *hw.WorkerTask, emit func(string) error) (any, map[string]any, error)

type permanent struct{ error }

// A task is held from its arrival until its result is acknowledged or the task is cancelled.
type held struct {
	cancel context.CancelFunc
	sent   *hw.AttachRequest // its result, once that was sent
}

type worker struct {
	handlers     map[string]handler
	registration *hw.WorkerRegistration
	slots        chan struct{}
	out          chan *hw.AttachRequest // chunks and results; while the server is away it fills up, and handlers wait
	working      sync.WaitGroup
	mu           sync.Mutex // guards tasks and stopping
	tasks        map[string]*held
	stopping     bool
}

// run serves until stop is done, or the server refuses the worker.
func (w *worker) run(stop context.Context, client hw.WorkerServiceClient) error {
	context.AfterFunc(stop, func() {
		w.mu.Lock()
		w.stopping = true
		w.mu.Unlock()
		w.working.Wait()
		close(w.out) // every result is in it
	})
	for {
		err := w.attach(stop, client)
		if stop.Err() != nil {
			return nil
		}
		switch status.Code(err) {
		case codes.InvalidArgument, codes.Unauthenticated, codes.PermissionDenied, codes.Unimplemented:
			return err
		}
		log.Printf("disconnected: %v", err)
		select {
		case <-stop.Done():
			return nil
		case <-time.After(100*time.Millisecond + rand.N(400*time.Millisecond)): // a fleet does not come all at once
		}
	}
}

// attach serves over one connection, until that ends.
func (w *worker) attach(stop context.Context, client hw.WorkerServiceClient) error {
	ctx, cancel := context.WithCancel(context.Background())
	var sending sync.WaitGroup
	defer func() { cancel(); sending.Wait() }()
	defer context.AfterFunc(stop, func() { time.AfterFunc(5*time.Second, cancel) })() // a handler may not want to end
	stream, err := client.Attach(ctx)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.registration.TaskIds = slices.Collect(maps.Keys(w.tasks))
	w.mu.Unlock()
	// When a Send fails the call has ended, and Recv says why.
	_ = stream.Send(&hw.AttachRequest{Kind: &hw.AttachRequest_Registration{Registration: w.registration}})
	for {
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		switch kind := message.Kind.(type) {
		case *hw.AttachResponse_Registered:
			log.Printf("worker %s serves %s", w.registration.WorkerId, w.registration.Queue)
			w.forget(kind.Registered.UnwantedTaskIds...)
			interval := kind.Registered.HeartbeatInterval.AsDuration()
			sending.Go(func() { w.send(ctx, stream, interval*4/5) })
		case *hw.AttachResponse_Task:
			w.start(stop, kind.Task)
		case *hw.AttachResponse_Cancellation:
			w.forget(kind.Cancellation.TaskId)
		case *hw.AttachResponse_Ack:
			w.forget(kind.Ack.TaskId)
		}
	}
}

// send writes heartbeats and what handlers have to say; first the results that were sent before and not acknowledged.
func (w *worker) send(ctx context.Context, stream hw.WorkerService_AttachClient, interval time.Duration) {
	for _, result := range w.unacknowledged() {
		_ = stream.Send(result)
	}
	beat := time.NewTicker(interval)
	defer beat.Stop()
	for {
		message := &hw.AttachRequest{Kind: &hw.AttachRequest_Heartbeat{Heartbeat: &hw.WorkerHeartbeat{}}}
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		case message = <-w.out:
			if message == nil { // closed: the server acknowledges what has come, and ends the call
				_ = stream.CloseSend()
				return
			}
		}
		if message.GetResult() != nil && !w.keep(message) {
			continue
		}
		if stream.Send(message) != nil {
			return
		}
	}
}

// keep notes that a result is sent now; false when the task was cancelled.
func (w *worker) keep(result *hw.AttachRequest) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	task, wanted := w.tasks[result.GetResult().TaskId]
	if wanted {
		task.sent = result
	}
	return wanted
}

func (w *worker) unacknowledged() (results []*hw.AttachRequest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, task := range w.tasks {
		if task.sent != nil {
			results = append(results, task.sent)
		}
	}
	return results
}

func (w *worker) forget(ids ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		if task, known := w.tasks[id]; known {
			task.cancel()
			delete(w.tasks, id)
		}
	}
}

func (w *worker) start(stop context.Context, task *hw.WorkerTask) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopping || w.tasks[task.TaskId] != nil {
		return
	}
	ctx, cancel := context.WithCancel(stop)
	w.tasks[task.TaskId] = &held{cancel: cancel}
	w.working.Go(func() {
		w.slots <- struct{}{} // waits for a handler that was cancelled and has not ended yet
		defer func() { <-w.slots }()
		w.out <- &hw.AttachRequest{Kind: &hw.AttachRequest_Result{Result: w.work(ctx, task)}}
	})
}

func (w *worker) work(ctx context.Context, task *hw.WorkerTask) *hw.TaskResult {
	value, changes, err := w.call(ctx, task)
	var text, changed []byte
	if err == nil {
		text, changed, err = encode(value, changes)
	} else if ctx.Err() != nil {
		err = errors.New("its worker was stopped")
	}
	if err == nil {
		value := &hw.TaskResult_ResultJson{ResultJson: string(text)}
		return &hw.TaskResult{TaskId: task.TaskId, Outcome: value, ContextChangesJson: string(changed)}
	}
	why := []rune(err.Error()) // valid UTF-8, of which the server keeps 1,000 characters
	failure := &hw.Failure{Message: string(why[:min(len(why), 1000)]), NonRetryable: errors.As(err, new(permanent))}
	return &hw.TaskResult{TaskId: task.TaskId, Outcome: &hw.TaskResult_Failure{Failure: failure}}
}

func encode(value any, changes map[string]any) (text, changed []byte, err error) {
	if text, err = json.Marshal(value); err == nil && changes != nil {
		changed, err = json.Marshal(changes)
	}
	if err == nil && max(len(text), len(changed)) > maxResult {
		err = fmt.Errorf("its result has more than %d bytes", maxResult)
	}
	if err != nil {
		err = permanent{err}
	}
	return text, changed, err
}

// call runs the handler. Its panic is an error, so that one bad task does not end the others.
func (w *worker) call(ctx context.Context, task *hw.WorkerTask) (value any, changes map[string]any, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("panic: %v", fault)
		}
	}()
	return w.handlers[task.Step.Handler](ctx, task, func(text string) error {
		chunk := &hw.TaskChunk{TaskId: task.TaskId, Content: string([]rune(text))} // valid UTF-8
		select {
		case w.out <- &hw.AttachRequest{Kind: &hw.AttachRequest_Chunk{Chunk: chunk}}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}
