"""A workflow as a file: the message `headwater.v1.Workflow` in YAML, field for field.

Theory of operation. YAML is composed into nodes, which know their lines, and read along the descriptors of the message:
so every mistake is found at once, with its line, its field and its cure. A value that YAML would read as another type
than text (`yes`, `1:30`, `2025-03-01`) is refused where text belongs, not guessed. Protobuf's own JSON parser then
makes the message, and has the last word.

A file is hostile: its size and its depth are bounded, and so is what it comes to with its aliases written out.
Composing is left to PyYAML's Python code: libyaml's overflows the stack on deep nesting, which ends the process.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError

from headwater.cli.workflow import fields
from headwater.v1 import workflow_pb2

LARGEST_BYTES = 512 * 1024
"""Bytes of the largest workflow that a server takes, and of the largest file."""

MAX_DEPTH = 64
MOST_MISTAKES = 100


@dataclass(frozen=True)
class Mistake:
    """Something wrong in a file.

    Attributes:
        field: path of the field, such as `steps[2].depends_on[0]`; empty for the file as a whole.
        text: the mistake and its cure.
        line: where, from 1; None when unknown.
    """

    field: str
    text: str
    line: int | None = None


class WorkflowFileError(Exception):
    """A file is no workflow; `mistakes` says why."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__(f"{len(mistakes)} mistakes")
        self.mistakes = mistakes


class WorkflowFile:
    """A workflow that was read from a file.

    Args:
        content: the bytes of the file.

    Raises:
        WorkflowFileError: with every mistake.
    """

    def __init__(self, content: bytes) -> None:
        reader = _Reader()
        try:
            data = reader.message(_compose(content), workflow_pb2.Workflow.DESCRIPTOR, "", 0)
        except _Stop as stop:
            reader.mistakes.append(stop.mistake)
        if reader.mistakes:
            raise WorkflowFileError(reader.mistakes)
        self._lines = reader.lines
        self.workflow = workflow_pb2.Workflow()
        try:
            ParseDict(data, self.workflow)
        except ParseError as error:
            raise WorkflowFileError([Mistake("", str(error))]) from None
        if self.workflow.ByteSize() > LARGEST_BYTES:
            raise WorkflowFileError([_too_large("is")])

    def locate(self, violations: Iterable[tuple[str, str]]) -> list[Mistake]:
        """The server's violations (path and description) with their lines."""
        return [Mistake(path, text, self._line(path)) for path, text in ((_path(p), text) for p, text in violations)]

    def _line(self, path: str) -> int | None:
        """The line of a field, or of the nearest one around it that is written."""
        while path and path not in self._lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self._lines.get(path) if path else None


def _path(field: str) -> str:
    return "" if field == "workflow" else field.removeprefix("workflow.")


def _too_large(how: str) -> Mistake:
    return Mistake("", f"{how} larger than {LARGEST_BYTES // 1024} KiB; pass long texts as --context, not in the file")


class _Stop(Exception):  # noqa: N818  it is no error, but carries one
    """Reading cannot continue."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__()
        self.mistake = mistake


def _compose(content: bytes) -> yaml.Node:
    if len(content) > LARGEST_BYTES:
        raise _Stop(_too_large("is"))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _Stop(Mistake("", "is not UTF-8; save the file in that encoding", line)) from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise _Stop(Mistake("", f"is not YAML: {problem}", mark.line + 1 if mark else None)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _Stop(
            Mistake("", f"has a character that YAML does not allow, U+{ord(text[error.position]):04X}", line)
        ) from None
    except yaml.YAMLError as error:
        raise _Stop(Mistake("", f"is not YAML: {error}")) from None
    except RecursionError:
        raise _Stop(Mistake("", f"is nested deeper than {MAX_DEPTH} levels")) from None
    if node is None:
        raise _Stop(Mistake("", "is empty; it needs `name` and `steps`"))
    return node


class _Reader:
    """Reads nodes along descriptors into what protobuf's JSON parser takes."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []
        self.lines: dict[str, int] = {}
        self._read = 0
        self._scalars = yaml.constructor.SafeConstructor()

    def message(self, node: yaml.Node, descriptor: Any, path: str, depth: int) -> Any:
        """A mapping that is a message."""
        self._enter(node, path, depth)
        known = {name: f for f in descriptor.fields for name in (f.name, f.json_name)}
        data: dict[str, Any] = {}
        for key, key_node, value in self._members(node, path):
            field = known.get(key)
            if field is None:
                self._wrong(key_node, _join(path, key), fields.unknown(key, descriptor))
            elif field.name in data:
                self._wrong(key_node, _join(path, field.name), "is there twice, under both of its names; leave one out")
            else:
                data[field.name] = self._field(value, field, _join(path, field.name), depth + 1)
        return data

    def _field(self, node: yaml.Node, field: FieldDescriptor, path: str, depth: int) -> Any:
        if not isinstance(field.default_value, list):  # `is_repeated`, which the oldest protobuf lacks
            return self._single(node, field, path, depth)
        if _is_nothing(node):
            self._enter(node, path, depth)
            return None
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            self._enter(node, path, depth)
            entry = field.message_type.fields_by_name["value"]
            members = self._members(node, path)
            return {key: self._single(value, entry, _join(path, key), depth + 1) for key, _, value in members}
        self._enter(node, path, depth)
        if not isinstance(node, yaml.SequenceNode):
            shown = f", such as [{node.value[:40]}]" if isinstance(node, yaml.ScalarNode) else ""
            self._wrong(node, path, f"must be a list{shown}")
            return None
        items = []
        for index, item in enumerate(node.value):
            if _is_nothing(item):
                self._wrong(item, f"{path}[{index}]", "is empty; write a value or remove the line")
            items.append(self._single(item, field, f"{path}[{index}]", depth + 1))
        return items

    def _single(self, node: yaml.Node, field: FieldDescriptor, path: str, depth: int) -> Any:
        message = field.message_type
        if message is None:
            self._enter(node, path, depth)
            return self._scalar(node, field, path)
        if _is_nothing(node):
            self._enter(node, path, depth)
            return None
        if message.full_name.startswith("google.protobuf."):
            return self._well_known(node, message.name, path, depth)
        return self.message(node, message, path, depth)

    def _well_known(self, node: yaml.Node, name: str, path: str, depth: int) -> Any:
        """A Duration or a Struct, each in the form of protobuf's JSON."""
        if name == "Duration":
            if not isinstance(node, yaml.ScalarNode) or not fields.DURATION.fullmatch(node.value):
                shown = f", not `{node.value[:40]}`" if isinstance(node, yaml.ScalarNode) else ""
                self._wrong(node, path, f"must be a number of seconds with an s, such as 30s or 0.5s{shown}")
        elif not isinstance(node, yaml.MappingNode):
            self._wrong(node, path, "must be a mapping of names to values")
        return self._anything(node, path, depth)

    def _scalar(self, node: yaml.Node, field: FieldDescriptor, path: str) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            what = "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
            cure = "; write it as JSON text in quotes" if field.name.endswith("_json") else ""
            self._wrong(node, path, f"must be {fields.wanted(field)}, not {what}{cure}")
            return None
        value = self._plain(node, path)
        if isinstance(value, str):
            value = fields.enum_name(value, field)
        if value is not None and not fields.fits(value, field):
            self._wrong(node, path, fields.misfit(node, field))
        return value

    def _plain(self, node: yaml.ScalarNode, path: str) -> Any:
        """A scalar as YAML reads it; None too for one that JSON does not have."""
        kind = node.tag.removeprefix(fields.TAG)
        if kind == "timestamp":
            self._wrong(node, path, f"YAML reads `{node.value[:40]}` as a date; put it in quotes")
        elif kind not in ("str", "int", "float", "bool", "null"):
            self._wrong(
                node, path, f"has the tag {node.tag[:60]!r}, which has no meaning here; put the value in quotes"
            )
        else:
            try:
                value = self._scalars.construct_object(node)
            except (ValueError, KeyError, yaml.YAMLError):
                self._wrong(
                    node, path, f"`{node.value[:40]}` is not {fields.READ_AS.get(kind, kind)}; put it in quotes"
                )
                return None
            if isinstance(value, str) and _has_surrogates(value):
                self._wrong(node, path, "has half of a surrogate pair")
            elif isinstance(value, float) and not math.isfinite(value):
                self._wrong(node, path, f"`{node.value[:40]}` is no number that JSON has; put it in quotes")
            else:
                return value
        return None

    def _anything(self, node: yaml.Node, path: str, depth: int) -> Any:
        """Values without a fixed type, such as options of a provider."""
        self._enter(node, path, depth)
        if isinstance(node, yaml.ScalarNode):
            return self._plain(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._anything(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(node.value)]
        return {key: self._anything(value, _join(path, key), depth + 1) for key, _, value in self._members(node, path)}

    def _members(self, node: yaml.Node, path: str) -> Iterable[tuple[str, yaml.Node, yaml.Node]]:
        """Keys and values of a mapping; keys that are wrong are noted and left out."""
        if not isinstance(node, yaml.MappingNode):
            self._wrong(node, path, "must be a mapping, `field: value` in each line")
            return
        seen: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == f"{fields.TAG}merge":
                self._wrong(key, path, "has a key that is no name; write the fields out one by one")
            elif key.tag != f"{fields.TAG}str":
                read_as = fields.READ_AS.get(key.tag.removeprefix(fields.TAG), key.tag[:60])
                self._wrong(key, path, f"YAML reads the key `{key.value[:40]}` as {read_as}; put it in quotes")
            elif _has_surrogates(key.value):
                self._wrong(key, path, "has a key with half of a surrogate pair")
            elif key.value in seen:
                self._wrong(key, _join(path, key.value), f"is there twice, first in line {seen[key.value]}; remove one")
            else:
                seen[key.value] = key.start_mark.line + 1
                self._read += len(key.value)
                yield key.value, key, value

    def _enter(self, node: yaml.Node, path: str, depth: int) -> None:
        """Counts a node each time it is read, under any alias; self-reference ends at the depth."""
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        if depth > MAX_DEPTH:
            raise _Stop(Mistake(path[:100], f"is nested deeper than {MAX_DEPTH} levels", line))
        self._read += 1 + (len(node.value) if isinstance(node, yaml.ScalarNode) else 0)
        if self._read > LARGEST_BYTES:
            raise _Stop(_too_large("is, with its aliases written out,"))

    def _wrong(self, node: yaml.Node, path: str, text: str) -> None:
        if len(self.mistakes) >= MOST_MISTAKES:
            raise _Stop(Mistake("", f"has more than {MOST_MISTAKES} mistakes"))
        self.mistakes.append(Mistake(path, text, node.start_mark.line + 1))


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _is_nothing(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == f"{fields.TAG}null"
