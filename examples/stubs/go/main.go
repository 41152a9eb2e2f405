// Streams a reply, leaves another one early and reads a typed error, with the bare stub: stream PROMPT
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/headwater-ai/headwater/clients/go/headwater/connect"
	headwaterv1 "github.com/headwater-ai/headwater/clients/go/headwater/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

func stream(agents headwaterv1.AgentServiceClient, prompt string) error {
	chunks, err := agents.Stream(context.Background(), &headwaterv1.StreamRequest{Prompt: prompt})
	if err != nil {
		return err
	}
	for {
		chunk, err := chunks.Recv()
		if errors.Is(err, io.EOF) {
			fmt.Println()
			return nil
		} else if err != nil {
			return err
		}
		fmt.Print(chunk.Content)
	}
}

func leave(agents headwaterv1.AgentServiceClient, prompt string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // else the server writes on
	chunks, err := agents.Stream(ctx, &headwaterv1.StreamRequest{Prompt: prompt})
	if err != nil {
		return err
	}
	chunk, err := chunks.Recv()
	fmt.Println("Left after:", chunk.GetContent())
	return err
}

func readError(agents headwaterv1.AgentServiceClient, prompt string) error {
	temperature := 9.0
	agent := &headwaterv1.AgentConfig{Temperature: &temperature}
	_, err := agents.Run(context.Background(), &headwaterv1.RunRequest{Prompt: prompt, Agent: agent})
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			fmt.Println(detail.Reason, detail.Domain)
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				fmt.Printf("%s: %s\n", violation.Field, violation.Description)
			}
		}
	}
	return nil
}

func main() {
	conn, err := connect.FromEnvironment()
	if err != nil {
		log.Fatal(err)
	}
	agents := headwaterv1.NewAgentServiceClient(conn)
	for _, part := range []func(headwaterv1.AgentServiceClient, string) error{stream, leave, readError} {
		if err := part(agents, os.Args[1]); err != nil {
			log.Fatal(err)
		}
	}
}
