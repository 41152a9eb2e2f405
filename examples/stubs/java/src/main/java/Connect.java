// The channel that the environment describes.
import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.MetadataUtils;
import java.io.File;
import java.io.IOException;

class Connect {
  private static final String LOCAL = "(dns:///)?(localhost|127(\\.\\d+){3}|\\[::1])(:.*)?|unix:.*";
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  static ManagedChannel fromEnvironment() throws IOException {
    var target = variable("HEADWATER_TARGET", "localhost:50051");
    var hasTls = target.startsWith("https://");
    var address = hasTls ? target.substring("https://".length()) : target;
    if (hasTls && !address.matches(".*:\\d+")) address += ":443";
    var credentials = hasTls ? tls() : InsecureChannelCredentials.create();
    var builder = Grpc.newChannelBuilder(address, credentials);
    var token = variable("HEADWATER_TOKEN", "");
    if (!token.isEmpty()) {
      if (!hasTls && !target.matches(LOCAL) && !variable("HEADWATER_PLAINTEXT_TOKEN", "").equals("true"))
        throw new IOException(
            "HEADWATER_TOKEN would go to " + target + " unencrypted; write https:// before the target");
      var headers = new Metadata();
      headers.put(AUTHORIZATION, "Bearer " + token);
      builder.intercept(MetadataUtils.newAttachHeadersInterceptor(headers));
    }
    return builder.build();
  }

  private static ChannelCredentials tls() throws IOException {
    var credentials = TlsChannelCredentials.newBuilder();
    var authorities = variable("HEADWATER_CA_FILE", "");
    if (!authorities.isEmpty()) credentials.trustManager(new File(authorities));
    var own = variable("HEADWATER_CERT_FILE", "");
    if (!own.isEmpty()) credentials.keyManager(new File(own), new File(variable("HEADWATER_KEY_FILE", "")));
    return credentials.build();
  }

  private static String variable(String name, String unset) {
    var value = System.getenv(name);
    return value == null || value.isEmpty() ? unset : value;
  }
}
