// The gRPC library for which these stubs are typed. A program that imports it from here has one copy of it, also where
// npm links this package instead of copying it.

export { create, fromJson, toJson } from "@bufbuild/protobuf";
export { Code, ConnectError, createClient } from "@connectrpc/connect";
export { createGrpcTransport } from "@connectrpc/connect-node";
