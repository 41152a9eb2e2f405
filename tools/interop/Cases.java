import io.grpc.testing.integration.TestServiceClient;
import java.util.ArrayList;
import java.util.List;

/**
 * Runs several cases of gRPC's interop client in one virtual machine: {@code Cases FLAGS CASE...}, where the flags are
 * the client's own and begin with --. Prints a line for each case; exits with 1 when one has failed.
 */
public final class Cases {
  public static void main(String[] args) {
    List<String> flags = new ArrayList<>();
    boolean failed = false;
    for (String arg : args) {
      if (arg.startsWith("--")) {
        flags.add(arg);
        continue;
      }
      List<String> all = new ArrayList<>(flags);
      all.add("--test_case=" + arg);
      try {
        TestServiceClient.main(all.toArray(new String[0]));
        System.out.println("passed: " + arg);
      } catch (Throwable error) { // an assertion of JUnit is an Error
        failed = true;
        System.out.println("failed: " + arg + ": " + error);
      }
    }
    System.exit(failed ? 1 : 0); // threads of the client's channels may still live
  }
}
