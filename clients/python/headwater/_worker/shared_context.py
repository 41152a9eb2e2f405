"""The context of a run, as one handler sees and changes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from headwater._grpc.wrong_server import object_of
from headwater._values.json_values import check_key, check_size, exact_json, quoted
from headwater._values.plain import read_as

T = TypeVar("T")


class Context(dict[str, Any]):
    """The context of a run as a handler gets it: a dict of JSON values, to read and to change."""

    def get_as(self, key: str, kind: type[T]) -> T:
        """The value of a key as an object of a type, such as a pydantic model: `context.get_as("order", Order)`.

        Changes of that object are not changes of the context; assign it to the key.

        Raises:
            KeyError: there is no such key.
            ValidationError: the value does not fit the type; it names the key, and fails the step for good.
            ToolError: pydantic is not installed.
        """
        value: T = read_as(f"context[{quoted(key)}]", self[key], kind)
        return value


class SharedContext:
    """The context of a run as a dict for one handler, and the handler's changes.

    Attributes:
        values: the dict that the handler gets and changes.
    """

    def __init__(self, text: str) -> None:
        self.values = Context(object_of("the context of a task", text))
        self._before = dict(self.values)
        self._texts = {key: _dump(value) for key, value in self.values.items()}

    def changes(self) -> tuple[str, list[str]]:
        """The keys that were set or changed inside, with their values as a JSON object, and the keys that were deleted.

        Raises:
            NotJsonError: one of them cannot be sent.
        """
        values = dict(self.values)
        changed = {}
        for key, value in values.items():
            check_key("context", key)
            if self._is_changed(key, value):
                changed[key] = exact_json(f"context[{quoted(key)}]", value)
        text = _joined(changed) if changed else ""
        check_size("the handler's changes of the context, all together,", text)
        return text, [key for key in self._before if key not in values]

    def _is_changed(self, key: str, value: Any) -> bool:
        if key not in self._before or value is not self._before[key]:
            return True
        if isinstance(value, dict | list):  # the same object, but perhaps with something else inside
            return _dump(value) != self._texts[key]
        return False


def _joined(texts: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {text}" for key, text in texts.items()) + "}"


def _dump(value: Any) -> str | None:
    """The text to compare with; None for a value that is not JSON, which is an error only when it is written."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return None
