"""An agent: a configured persona whose replies are streamed from a Headwater server."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Coroutine, Generator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from headwater._call.arguments import (
    ReasoningEffort,
    check_labels,
    check_options,
    message_count,
    parallel_calls,
    provider_key,
    refuse_base_url,
    tool_rounds,
)
from headwater._call.arguments import provider_headers as headers
from headwater._call.history import Exchange
from headwater._call.iterating import iterate
from headwater._call.reply_type import reply_type
from headwater._call.request import (
    PreparedCall,
    ResponseFormatLike,
    UnsupportedParams,
    add_choices,
    add_heartbeat,
    build_agent,
    check_size,
    conversation,
    merge_struct,
    with_context,
)
from headwater._call.response import AgentResponse, collect_response
from headwater._call.settings import Settings
from headwater._call.signatures import takes_arguments_of
from headwater._call.stream import AgentStream
from headwater._grpc.errors import CallersNames
from headwater._grpc.portal import portal
from headwater._grpc.service import fetch_provider_info, list_providers
from headwater._grpc.unary import CALL_SECONDS
from headwater._tools.calls import Toolbox
from headwater._tools.tool import ToolLike, to_tools
from headwater._values.images import Image
from headwater._values.messages import MessageLike, Prompt
from headwater._values.names import all_names_nearest
from headwater._values.validation import flag, invalid, seconds, struct, text
from headwater.streaming import StreamChunk
from headwater.v1.agent_pb2 import ChatMessage
from headwater.v1.agent_service_pb2 import StreamRequest

__all__ = ["Agent", "AgentResponse", "AgentStream", "Image"]


@all_names_nearest
class Agent(Settings):
    """A persona with instructions, a model and a memory of its conversation.

    Making one does no I/O, and it needs no closing: agents of one server share a connection on each event loop. An
    agent may be used from several threads and event loops at once. Each parameter is an attribute too, which may be
    changed at any time and counts from the next call on; a bad value is refused at once or by that call. All but
    `name`, `target`, `connection`, `token`, `max_tool_rounds` and `tool_timeout` can be set for a single call as well.

    A copy, also one that was pickled, has the settings and another history, empty at first.

    Args:
        name: a name for people.
        instructions: the system prompt, before the conversation.
        model: such as `gpt-4o-mini` or `anthropic/claude-sonnet-4-6`; None for the default of the provider or server.
        provider: name of a provider of the server; None: found by the model's name.
        temperature: 0 to 2 (Anthropic: to 1); None for the provider's default.
        max_tokens: most tokens of a reply; None for the provider's default.
        timeout: seconds that a call may take in all; None for no limit.
        target: address of the server; None for HEADWATER_TARGET or, unset, localhost:50051, looked up at each call.
        connection: a `Connection` to the server instead of a target, to share it and to say when it closes.
        token: lets this caller into the server, instead of the connection's token: a str, or a function that returns it
            and is called again, in a thread, before each call. The connection is not encrypted: keep it inside a
            network you trust.
        reasoning_effort: how hard a reasoning model thinks: "none", "minimal", "low", "medium", "high", "xhigh" or
            "max"; None for the provider's default.
        logprobs: reports each token of a reply with its log probability, and so many of the most likely tokens in its
            place, 0 to 20; True for 0. See `StreamChunk.logprobs`.
        instructions_cache: asks the provider to keep the prompt up to the end of the instructions: True, or for so many
            seconds at least.
        labels: for the server's log, such as `{"team": "billing"}`: at most 16, keys of 1 to 63 lower-case letters,
            digits, `_`, `-` or `.`, values of at most 256 characters. A call may add more. The provider gets none.
        user: your id of the end user, at most 256 characters, for providers that take one to find abuse.
        history: most messages of the conversation that are kept and sent with a call, the last ones; 0 for none. A
            prompt is kept with its reply or not at all, so an odd number counts as the even one below it.
        fallback_models: models that are asked when `model` fails before the first chunk, in order.
        max_attempts: how often providers are asked until a reply begins, 1 to 10; None for the server's setting.
        api_key: the caller's own key for the provider, where the server allows it.
        provider_headers: the caller's own headers for the provider, such as `{"x-session-id": "7"}`, where the server
            allows them. A call may add more.
        tools: functions that the model may call while it replies, sync or async, with or without `@tool`. A call then
            continues until the model has said all it wants to say. The schema of a function's arguments comes from its
            signature, which needs pydantic (`pip install pydantic`).
        parallel_tool_calls: whether the model may ask for several calls at once; None for the provider's default.
        max_tool_rounds: how often the model may ask for tools in one call, at least 1; past it, ToolError.
        tool_timeout: seconds that each call of a tool may take; one that takes longer has failed, and the model
            learns it. None for no limit.
        messages: a conversation to continue, as `agent.messages` gave it: it fills the history.
        base_url: not taken; the error says where the address of a provider belongs.

    Raises:
        ValidationError: for a bad value; the message names it.
        ToolError: for a tool made of a function, when pydantic is not installed.
    """

    def _begin(self, history: int) -> None:
        super()._begin(history)
        self._streams: weakref.WeakSet[AgentStream] = weakref.WeakSet()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_streams"}

    def stream(
        self,
        /,
        prompt: Prompt = "",
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        top_p: float | None = None,
        frequency_penalty: float | None = None,
        presence_penalty: float | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        reasoning_effort: ReasoningEffort | None = None,
        logprobs: int | bool | None = None,
        instructions: str | None = None,
        instructions_cache: float | bool | None = None,
        context: Mapping[str, Any] | None = None,
        messages: Sequence[MessageLike] | None = None,
        history: int | None = None,
        tools: Iterable[ToolLike] | None = None,
        parallel_tool_calls: bool | None = None,
        response_format: ResponseFormatLike | None = None,
        model: str | None = None,
        provider: str | None = None,
        timeout: float | None = None,
        timeouts: Mapping[str, float] | None = None,
        heartbeat: float | None = None,
        resumable: bool = True,
        fallback_models: Sequence[str] | None = None,
        max_attempts: int | None = None,
        unsupported_params: UnsupportedParams | None = None,
        provider_options: Mapping[str, Mapping[str, Any]] | None = None,
        labels: Mapping[str, str] | None = None,
        user: str | None = None,
        api_key: str | None = None,
        provider_headers: Mapping[str, str] | None = None,
        base_url: str | None = None,
        **options: Any,
    ) -> AgentStream:
        """Stream a reply: `async for chunk in agent.stream("..."): print(chunk.content, end="")`.

        Returns at once; nothing is sent before the first chunk is asked for. The call is as things are now: its
        history, and the agent's settings. When the reply is complete, prompt and reply enter the history together;
        when it is left or cut, they do with the text that had come, marked, until the same prompt is tried again.

        With tools, their calls are run as the model asks for them, all of a round at once, and the reply continues. It
        is one stream: a chunk with `metadata["tool_calls"]` before they run, one with `metadata["tool_results"]` after,
        and one final chunk at the end. A call that fails has its error as result, for the model.

        Args:
            prompt: the question: text, or a list of texts, `Image`s and dicts such as `{"type": "image_url", ...}`. May
                be empty with `messages`.
            temperature: 0 to 2 (Anthropic: to 1).
            max_tokens: most tokens of the reply, thinking included.
            top_p: above 0, up to 1.
            frequency_penalty: -2 to 2.
            presence_penalty: -2 to 2.
            stop: one or several sequences that end the reply.
            seed: for replies that repeat, as far as the provider can.
            reasoning_effort: how hard a reasoning model thinks, instead of the agent's.
            logprobs: instead of the agent's; False for none.
            instructions: instead of the agent's.
            instructions_cache: instead of the agent's; False for none.
            context: facts, appended to the instructions as `key: value` lines.
            messages: a conversation instead of the history, as dicts with `role` and `content`; the prompt follows it.
                Such a call leaves the history as it is.
            history: most messages of the conversation that this call sends, of those that the agent keeps; with 0 it
                sends none and leaves the history as it is.
            tools: instead of the agent's; an empty list for none.
            parallel_tool_calls: whether the model may ask for several calls at once; needs tools.
            response_format: "text", "json", `{"type": "json_schema", "json_schema": {...}}`, a JSON Schema, or a
                class such as a pydantic model: `run` and `arun` then return a reply whose `parsed` is one.
            model: instead of the agent's.
            provider: instead of the agent's. Unless the agent names the same one, its model is then not used, since
                another provider does not have it: name one with `model`, or get the provider's default.
            timeout: seconds that the call may take in all.
            timeouts: seconds to wait for the provider, instead of the server's: `connect`, `first_chunk`, `next_chunk`
                (between two), `total`; above 0, at most 86400.
            heartbeat: seconds, at least 1, after which the server sends something on a line that is quiet, for proxies
                that cut such lines; None for nothing. No chunk comes of it.
            resumable: whether a lost connection is replaced by another one, on which the reply continues.
            fallback_models: instead of the agent's; an empty list for none, also of the models of an alias.
            max_attempts: instead of the agent's.
            unsupported_params: "error" (default) or "drop", in any case: the treatment of a parameter that the
                provider lacks.
            provider_options: for each provider, fields of its API.
            labels: for the server's log, added to the agent's.
            user: your id of the end user, instead of the agent's.
            api_key: the caller's own key for the provider, where the server allows it.
            provider_headers: added to the agent's. One that the server does not allow is a ValidationError.
            base_url: not taken; the error says where the address of a provider belongs.
            **options: fields of the API of the provider in use, JSON values. Where no `provider` is named, the server
                is asked once which it is. `name`, `target`, `token` and `system` are refused.

        Raises:
            ValidationError: for a bad argument; the message names it.
            MessageTooLargeError: for a request over 32 MiB.

        Iterating it raises the exceptions of `headwater.exceptions`.
        """
        if base_url is not None:
            refuse_base_url()
        check_options(options, _ARGUMENTS)
        given, asked = conversation(prompt, messages)
        exchange = self._exchange(asked, messages is not None, history)
        before = exchange.messages if exchange else given
        model, provider = self._model_and_provider(model, provider)
        toolbox = self._toolbox(tools)
        config = build_agent(
            instructions=with_context(self.instructions if instructions is None else instructions, context),
            model=model,
            provider=provider,
            sampling_values={
                "temperature": self.temperature if temperature is None else temperature,
                "max_tokens": self.max_tokens if max_tokens is None else max_tokens,
                "top_p": top_p,
                "frequency_penalty": frequency_penalty,
                "presence_penalty": presence_penalty,
                "stop": stop,
                "seed": seed,
            },
            reasoning_effort=self.reasoning_effort if reasoning_effort is None else reasoning_effort,
            labels={**check_labels(self.labels), **check_labels(labels)},
            user=self.user if user is None else user,
            logprobs=self.logprobs if logprobs is None else logprobs,
            instructions_cache=self.instructions_cache if instructions_cache is None else instructions_cache,
            timeouts=timeouts,
            fallback_models=self.fallback_models if fallback_models is None else fallback_models,
            max_attempts=self.max_attempts if max_attempts is None else max_attempts,
        )
        add_choices(
            config,
            response_format=response_format,
            unsupported_params=unsupported_params,
            provider_options=provider_options,
            toolbox=toolbox,
            parallel_tool_calls=self._parallel_calls(parallel_tool_calls, toolbox),
        )
        extra = struct("options", options) if options else None
        if extra is not None and provider:
            merge_struct(config.provider_options[provider], extra)
            extra = None
        sent = [*before, *([asked] if asked is not None else [])]
        request = StreamRequest(agent=config, messages=sent, resumable=flag("resumable", resumable))
        add_heartbeat(request, heartbeat)
        check_size(request)
        limit = self.timeout if timeout is None else timeout
        limit = None if limit is None else seconds("timeout", limit)
        names = CallersNames(
            len(exchange.messages) if exchange else 0, len(before) if asked is not None else None, frozenset(options)
        )
        key = provider_key(self._api_key if api_key is None else api_key)
        own = {**self._provider_headers, **headers(provider_headers)}
        call = PreparedCall(self._server(), request, limit, extra, names, toolbox, key, own)
        stream = AgentStream(call, exchange, self._find_provider)
        with self._lock:
            self._streams.add(stream)
        return stream

    @takes_arguments_of(stream)
    async def arun(self, *args: Any, **kwargs: Any) -> AgentResponse:
        """The whole reply. Arguments and errors as for `stream`."""
        return await self._collect(args, kwargs)

    @takes_arguments_of(stream)
    def run(self, *args: Any, **kwargs: Any) -> AgentResponse:
        """The whole reply, without async. Arguments and errors as for `stream`.

        Works inside a running event loop too, which it blocks meanwhile; `await agent.arun(...)` does not.
        """
        return portal().call(self._collect(args, kwargs))

    def _collect(self, args: Any, kwargs: Any) -> Coroutine[Any, Any, AgentResponse]:
        stream = self.stream(*args, **kwargs)
        return collect_response(stream, self.id, reply_type(kwargs.get("response_format")))

    @takes_arguments_of(stream)
    def stream_sync(self, *args: Any, **kwargs: Any) -> Generator[StreamChunk, None, None]:
        """The chunks of a reply as a plain generator, for scripts, Flask or Celery.

        Arguments and errors as for `stream`. Leaving the loop ends the call. A generator that is kept in a variable and
        not read to its end must be closed (`close()`, or `contextlib.closing`): until then the provider works on.
        """
        return iterate(self.stream(*args, **kwargs))

    async def aget_provider_info(self) -> dict[str, Any]:
        """As `get_provider_info`, without blocking."""
        server = self._server()
        info = await fetch_provider_info(
            server, text("provider", self.provider or ""), text("model", self.model or ""), self.timeout
        )
        return {
            "provider": info.name,
            "model": info.model or None,
            "supports_streaming": info.supports_streaming,
            "supports_tools": info.supports_tools,
            "timeout": self.timeout,
            "max_retries": 0,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }

    def get_provider_info(self) -> dict[str, Any]:
        """Which provider and model answer this agent, and what they can do.

        Returns:
            `provider`, `model` (None where the provider has no default), `supports_streaming`, `supports_tools`, and
            the agent's own `timeout`, `temperature` and `max_tokens`; `max_retries` is 0: nothing repeats a call.

        Raises:
            HeadwaterError: as `stream` raises them.
        """
        return portal().call(self.aget_provider_info())

    async def alist_available_providers(self) -> list[str]:
        """As `list_available_providers`, without blocking."""
        found = await list_providers(self._server(), self.timeout or CALL_SECONDS)
        return [provider.name for provider in found.providers]

    def list_available_providers(self) -> list[str]:
        """Names of the providers that are configured in the server.

        Raises:
            HeadwaterError: as `stream` raises them.
        """
        return portal().call(self.alist_available_providers())

    async def aclose(self) -> None:
        """End the streams of this agent that are still running. It can be used again afterwards."""
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.interrupt()

    async def __aenter__(self) -> Agent:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _exchange(self, asked: ChatMessage | None, has_messages: bool, limit: int | None) -> Exchange | None:
        """A call's part in the history; None when it has none."""
        if limit is not None and message_count(limit) and has_messages:
            raise invalid("history", "has no place beside messages=, which are sent instead of it")
        return None if asked is None or has_messages or limit == 0 else self._history.begin(asked, limit)

    def _toolbox(self, tools: Iterable[ToolLike] | None) -> Toolbox | None:
        """The tools of a call; None when it has none."""
        offered = self._tools if tools is None else to_tools(tools)
        if not offered:
            return None
        limit = None if self.tool_timeout is None else seconds("tool_timeout", self.tool_timeout)
        return Toolbox({tool.name: tool for tool in offered}, limit, tool_rounds(self.max_tool_rounds))

    def _parallel_calls(self, given: bool | None, toolbox: Toolbox | None) -> bool | None:
        if given is not None and toolbox is None:
            raise invalid("parallel_tool_calls", "has no meaning without tools; give tools=, or leave it out")
        return parallel_calls(self.parallel_tool_calls if given is None else given)

    def _model_and_provider(self, model: str | None, provider: str | None) -> tuple[str | None, str | None]:
        if model is None and (provider is None or provider == (self.provider or "")):
            model = self.model
        return model, self.provider if provider is None else provider

    async def _find_provider(self, call: PreparedCall) -> str:
        """The provider that will answer a call that names none; the server routes, so it is asked, once a model."""
        key = (call.server.target, call.request.agent.model)
        if key not in self._providers:
            info = await fetch_provider_info(call.server, "", call.request.agent.model, call.timeout)
            self._providers[key] = info.name
        return self._providers[key]


_ARGUMENTS = tuple(inspect.signature(Agent.stream).parameters)
