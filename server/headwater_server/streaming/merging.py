"""Makes the chunks that the caller gets from the provider's deltas.

A stream reads all deltas that have arrived, each time its caller has taken the chunk before. At normal pace that is one
delta, and it becomes one chunk. When the caller was slow, or the provider wrote fast, several have arrived together.
Then text is merged with text, and thinking with thinking, within one content block and one event type, and their
tokens with them; anything else keeps its place between them. A message costs about the same at any size, so merging
lets a slow reader catch up.

Sizes are counted in characters, each at most four bytes of UTF-8: the bounds in bytes hold without encoding anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from headwater_server.domain.chunks import Beside, Chunk, Delta, ToolCallDelta
from headwater_server.domain.logprobs import size_of

MAX_MERGED_CHARACTERS = 16 * 1024  # at most 64 KiB of UTF-8
MAX_DELTA_CHARACTERS = 256 * 1024  # at most 1 MiB of UTF-8: far below gRPC's limit for a message


def merge(deltas: Sequence[Delta], after: int, create_time: float) -> list[Chunk]:
    """The chunks that stand for these deltas, which came together.

    Args:
        deltas: in their order.
        after: sequence number of the last delta before them.
        create_time: when they came, in seconds since the epoch.
    """
    if len(deltas) == 1 and _size(deltas[0]) <= MAX_DELTA_CHARACTERS:
        return [Chunk(after + 1, create_time, deltas[0])]
    chunks: list[Chunk] = []
    kind, size, pieces = "", 0, [""]
    for sequence, delta in enumerate(_sendable(deltas), after + 1):
        this = _kind(delta)
        text = getattr(delta, this) if this else ""
        weight = len(text) if delta.beside is None else len(text) + size_of(delta.beside.logprobs)
        if this and this == kind and size + weight <= MAX_MERGED_CHARACTERS and _alike(chunks[-1].delta, delta):
            pieces.append(text)
            size += weight
            chunks[-1].sequence = sequence
            if delta.beside is not None:
                _join_tokens(chunks[-1].delta, delta.beside)
            continue
        _join(chunks, kind, pieces)
        chunks.append(Chunk(sequence, create_time, delta))
        kind, size, pieces = this, weight, [text]
    _join(chunks, kind, pieces)
    return chunks


def merge_ahead(chunks: Iterator[Chunk]) -> tuple[Chunk, int]:
    """The first of these chunks merged with as many of the next ones as can be, and how many there are in it.

    The chunks themselves are left as they are: other readers get them too. There is at least one.
    """
    first = last = next(chunks)
    kind = _plain_kind(first.delta)
    pieces = [getattr(first.delta, kind)] if kind else []
    size = sum(map(len, pieces))
    for chunk in chunks if kind else ():
        text = getattr(chunk.delta, kind)
        size += len(text)
        if _plain_kind(chunk.delta) != kind or size > MAX_MERGED_CHARACTERS or not _alike(first.delta, chunk.delta):
            break
        pieces.append(text)
        last = chunk
    if len(pieces) < 2:
        return first, 1
    delta = Delta(event_type=first.delta.event_type, block=first.delta.block)
    setattr(delta, kind, "".join(pieces))
    return Chunk(last.sequence, first.create_time, delta, merged=True), len(pieces)


def _plain_kind(delta: Delta) -> str:
    """As `_kind`, but of a delta that has nothing beside its text."""
    return _kind(delta) if delta.beside is None else ""


def _join(chunks: list[Chunk], kind: str, pieces: list[str]) -> None:
    if len(pieces) > 1:
        setattr(chunks[-1].delta, kind, "".join(pieces))
        chunks[-1].merged = True


def _join_tokens(into: Delta, beside: Beside) -> None:
    into.beside = into.beside or Beside()
    into.beside.logprobs += beside.logprobs


def _kind(delta: Delta) -> str:
    """The field in which the delta can be merged or split; empty for a delta with another field or with several."""
    if delta.tool_calls or delta.thinking_signature or delta.redacted_thinking or delta.refusal:
        return ""
    if delta.beside is not None and (delta.beside.citations or delta.beside.images):
        return ""
    if delta.content:
        return "" if delta.thinking else "content"
    return "thinking" if delta.thinking else ""


def _alike(one: Delta, other: Delta) -> bool:
    return one.block == other.block and one.event_type == other.event_type


def _sendable(deltas: Iterable[Delta]) -> Iterator[Delta]:
    for delta in deltas:
        if _size(delta) > MAX_DELTA_CHARACTERS:
            yield from _split(delta)
        else:
            yield delta


def _size(delta: Delta) -> int:
    """The size of a delta in characters."""
    size = len(delta.content) + len(delta.thinking) + len(delta.refusal)
    for call in delta.tool_calls or ():
        size += len(call.arguments) + len(call.name) + len(call.id)
    return size + len(delta.thinking_signature) + len(delta.redacted_thinking)


def _split(delta: Delta) -> Iterator[Delta]:
    """The delta in pieces that each fit a message. Opaque fields stay whole: a reader could not join their pieces."""
    for field in ("thinking", "content", "refusal"):
        for text in _cut(getattr(delta, field)):
            yield _part(delta, field, text)
    for call in delta.tool_calls or ():
        for i, text in enumerate(_cut(call.arguments) or [""]):
            head = (call.id, call.name) if i == 0 else ("", "")
            part = ToolCallDelta(call.index, *head, arguments=text)
            yield Delta(tool_calls=[part], event_type=delta.event_type, block=delta.block)
    for field in ("thinking_signature", "redacted_thinking", "beside"):
        if value := getattr(delta, field):
            yield _part(delta, field, value)


def _part(delta: Delta, field: str, value: object) -> Delta:
    part = Delta(event_type=delta.event_type, block=delta.block)
    setattr(part, field, value)
    return part


def _cut(text: str) -> list[str]:
    return [text[start : start + MAX_DELTA_CHARACTERS] for start in range(0, len(text), MAX_DELTA_CHARACTERS)]
