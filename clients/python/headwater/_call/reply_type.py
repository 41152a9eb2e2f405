"""A Python type as the form of a reply: its schema for the model, and the reply as a value of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from headwater._values.validation import invalid
from headwater.exceptions import HeadwaterError, ToolError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

# Some models put JSON in a fence of Markdown.
_FENCE = re.compile(r"\s*```(?:json)?[ \t\r]*\n(.*)\n[ \t]*```\s*", re.DOTALL | re.IGNORECASE)


class ReplyType:
    """A class that a call gave as `response_format`: a pydantic model, a dataclass or a TypedDict.

    Raises:
        ValidationError: for a class whose values are no JSON objects.
        ToolError: pydantic is not installed.

    Attributes:
        name: of the class.
        schema: its JSON Schema.
    """

    def __init__(self, kind: type) -> None:
        try:
            from pydantic import PydanticUserError, TypeAdapter
            from pydantic.errors import PydanticSchemaGenerationError
        except ImportError:
            raise ToolError("response_format with a class needs pydantic: pip install pydantic") from None
        self.name = kind.__name__
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(kind)
            self.schema: dict[str, Any] = self._adapter.json_schema()
        except (PydanticUserError, PydanticSchemaGenerationError) as error:
            raise invalid("response_format", f"has no JSON Schema: {str(error).splitlines()[0]}") from None
        if "properties" not in self.schema and "$ref" not in self.schema:
            raise invalid("response_format", f"must be a class with fields, such as a pydantic model, not {self.name}")

    def parse(self, text: str, finish_reason: str | None) -> Any:
        """The value that a reply holds. Raises HeadwaterError."""
        from pydantic import ValidationError

        text = text.removeprefix("\ufeff")
        if fenced := _FENCE.fullmatch(text):
            text = fenced[1]
        try:
            return self._adapter.validate_json(text)
        except ValidationError as error:
            mistakes = error.errors(include_url=False, include_input=False, include_context=False)
            where = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'reply'}: {each['msg']}" for each in mistakes[:20])
            raise HeadwaterError(
                f"the reply is no {self.name}: {where}; it ended with finish reason {finish_reason or 'unknown'}"
            ) from None


def reply_type(response_format: Any) -> ReplyType | None:
    """The type in `response_format`; None where it is none."""
    return ReplyType(response_format) if isinstance(response_format, type) else None
