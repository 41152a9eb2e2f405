"""A serving process does not load some modules, and it can start programs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

BUSY_SERVER_THAT_STARTS_PROGRAMS = """
import headwater_server.processes.server_process
import asyncio, grpc, uvloop

async def talk(request, context):
    for _ in range(50):
        await context.write(b"x")

async def call(channel):
    while True:
        call = channel.unary_stream("/s/m")(b"")
        while await call.read() is not grpc.aio.EOF:
            pass

async def main():
    server = grpc.aio.server()
    handlers = {"m": grpc.unary_stream_rpc_method_handler(talk)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("s", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    codes = set()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        callers = [asyncio.create_task(call(channel)) for _ in range(10)]
        for _ in range(400):
            program = await asyncio.create_subprocess_exec("true")
            codes.add(await program.wait())
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
    await server.stop(None)
    print(codes)

uvloop.run(main())
"""


def run(code: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return done.stdout


SERVING = """
import os, sys

class Look:
    def find_spec(self, name, *_):
        if name == "grpc":
            print(os.environ["GRPC_ENABLE_FORK_SUPPORT"])

sys.meta_path.insert(0, Look())
import headwater_server.processes.server_process
print(sys.modules["httpx._main"], "rich" in sys.modules)
print({"jwt", "cryptography"} & set(sys.modules), "h11" in sys.modules)
from headwater_server.providers.http.client import HttpClient, Way
HttpClient("test")
print("aiohttp" in sys.modules)
HttpClient("test", way=Way(proxy="http://proxy.example:1"))
print("aiohttp" in sys.modules)
import cel
print("rich" in sys.modules)
"""


@pytest.fixture(scope="module")
def serving() -> list[str]:
    """The lines of `SERVING`."""
    return run(SERVING).splitlines()


def test_a_serving_process_tells_grpc_to_keep_out_of_forks_before_it_is_imported(serving):
    assert serving[0] == "0"


def test_a_serving_process_does_not_load_the_command_line_of_httpx_nor_what_draws_tracebacks(serving):
    assert serving[1] == "None False"


def test_a_serving_process_without_issuers_and_certificates_of_callers_loads_no_cryptography(serving):
    assert serving[2].startswith("set()")


def test_a_serving_process_without_an_admin_address_loads_nothing_that_reads_its_requests(serving):
    assert serving[2].endswith("False")


def test_only_a_proxy_loads_the_library_that_reaches_it(serving):
    assert serving[3:5] == ["False", "True"]


def test_a_condition_can_still_be_evaluated_by_a_library_that_needs_rich(serving):
    assert serving[5] == "True"


def test_no_program_that_a_busy_server_starts_dies_before_it_begins():
    """Of 400, several did: gRPC ran in the new process between fork and exec."""
    assert run(BUSY_SERVER_THAT_STARTS_PROGRAMS) == "{0}\n"


COMMAND = """
import sys

class Look:
    def find_spec(self, name, *_):
        if name == "grpc":
            import os
            print(os.environ["GRPC_ENABLE_FORK_SUPPORT"], flush=True)
            os._exit(0)

sys.meta_path.insert(0, Look())
import headwater.cli
sys.argv = ["headwater", "serve", "--data-dir", "/dev/null"]
headwater.cli.main()
"""


def test_the_command_tells_grpc_to_keep_out_of_forks_before_it_is_imported():
    assert run(COMMAND) == "0\n"
