"""Runs programs that were written for AgentiCraft, with nothing changed but the name of the package."""

from __future__ import annotations

import ast
import asyncio
import inspect
import textwrap
from typing import Any


def run(program: str, **names: Any) -> dict[str, Any]:
    """Runs a program, whose top level may await as a notebook's does, and returns its names.

    Args:
        program: its text, in which the package is called `agenticraft`.
        names: further names that it finds; the guide's snippets leave some to their readers.
    """
    text = textwrap.dedent(program)
    assert "headwater" not in text
    code = compile(text.replace("agenticraft", "headwater"), "<program>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    namespace = {"__name__": "__main__", **names}
    result = eval(code, namespace)  # noqa: S307  programs of the tests
    if inspect.iscoroutine(result):
        asyncio.run(result)
    return namespace
