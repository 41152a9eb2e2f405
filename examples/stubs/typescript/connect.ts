// The transport that the environment describes.
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { createGrpcTransport } from "@headwater-ai/headwater/grpc";

const LOCAL = /^(localhost|127(\.\d+){3}|\[::1\])(:|$)/;

type Options = Parameters<typeof createGrpcTransport>[0];

export function fromEnvironment() {
  const { HEADWATER_TARGET, HEADWATER_TOKEN, HEADWATER_PLAINTEXT_TOKEN } = process.env;
  const target = (HEADWATER_TARGET || "localhost:50051").replace(/^dns:(\/\/[^/]*\/)?/, "");
  const [, path] = /^unix:(?:\/\/(?=\/))?(.+)/.exec(target) ?? [];
  const hasTls = target.startsWith("https://");
  const options: Options = { baseUrl: path ? "http://localhost" : hasTls ? target : `http://${target}` };
  if (path) options.nodeOptions = { createConnection: () => connect(path) };
  if (hasTls) {
    const [ca, cert, key] = ["CA", "CERT", "KEY"].map((name) => read(`HEADWATER_${name}_FILE`));
    options.nodeOptions = { ca, cert, key };
  }
  if (HEADWATER_TOKEN) {
    if (!hasTls && !path && !LOCAL.test(target) && HEADWATER_PLAINTEXT_TOKEN !== "true")
      throw new Error(`HEADWATER_TOKEN would go to ${target} unencrypted; write https:// before the target`);
    options.interceptors = [
      (next) => (request) => {
        request.header.set("authorization", `Bearer ${HEADWATER_TOKEN}`);
        return next(request);
      },
    ];
  }
  return createGrpcTransport(options);
}

function read(variable: string): Buffer | undefined {
  const file = process.env[variable];
  return file ? readFileSync(file) : undefined;
}
