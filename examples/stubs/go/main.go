// Streams a reply with nothing but the generated stub: go run . PROMPT [PROVIDER]
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	headwaterv1 "github.com/headwater-ai/headwater/clients/go/headwater/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func main() {
	target := cmp.Or(os.Getenv("HEADWATER_TARGET"), "localhost:50051")
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	args := append(os.Args[1:], "", "")
	request := &headwaterv1.StreamRequest{Prompt: args[0], Provider: args[1]}
	stream, err := headwaterv1.NewAgentServiceClient(conn).Stream(context.Background(), request)
	if err != nil {
		log.Fatal(err)
	}
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			log.Fatal(err)
		}
		fmt.Print(chunk.Content)
	}
	fmt.Println()
}
