// Streams a reply with nothing but the generated stub: java -cp ... Stream.java PROMPT [PROVIDER]
import ai.headwater.v1.AgentServiceGrpc;
import ai.headwater.v1.StreamRequest;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;

class Stream {
  public static void main(String[] args) {
    var prompt = args.length > 0 ? args[0] : "";
    var provider = args.length > 1 ? args[1] : "";
    var target = System.getenv().getOrDefault("HEADWATER_TARGET", "localhost:50051");
    var channel = Grpc.newChannelBuilder(target, InsecureChannelCredentials.create()).build();
    var request = StreamRequest.newBuilder().setPrompt(prompt).setProvider(provider).build();
    var chunks = AgentServiceGrpc.newBlockingStub(channel).stream(request);
    chunks.forEachRemaining(chunk -> System.out.print(chunk.getContent()));
    System.out.println();
    channel.shutdownNow();
  }
}
