"""Streams a reply, leaves another one early and reads a typed error, with the bare stub: python stream.py PROMPT"""

import sys

import grpc
from connect import from_environment
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status import rpc_status

from headwater.v1 import AgentConfig, AgentServiceStub, RunRequest, StreamRequest


def stream(agents: AgentServiceStub, prompt: str) -> None:
    for chunk in agents.Stream(StreamRequest(prompt=prompt)):
        print(chunk.content, end="", flush=True)
    print()


def leave(agents: AgentServiceStub, prompt: str) -> None:
    call = agents.Stream(StreamRequest(prompt=prompt))
    print("Left after:", next(call).content)
    call.cancel()  # else the server writes on while the call is held


def read_error(agents: AgentServiceStub, prompt: str) -> None:
    try:
        agents.Run(RunRequest(prompt=prompt, agent=AgentConfig(temperature=9)))
    except grpc.RpcError as error:
        status = rpc_status.from_call(error)
        info, bad = ErrorInfo(), BadRequest()
        for detail in status.details if status else ():
            if detail.Unpack(info):
                print(info.reason, info.domain)
            elif detail.Unpack(bad):
                for violation in bad.field_violations:
                    print(f"{violation.field}: {violation.description}")


with from_environment() as channel:
    agents = AgentServiceStub(channel)
    for part in (stream, leave, read_error):
        part(agents, sys.argv[1])
