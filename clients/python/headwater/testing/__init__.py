"""A server for tests: a real one, whose models give the replies that the test plans.

def test_greeting(headwater):  # a fixture that pytest finds by itself
    headwater.reply("Hello!")
    assert Agent(model="gpt-4o").run("Hi").content == "Hello!"
    assert headwater.requests[0].prompt == "Hi"

Without pytest: `with ScriptedServer() as headwater:`. Both need the server's packages, which the extra `server` brings.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headwater.testing.requests import Request
    from headwater.testing.server import OpenReply, ReplyOptions, ScriptedServer

__all__ = ["OpenReply", "ReplyOptions", "Request", "ScriptedServer"]


def __getattr__(name: str) -> Any:  # the plugin of pytest is loaded in runs that use nothing of this
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{'requests' if name == 'Request' else 'server'}"), name)
