// Streams a reply, leaves another one early and reads a typed error, with the bare stub: stream PROMPT
#include <exception>
#include <iostream>
#include <string>

#include <grpcpp/grpcpp.h>

#include "dial.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "headwater/v1/agent_service.grpc.pb.h"

using namespace headwater::v1;

grpc::Status stream(AgentService::Stub& agents, const StreamRequest& request) {
  grpc::ClientContext context;
  dial::authorize(context);
  auto chunks = agents.Stream(&context, request);
  StreamChunk chunk;
  while (chunks->Read(&chunk)) std::cout << chunk.content() << std::flush;
  std::cout << std::endl;
  return chunks->Finish();
}

void leave(AgentService::Stub& agents, const StreamRequest& request) {
  grpc::ClientContext context;
  dial::authorize(context);
  auto chunks = agents.Stream(&context, request);
  StreamChunk chunk;
  if (chunks->Read(&chunk)) std::cout << "Left after: " << chunk.content() << std::endl;
  context.TryCancel();  // else the server writes on
  chunks->Finish();
}

void read_error(AgentService::Stub& agents, const std::string& prompt) {
  RunRequest request;
  request.set_prompt(prompt);
  request.mutable_agent()->set_temperature(9);
  grpc::ClientContext context;
  dial::authorize(context);
  RunResponse response;
  google::rpc::Status status;
  status.ParseFromString(agents.Run(&context, request, &response).error_details());
  google::rpc::ErrorInfo info;
  google::rpc::BadRequest bad;
  for (const auto& detail : status.details()) {
    if (detail.UnpackTo(&info)) {
      std::cout << info.reason() << " " << info.domain() << std::endl;
    } else if (detail.UnpackTo(&bad)) {
      for (const auto& violation : bad.field_violations())
        std::cout << violation.field() << ": " << violation.description() << std::endl;
    }
  }
}

int main(int, char** arguments) try {
  AgentService::Stub agents(dial::from_environment());
  StreamRequest request;
  request.set_prompt(arguments[1]);
  if (auto status = stream(agents, request); !status.ok()) {
    std::cerr << status.error_message() << std::endl;
    return 1;
  }
  leave(agents, request);
  read_error(agents, request.prompt());
} catch (const std::exception& error) {
  std::cerr << error.what() << std::endl;
  return 1;
}
