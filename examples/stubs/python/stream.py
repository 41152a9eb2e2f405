"""Streams a reply with nothing but the generated stub: python stream.py PROMPT [PROVIDER]"""

import os
import sys

import grpc

from headwater.v1 import AgentServiceStub, StreamRequest

prompt, provider = (*sys.argv[1:], "")[:2]
with grpc.insecure_channel(os.environ.get("HEADWATER_TARGET", "localhost:50051")) as channel:
    for chunk in AgentServiceStub(channel).Stream(StreamRequest(prompt=prompt, provider=provider)):
        print(chunk.content, end="", flush=True)
print()
