// The channel that the environment describes.
#pragma once

#include <cstdlib>
#include <fstream>
#include <memory>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>

#include <grpcpp/grpcpp.h>

namespace dial {

inline std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

inline std::string read(const char* name) {
  const std::string path = variable(name);
  if (path.empty()) return "";
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(std::string(name) + ": " + path + " cannot be read");
  std::stringstream content;
  content << file.rdbuf();
  return content.str();
}

inline std::shared_ptr<grpc::Channel> from_environment() {
  const std::string https = "https://";
  std::string target = variable("HEADWATER_TARGET");
  if (target.empty()) target = "localhost:50051";
  if (target.compare(0, https.size(), https) != 0) {
    static const std::regex local(R"((dns:///)?(localhost|127(\.\d+){3}|\[::1\]):\d+|unix:.*)");
    if (!variable("HEADWATER_TOKEN").empty() && !std::regex_match(target, local) &&
        variable("HEADWATER_PLAINTEXT_TOKEN") != "true")
      throw std::runtime_error("HEADWATER_TOKEN would go to " + target +
                               " unencrypted; write https:// before the target");
    return grpc::CreateChannel(target, grpc::InsecureChannelCredentials());
  }
  grpc::SslCredentialsOptions files;
  files.pem_root_certs = read("HEADWATER_CA_FILE");
  files.pem_cert_chain = read("HEADWATER_CERT_FILE");
  files.pem_private_key = read("HEADWATER_KEY_FILE");
  std::string address = target.substr(https.size());
  if (!std::regex_search(address, std::regex(R"(:\d+$)"))) address += ":443";
  return grpc::CreateChannel(address, grpc::SslCredentials(files));
}

// Lets a call into the server; from_environment has checked where the token may go.
inline void authorize(grpc::ClientContext& context) {
  const std::string token = variable("HEADWATER_TOKEN");
  if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
}

}  // namespace dial
