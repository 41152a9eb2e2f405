"""The settings of an agent: each checked when it is given, and what a copy of the agent takes along."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headwater._call.arguments import (
    ReasoningEffort,
    attempts,
    check_labels,
    check_user,
    effort,
    fallbacks,
    logprob_count,
    message_count,
    parallel_calls,
    provider_headers,
    provider_key,
    refuse_base_url,
    sampling,
    tool_rounds,
)
from headwater._call.history import History, to_turns
from headwater._grpc.connection import Connection
from headwater._grpc.server import Server, Token, check_target, check_token, resolve_server
from headwater._tools.tool import Tool, ToolLike, to_tools
from headwater._values.durations import cache_hint
from headwater._values.messages import MessageLike
from headwater._values.names import all_names_nearest
from headwater._values.validation import invalid, seconds, text


@all_names_nearest
class Settings:
    """The settings of an agent. `Agent` says what the arguments mean."""

    def __init__(
        self,
        name: str = "Agent",
        instructions: str = "",
        model: str | None = None,
        provider: str | None = None,
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout: float | None = None,
        target: str | None = None,
        connection: Connection | None = None,
        token: Token | None = None,
        history: int = 20,
        reasoning_effort: ReasoningEffort | None = None,
        logprobs: int | bool | None = None,
        instructions_cache: float | bool | None = None,
        labels: Mapping[str, str] | None = None,
        user: str | None = None,
        fallback_models: Sequence[str] | None = None,
        max_attempts: int | None = None,
        api_key: str | None = None,
        provider_headers: Mapping[str, str] | None = None,
        tools: Iterable[ToolLike] = (),
        parallel_tool_calls: bool | None = None,
        max_tool_rounds: int = 10,
        tool_timeout: float | None = 60.0,
        messages: Sequence[MessageLike] = (),
        base_url: str | None = None,
    ) -> None:
        if base_url is not None:
            refuse_base_url()
        self.name = text("name", name)
        self.instructions = text("instructions", instructions)
        self.model = None if model is None else text("model", model)
        self.provider = None if provider is None else text("provider", provider)
        sampling({"temperature": temperature, "max_tokens": max_tokens})
        self.temperature = temperature
        self.max_tokens = max_tokens
        if reasoning_effort is not None:
            effort(reasoning_effort)
        self.reasoning_effort = reasoning_effort
        logprob_count(logprobs)
        self.logprobs = logprobs
        cache_hint("instructions_cache", instructions_cache)
        self.instructions_cache = instructions_cache
        self.labels = check_labels(labels)
        check_user(user)
        self.user = user
        fallbacks(fallback_models)
        self.fallback_models = fallback_models
        self.max_attempts = attempts(max_attempts)
        self.parallel_tool_calls = parallel_calls(parallel_tool_calls)
        self.timeout = None if timeout is None else seconds("timeout", timeout)
        self.target = None if target is None else check_target("target", target)
        self.connection = connection
        self._check_connection()
        self.token = token
        self.api_key = api_key
        self.provider_headers = provider_headers
        self._tools = to_tools(tools)
        self.max_tool_rounds = tool_rounds(max_tool_rounds)
        self.tool_timeout = None if tool_timeout is None else seconds("tool_timeout", tool_timeout)
        self._begin(message_count(history))
        self.messages = messages

    def _begin(self, history: int) -> None:
        """The state of an agent beside its settings."""
        self.id = uuid.uuid4().hex
        self._history = History(history)
        self._lock = threading.Lock()
        self._providers: dict[tuple[str, str], str] = {}

    def __getstate__(self) -> dict[str, Any]:
        own = ("id", "_history", "_lock", "_providers")
        return {name: value for name, value in vars(self).items() if name not in own} | {"history": self.history}

    def __setstate__(self, state: dict[str, Any]) -> None:
        settings = dict(state)
        self._begin(settings.pop("history"))
        vars(self).update(settings)

    @property
    def history(self) -> int:
        """Most messages that are kept and sent with a call; fewer than before: older ones are forgotten."""
        return self._history.limit

    @history.setter
    def history(self, messages: int) -> None:
        self._history.set_limit(message_count(messages))

    @property
    def token(self) -> Token | None:
        """Lets this caller into the server."""
        return self._token

    @token.setter
    def token(self, token: Token | None) -> None:
        self._token = check_token(token)

    @property
    def api_key(self) -> str | None:
        """The caller's own key for the provider."""
        return self._api_key

    @api_key.setter
    def api_key(self, api_key: str | None) -> None:
        self._api_key = provider_key(api_key) or None

    @property
    def provider_headers(self) -> Mapping[str, str] | None:
        """The caller's own headers for the provider."""
        return self._provider_headers or None

    @provider_headers.setter
    def provider_headers(self, headers: Mapping[str, str] | None) -> None:
        self._provider_headers = provider_headers(headers)

    @property
    def tools(self) -> tuple[Tool[..., Any], ...]:
        """The tools that the model may call; assign a list of functions or tools to change it."""
        return self._tools

    @tools.setter
    def tools(self, tools: Iterable[ToolLike]) -> None:
        self._tools = to_tools(tools)

    def add_tool(self, tool: ToolLike, /) -> None:
        """Let the model call one more tool, from the next call on.

        Args:
            tool: a function, sync or async, with or without `@tool`, or a tool such as `calculator_tool`.

        Raises:
            ValidationError: for a function that cannot be described, and for a name that the agent has already.
            ToolError: for a tool made of a function, when pydantic is not installed.
        """
        with self._lock:
            self._tools = to_tools([*self._tools, tool])

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, model={self.model!r}, provider={self.provider!r})"

    def set_provider(self, name: str, model: str | None = None) -> None:
        """Use another provider from the next call on.

        Args:
            name: its name in the server.
            model: one of its models; None for its default. The agent's earlier model is forgotten.
        """
        if not text("name", name):
            raise invalid("name", "is empty; write the name of a provider")
        self.model = None if model is None else text("model", model)
        self.provider = name

    @property
    def messages(self) -> Any:
        """The conversation that is kept, oldest first, as a list of dicts in the form that `messages=` takes; a copy.

        A reply of which only a part came has `interrupted: True`. To put a conversation back, assign such a list: it
        replaces the messages that are kept, and calls that are still running add nothing to it.
        """
        return self._history.as_dicts()

    @messages.setter
    def messages(self, messages: Sequence[MessageLike]) -> None:
        self._history.replace(to_turns(messages))

    def clear_memory(self) -> None:
        """Forget the conversation, and what calls that are still running would add to it."""
        self._history.clear()

    def _check_connection(self) -> None:
        if self.connection is not None and not isinstance(self.connection, Connection):
            raise invalid("connection", f"must be a Connection, not {type(self.connection).__name__}")
        if self.connection is not None and self.target is not None:
            raise invalid("target", "has no place beside connection=, which names the server")

    def _server(self) -> Server:
        self._check_connection()
        if self.connection is None:
            return resolve_server(self.target, self._token)
        return self.connection.server_of_call(self._token)
