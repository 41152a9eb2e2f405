"""Processes whose threads a library has replaced."""

from __future__ import annotations

import sys
import types

import pytest

from headwater import Agent, HeadwaterError


@pytest.mark.parametrize(
    ("module", "function", "name"),
    [
        ("gevent.monkey", "is_module_patched", "gevent"),
        ("eventlet.patcher", "is_monkey_patched", "eventlet"),
    ],
)
@pytest.mark.parametrize("patched", ["threading", "socket", "select"])
async def test_a_patched_process_is_refused_at_once_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, module: str, function: str, name: str, patched: str
) -> None:
    stub = types.ModuleType(module)
    setattr(stub, function, lambda asked: patched.startswith(asked))
    monkeypatch.setitem(sys.modules, module, stub)
    with pytest.raises(HeadwaterError, match=rf"^{name} .*gthread"):
        Agent().run("Hi")
    with pytest.raises(HeadwaterError, match=rf"^{name} .*gthread"):
        await Agent().arun("Hi")


def test_a_library_that_is_only_imported_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = types.ModuleType("gevent.monkey")
    stub.is_module_patched = lambda asked: False  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gevent.monkey", stub)
    with pytest.raises(HeadwaterError, match="localhost:1"):
        Agent(target="localhost:1").run("Hi", timeout=5)
