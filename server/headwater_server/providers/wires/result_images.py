"""Images in the results of tools, for APIs whose results are text.

The images move into a user message after the results: into the caller's, when one follows, since some models want
users and assistants to alternate. Each result says by a number which images it had.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from headwater_server.domain.messages import Image, Message, Part, Role, Text, ToolResult, kinds_of


def images_after_results(messages: Sequence[Message]) -> Iterator[tuple[int, Message]]:
    """The conversation with text alone in its results, each message with the place of the one that it was made of."""
    return _moved(messages) if ToolResult in kinds_of(messages) else enumerate(messages)


def _moved(messages: Sequence[Message]) -> Iterator[tuple[int, Message]]:
    waiting: list[Part] = []
    for number, message in enumerate(messages):
        if waiting and message.role is Role.USER:
            message = replace(message, parts=(*waiting, *message.parts))
            waiting = []
        elif waiting and message.role is not Role.TOOL:
            yield number - 1, Message(Role.USER, tuple(waiting))
            waiting = []
        yield number, replace(message, parts=tuple(_in_text(part, waiting) for part in message.parts))
    if waiting:
        yield len(messages) - 1, Message(Role.USER, tuple(waiting))


def _in_text(part: Part, images: list[Part]) -> Part:
    """The part, a result with images as its text with their numbers; they are added to `images`, each after its own."""
    if not isinstance(part, ToolResult) or not part.parts:
        return part
    texts = []
    for item in part.parts:
        if isinstance(item, Image):
            label = f"[image {len(images) // 2 + 1}]"
            images += [Text(f"{label} of the result of {part.name or 'the tool'}:"), item]
            texts.append(f"{label}, see the next message")
        else:
            texts.append(item.text)
    return replace(part, content="\n".join(texts), parts=())
