"""Log probabilities of the tokens of a reply.

Only a request that asks for them gets a decoder that looks for them: the decoder of a wire is extended by one that
reads each event a second time. Servers write them in these shapes:

- a list of tokens, each with those that are most likely in its place (Ollama, Responses), or an object with such lists
  for the text, the thinking and the words of a refusal (Chat Completions);
- columns: the tokens, their log probabilities, the most likely ones (older Chat Completions, Fireworks, Together);
- one number, for the text beside it (Together's streams);
- the tokens that were chosen and those that were likely, apart (Gemini).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from headwater_server.domain.chunks import Beside, Delta
from headwater_server.domain.limits import MAX_LOGPROBS
from headwater_server.domain.logprobs import TokenKind, TokenLogprob, TopLogprob
from headwater_server.providers.wires.surrogates import without_surrogates

MAX_TOKEN = 256
"""Most characters of a token, and most of its bytes."""

MAX_SIZE = 64 * 1024
"""The most that the tokens of one delta may take, in characters."""

_DEEPEST = 3
_KINDS = {
    "content": TokenKind.TEXT,
    "reasoning_content": TokenKind.THINKING,
    "reasoning": TokenKind.THINKING,
    "refusal": TokenKind.REFUSAL,
}


def add_tokens(value: Any, said: Delta | None, more: list[Delta], first: int) -> None:
    """Adds the tokens in a value of any shape to the text with which they came.

    Tokens without a text, and those that are too many for one delta, are left in `more`.

    Args:
        value: as it came.
        said: the delta that an event became.
        more: further deltas.
        first: where those of this event begin.
    """
    deltas = [each for each in (said, *more[first:]) if each is not None]
    text = next((each for each in reversed(deltas) if each.content or each.thinking or each.refusal), None)
    groups = list(_groups(_tokens(value, text.content if text else "")))
    if text is not None and groups:
        kind = _kind(text)
        groups = [[_of_kind(token, kind) for token in group] for group in groups]
        text.beside = text.beside or Beside()
        text.beside.logprobs = groups.pop(0)
    more.extend(Delta(beside=Beside(logprobs=group)) for group in groups)


def _kind(delta: Delta) -> TokenKind:
    if delta.content:
        return TokenKind.TEXT
    return TokenKind.THINKING if delta.thinking else TokenKind.REFUSAL


def _of_kind(token: TokenLogprob, kind: TokenKind) -> TokenLogprob:
    """The token, of the kind of its text where the provider does not say."""
    return token if token.kind is not TokenKind.TEXT else msgspec.structs.replace(token, kind=kind)


def _groups(tokens: Iterator[TokenLogprob]) -> Iterator[list[TokenLogprob]]:
    """The tokens in lists that each fit into one delta."""
    group: list[TokenLogprob] = []
    size = 0
    for token in tokens:
        if group and size + token.size > MAX_SIZE:
            yield group
            group, size = [], 0
        group.append(token)
        size += token.size
    if group:
        yield group


def _tokens(value: Any, text: str, depth: int = 0) -> Iterator[TokenLogprob]:
    if isinstance(value, list):
        for each in value if depth < _DEEPEST else ():
            if isinstance(each, dict) and "token" in each:
                yield from _token(each, TokenKind.TEXT)
            else:
                yield from _tokens(each, text, depth + 1)
    elif isinstance(value, dict):
        for name, kind in _KINDS.items():
            for entry in _dicts(value.get(name)):
                yield from _token(entry, kind)
        yield from _columns(value)
        yield from _candidates(value)
    elif text and (logprob := _number(value)) is not None:
        yield TokenLogprob(text[:MAX_TOKEN], logprob)


def _token(entry: dict[str, Any], kind: TokenKind) -> Iterator[TokenLogprob]:
    for chosen in _likely(entry):
        yield TokenLogprob(chosen.token, chosen.logprob, chosen.token_bytes, _top(entry.get("top_logprobs")), kind)


def _columns(value: dict[str, Any]) -> Iterator[TokenLogprob]:
    """The tokens in columns; each place has its likely ones by their text."""
    logprobs, tops = _list(value.get("token_logprobs")), _list(value.get("top_logprobs"))
    for number, token in enumerate(_list(value.get("tokens"))[: len(logprobs)]):
        for chosen in _likely({"token": token, "logprob": logprobs[number]}):
            top = _top(tops[number]) if number < len(tops) else ()
            yield TokenLogprob(chosen.token, chosen.logprob, top=top)


def _candidates(value: dict[str, Any]) -> Iterator[TokenLogprob]:
    """The tokens as Gemini sends them, which leaves out a probability of 1 and an empty text: all that are zero."""
    tops = _dicts(value.get("topCandidates"))
    for number, entry in enumerate(_dicts(value.get("chosenCandidates"))):
        for chosen in _likely({"token": "", "logProbability": 0.0} | entry):
            top = tops[number].get("candidates") if number < len(tops) else None
            zeros: list[Any] = [{"token": "", "logProbability": 0.0} | each for each in _dicts(top)]
            yield TokenLogprob(chosen.token, chosen.logprob, top=_top(zeros))


def _top(value: Any) -> tuple[TopLogprob, ...]:
    """The likely tokens of a place: a list of objects, or probabilities by tokens."""
    if isinstance(value, dict):
        value = [{"token": token, "logprob": logprob} for token, logprob in value.items()]
    found = [likely for entry in _dicts(value)[:MAX_LOGPROBS] for likely in _likely(entry)]
    return tuple(sorted(found, key=lambda likely: -likely.logprob))


def _likely(entry: dict[str, Any]) -> Iterator[TopLogprob]:
    """The token of an object, unless its text or its number makes no sense."""
    token, logprob = entry.get("token"), _number(entry.get("logprob", entry.get("logProbability")))
    if isinstance(token, str) and logprob is not None:
        yield TopLogprob(without_surrogates(token)[:MAX_TOKEN], logprob, _bytes(entry.get("bytes")))


def _bytes(value: Any) -> bytes:
    try:
        return bytes(_list(value)[:MAX_TOKEN])
    except (TypeError, ValueError):
        return b""


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in _list(value) if isinstance(each, dict)]
