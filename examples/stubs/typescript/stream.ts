// Streams a reply with nothing but the generated stub: node dist/stream.js PROMPT [PROVIDER]
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { AgentService } from "@headwater-ai/headwater/v1";

const [prompt, provider] = process.argv.slice(2);
const target = process.env.HEADWATER_TARGET ?? "localhost:50051";
const client = createClient(AgentService, createGrpcTransport({ baseUrl: `http://${target}` }));
for await (const chunk of client.stream({ prompt, provider })) process.stdout.write(chunk.content);
process.stdout.write("\n");
