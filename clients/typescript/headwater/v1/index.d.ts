// Generated from protos/headwater/v1. Do not edit: `make gen` writes it.

export * from "./agent_pb.js";
export * from "./agent_service_pb.js";
export * from "./error_pb.js";
export * from "./operator_service_pb.js";
export * from "./worker_service_pb.js";
export * from "./workflow_pb.js";
export * from "./workflow_service_pb.js";
