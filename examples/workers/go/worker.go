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
	"unicode/utf8"

	hw "github.com/headwater-ai/headwater/clients/go/headwater/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	maxResult  = 1 << 20 // bytes that the server takes as a result, and as changes of the context
	maxUnacked = 256     // chunks; the server acknowledges at least every 100 of the worker
	chunkAcks  = "chunk_acks"
)

// A handler does a task until its context is cancelled. It returns the result and the keys of the run's context that it
// changed; emit appends at most 64 Ki characters to the step's output, and is called by one goroutine at a time. An error
// is retryable unless it is permanent.
type handler func(ctx context.Context, task *hw.WorkerTask, emit func(string) error) (any, map[string]any, error)

type permanent struct{ error }

// A task is held from its arrival until its result is acknowledged or the task is cancelled.
type held struct {
	cancel   context.CancelFunc
	sent     *hw.AttachRequest   // its result, once that was sent
	chunks   []*hw.AttachRequest // that were sent and are not acknowledged
	position int32               // characters that its handler has said
}

type worker struct {
	handlers     map[string]handler
	registration *hw.WorkerRegistration
	slots        chan struct{}
	unacked      chan struct{}          // one for each chunk that is not acknowledged: when it is full, handlers wait
	out          chan *hw.AttachRequest // chunks and results; while the server is away it fills up, and handlers wait
	working      sync.WaitGroup
	mu           sync.Mutex // guards what follows
	tasks        map[string]*held
	stopping     bool
	keepsChunks  bool // the server acknowledges them
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
			w.setKeepsChunks(slices.Contains(kind.Registered.Features, chunkAcks))
			interval := kind.Registered.HeartbeatInterval.AsDuration()
			sending.Go(func() { w.send(ctx, stream, interval*4/5) })
		case *hw.AttachResponse_Task:
			w.start(stop, kind.Task)
		case *hw.AttachResponse_Cancellation:
			w.forget(kind.Cancellation.TaskId)
		case *hw.AttachResponse_Ack:
			w.forget(kind.Ack.TaskId)
		case *hw.AttachResponse_ChunkAck:
			w.acknowledge(kind.ChunkAck.TaskId, kind.ChunkAck.Position)
		}
	}
}

// send writes heartbeats and what handlers have to say; first what was sent before and not acknowledged.
func (w *worker) send(ctx context.Context, stream hw.WorkerService_AttachClient, interval time.Duration) {
	for _, message := range w.unacknowledged() {
		_ = stream.Send(message)
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
		if !w.keep(message) {
			continue
		}
		if stream.Send(message) != nil {
			return
		}
	}
}

// keep notes what is sent now; false for a chunk or result whose task was cancelled.
func (w *worker) keep(message *hw.AttachRequest) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if result := message.GetResult(); result != nil {
		task, wanted := w.tasks[result.TaskId]
		if wanted {
			task.sent = message
		}
		return wanted
	}
	if chunk := message.GetChunk(); chunk != nil {
		task, wanted := w.tasks[chunk.TaskId]
		if wanted && w.keepsChunks {
			task.chunks = append(task.chunks, message)
		} else {
			w.release(1)
		}
		return wanted
	}
	return true
}

func (w *worker) unacknowledged() (messages []*hw.AttachRequest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, task := range w.tasks {
		messages = append(messages, task.chunks...)
		if task.sent != nil {
			messages = append(messages, task.sent)
		}
	}
	return messages
}

// setKeepsChunks says whether the server of this connection acknowledges chunks.
func (w *worker) setKeepsChunks(keeps bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keepsChunks = keeps
	for _, task := range w.tasks {
		if !keeps {
			w.release(len(task.chunks))
			task.chunks = nil
		}
	}
}

// acknowledge drops the chunks of a task that end at the position or before.
func (w *worker) acknowledge(id string, position int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	task, known := w.tasks[id]
	if !known {
		return
	}
	kept := slices.DeleteFunc(slices.Clone(task.chunks), func(message *hw.AttachRequest) bool {
		chunk := message.GetChunk()
		return chunk.GetPosition()+characters(chunk.Content) <= position
	})
	w.release(len(task.chunks) - len(kept))
	task.chunks = kept
}

func (w *worker) release(chunks int) {
	for range chunks {
		<-w.unacked
	}
}

func characters(text string) int32 { return int32(utf8.RuneCountInString(text)) }

func (w *worker) forget(ids ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		if task, known := w.tasks[id]; known {
			task.cancel()
			w.release(len(task.chunks))
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
		case w.unacked <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		w.position(chunk)
		select {
		case w.out <- &hw.AttachRequest{Kind: &hw.AttachRequest_Chunk{Chunk: chunk}}:
			return nil
		case <-ctx.Done():
			w.release(1)
			return ctx.Err()
		}
	})
}

// position notes in the chunk what its task has said before.
func (w *worker) position(chunk *hw.TaskChunk) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if task, known := w.tasks[chunk.TaskId]; known {
		before := task.position
		chunk.Position = &before
		task.position += characters(chunk.Content)
	}
}
