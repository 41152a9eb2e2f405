"""Tools: functions that a model may call, and their descriptions for it."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, ParamSpec, TypeAlias, TypeVar, overload

from headwater._tools.docstrings import Description, check_described
from headwater._tools.schema import (
    ArgumentsError,
    Schema,
    bound_names,
    check_signature,
    describe,
    make_schema,
    own_name,
    read_signature,
)
from headwater._tools.sloppy import read_object
from headwater._values.durations import cache_hint
from headwater._values.json_values import json_text
from headwater._values.names import all_names_nearest, names_nearest
from headwater._values.validation import flag, invalid, text
from headwater.v1 import agent_pb2

P = ParamSpec("P")
R = TypeVar("R")

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@all_names_nearest
class Tool(Generic[P, R]):
    """A function that a model may call; calling the tool calls the function.

    Args:
        function: sync or async. A sync one runs in a separate thread, so it may block.
        name: 1 to 64 letters, digits, `_` or `-`; None for the function's own.
        description: its purpose, for the model; None for the function's docstring.
        parameters: JSON Schema of the arguments, an object, for a function that checks them itself; None for the schema
            of its signature, against which arguments are then checked.
        thread: whether a sync function runs in a separate thread, or else where the call was made: in the thread that
            waits in `run`, `stream_sync` and the like, under asyncio in the loop's, which it blocks. For things that
            are bound to a thread, such as a connection to SQLite. It cannot be interrupted there, so `tool_timeout`
            counts only once it has returned.
        cache: True asks the provider to keep the prompt up to this tool for later requests, a number asks it for so
            many seconds at least. Providers that take no such hint ignore it.

    Raises:
        ValidationError: for a bad name, or a function that cannot be described, such as one with `*args`.

    Attributes:
        function: the function.
        name: its name for the model.
        description: its description for the model.
        thread: whether it runs in a separate thread.
        cache: whether, or for how many seconds, the provider is asked to keep the prompt up to it.
    """

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        thread: bool = True,
        cache: bool | float = False,
    ) -> None:
        if not callable(function):
            raise invalid("tool", f"must be a function, not {type(function).__name__}")
        self.name = text("name", own_name(function) if name is None else name)
        if not _NAME.fullmatch(self.name):
            raise invalid("name", f"must be 1 to 64 letters, digits, _ or -, not {self.name[:80]!r}: tool(name=...)")
        self._field = f"tool {self.name}"
        described = describe(function) if parameters is None or description is None else Description("")
        self.description = text("description", described.text if description is None else description)
        self.function = function
        if not flag("thread", thread) and is_async(function):
            raise invalid("thread", "has no meaning for an async function, which runs on the event loop; leave it out")
        self.thread = thread
        self.cache = cache
        self._cache_hint = cache_hint("cache", cache)
        if parameters is not None and not isinstance(parameters, Mapping):
            raise invalid("parameters", f"must be a JSON Schema, a dict, not {type(parameters).__name__}")
        self._given = None if parameters is None else dict(parameters)
        self._given_json = "" if parameters is None else json_text("parameters", self._given)
        self._schema: Schema | None = None
        self._signature = read_signature(self._field, function)
        if parameters is None:
            check_signature(self._field, self._signature)
            check_described(self._field, described, {*self._signature.parameters, *bound_names(function)})
        # Attributes that inspect, help() and pickle read.
        self.__name__ = self.name
        self.__doc__ = self.description
        self.__module__ = getattr(function, "__module__", None) or __name__
        self.__qualname__ = getattr(function, "__qualname__", self.name)
        self.__wrapped__ = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Tool[..., R]:
        """The tool of an instance, for a method that is decorated in its class."""
        if instance is None or not hasattr(self.function, "__get__"):
            return self
        bound = self.function.__get__(instance, owner)
        return _rebuild(bound, self.name, self.description, self._given, self.thread, self.cache)

    def __repr__(self) -> str:
        return f"Tool({self.name!r})"

    def __reduce__(self) -> str | tuple[Any, ...]:
        if getattr(sys.modules.get(self.__module__), self.__qualname__, None) is self:
            return str(self.__qualname__)  # made by the decorator: the module has it under the function's name
        return _rebuild, (self.function, self.name, self.description, self._given, self.thread, self.cache)

    @property
    def parameters(self) -> dict[str, Any]:
        """JSON Schema of the arguments."""
        return self._given if self._given is not None else self._arguments().json

    def definition(self) -> agent_pb2.Tool:
        """Its message in a request."""
        parameters = self._given_json if self._given is not None else json_text(self._field, self.parameters)
        function = agent_pb2.FunctionTool(name=self.name, description=self.description, parameters_json=parameters)
        return agent_pb2.Tool(function=function, cache=self._cache_hint)

    def bind(self, arguments: str) -> inspect.BoundArguments:
        """The arguments of a call, from the model's JSON text, checked. Raises ArgumentsError."""
        if self._given is None:
            return self._arguments().bind(arguments)
        values = read_object(arguments)
        if values is None:
            raise ArgumentsError("the arguments are not a JSON object")
        try:
            return self._signature.bind(**values)
        except TypeError as error:
            raise ArgumentsError(str(error)) from None

    def _arguments(self) -> Schema:
        if self._schema is None:
            self._schema = make_schema(self._field, self.function)
        return self._schema


ToolLike: TypeAlias = Tool[..., Any] | Callable[..., Any]


def _rebuild(
    function: Callable[..., Any],
    name: str,
    description: str,
    parameters: Mapping[str, Any] | None,
    thread: bool,
    cache: bool | float,
) -> Tool[..., Any]:
    return Tool(function, name=name, description=description, parameters=parameters, thread=thread, cache=cache)


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a function, or the `__call__` of an object, is an async one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...


@overload
def tool(
    *, name: str | None = None, description: str | None = None, thread: bool = True, cache: bool | float = False
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


@names_nearest
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    thread: bool = True,
    cache: bool | float = False,
) -> Any:
    """Make a function a tool: `@tool`, or `@tool(name=..., description=...)`. It can still be called as before.

    Args:
        function: the function; sync, async, or a method.
        name: its name for the model, 1 to 64 letters, digits, `_` or `-`; None for the function's own name.
        description: its description for the model; None for its docstring.
        thread: whether a sync function runs in a separate thread, or else where the call was made; see `Tool`.
        cache: whether the provider is asked to keep the prompt up to this tool; see `Tool`.

    Raises:
        ValidationError: for a bad name, or a function that cannot be described, such as one with `*args`.
    """
    if function is None:
        return lambda decorated: Tool(decorated, name=name, description=description, thread=thread, cache=cache)
    return Tool(function, name=name, description=description, thread=thread, cache=cache)


def to_tools(tools: Any) -> tuple[Tool[..., Any], ...]:
    """The tools that a caller gave, each with its schema made. Raises ValidationError."""
    if isinstance(tools, str | bytes | Mapping) or not isinstance(tools, Iterable):
        raise invalid("tools", "must be a list of functions or tools")
    result: list[Tool[..., Any]] = []
    for index, given in enumerate(tools):
        if not isinstance(given, Tool) and not callable(given):
            raise invalid(f"tools[{index}]", f"must be a function or a tool, not {type(given).__name__}")
        made = given if isinstance(given, Tool) else Tool(given)
        if any(other.name == made.name for other in result):
            raise invalid(f"tools[{index}]", f"has the name of an earlier tool, {made.name!r}; names must differ")
        made.definition()  # its mistakes belong here, not into a call
        result.append(made)
    return tuple(result)
