// Streams a reply, leaves another one early and reads a typed error, with the bare stub: Stream PROMPT
import ai.headwater.v1.AgentConfig;
import ai.headwater.v1.AgentServiceGrpc;
import ai.headwater.v1.AgentServiceGrpc.AgentServiceBlockingStub;
import ai.headwater.v1.RunRequest;
import ai.headwater.v1.StreamRequest;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import io.grpc.Context;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;

class Stream {
  static void stream(AgentServiceBlockingStub agents, String prompt) {
    var chunks = agents.stream(StreamRequest.newBuilder().setPrompt(prompt).build());
    chunks.forEachRemaining(chunk -> System.out.print(chunk.getContent()));
    System.out.println();
  }

  static void leave(AgentServiceBlockingStub agents, String prompt) {
    var request = StreamRequest.newBuilder().setPrompt(prompt).build();
    var context = Context.current().withCancellation();
    context.run(() -> System.out.println("Left after: " + agents.stream(request).next().getContent()));
    context.cancel(null); // else the server writes on
  }

  static void readError(AgentServiceBlockingStub agents, String prompt) throws InvalidProtocolBufferException {
    var agent = AgentConfig.newBuilder().setTemperature(9);
    try {
      agents.run(RunRequest.newBuilder().setPrompt(prompt).setAgent(agent).build());
    } catch (StatusRuntimeException error) {
      for (var detail : StatusProto.fromThrowable(error).getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          var info = detail.unpack(ErrorInfo.class);
          System.out.println(info.getReason() + " " + info.getDomain());
        } else if (detail.is(BadRequest.class)) {
          for (var violation : detail.unpack(BadRequest.class).getFieldViolationsList())
            System.out.println(violation.getField() + ": " + violation.getDescription());
        }
      }
    }
  }

  public static void main(String[] args) throws Exception {
    var channel = Connect.fromEnvironment();
    var agents = AgentServiceGrpc.newBlockingStub(channel);
    stream(agents, args[0]);
    leave(agents, args[0]);
    readError(agents, args[0]);
    channel.shutdownNow();
  }
}
