// Streams a reply, leaves another one early and reads a typed error, with the bare stub: node dist/stream.js PROMPT
import { BadRequestSchema, ErrorInfoSchema } from "@headwater-ai/headwater/google/rpc";
import { ConnectError, createClient } from "@headwater-ai/headwater/grpc";
import { AgentService } from "@headwater-ai/headwater/v1";
import { fromEnvironment } from "./connect.js";

const agents = createClient(AgentService, fromEnvironment());

async function stream(prompt: string): Promise<void> {
  for await (const chunk of agents.stream({ prompt })) process.stdout.write(chunk.content);
  process.stdout.write("\n");
}

async function leave(prompt: string): Promise<void> {
  const leaving = new AbortController();
  for await (const chunk of agents.stream({ prompt }, { signal: leaving.signal })) {
    console.log("Left after:", chunk.content);
    break;
  }
  leaving.abort(); // else the server writes on
}

async function readError(prompt: string): Promise<void> {
  try {
    await agents.run({ prompt, agent: { temperature: 9 } });
  } catch (caught) {
    const error = ConnectError.from(caught);
    for (const info of error.findDetails(ErrorInfoSchema)) console.log(info.reason, info.domain);
    for (const bad of error.findDetails(BadRequestSchema))
      for (const { field, description } of bad.fieldViolations) console.log(`${field}: ${description}`);
  }
}

const prompt = process.argv[2] ?? "";
for (const part of [stream, leave, readError]) await part(prompt);
process.exit(); // a stream that was left may keep its connection open, and the process with it
