"""Python values as JSON values, one level at a time, and JSON values as Python values.

`docs/values.md` has the table. `json_values` walks through a value and asks here about all that is not JSON itself.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import functools
import json
import pathlib
import sys
import uuid
from collections.abc import Callable, Mapping, Set
from typing import TYPE_CHECKING, Any, TypeVar

from headwater._values.validation import invalid
from headwater.exceptions import ToolError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")


class NotPlainError(Exception):
    """A value that does not convert; the message says what it is, without where."""


def plain(value: Any) -> Any:
    """A value as None, bool, int, float, str, or as a list, set or dict whose items may still be anything.

    Raises:
        NotPlainError: it is none of those that convert.
    """
    for kind, convert in _CONVERTERS:
        if isinstance(value, kind):
            return convert(value)
    if (model := _pydantic_model()) is not None and isinstance(value, model):
        return _of_model(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise NotPlainError(
        f"{a_value_of(type(value))}, which does not convert to JSON; write what it says, and keep live objects in a "
        "closure of the handler"
    )


def from_json(value: Any, kind: Callable[..., T] | Any) -> Any:
    """A JSON value as an object of a type, by the table of `docs/values.md`. Needs pydantic.

    Args:
        value: a JSON value, such as one of a run's context or results.
        kind: any type that pydantic knows: a model, a dataclass, a TypedDict, `datetime`, `dict[str, UUID]`.

    Raises:
        ValidationError: the value does not fit the type.
        ToolError: pydantic is not installed.
    """
    return read_as("value", value, kind)


def read_as(field: str, value: Any, kind: Callable[..., T] | Any) -> Any:
    """As `from_json`; the error names the value by `field`."""
    try:
        from pydantic import ValidationError
    except ImportError:
        raise ToolError("values of a type need pydantic: pip install pydantic") from None
    try:
        adapter = _adapter(kind)
    except TypeError:  # a type that cannot be a key of the cache
        adapter = _adapter.__wrapped__(kind)
    try:
        return adapter.validate_json(json.dumps([value]))[0]
    except ValidationError as error:
        name = getattr(kind, "__name__", str(kind))
        found = "; ".join(
            f"{'.'.join(map(str, mistake['loc'][1:])) or 'the value'}: {mistake['msg']}"
            for mistake in error.errors(include_url=False, include_input=False)
        )
        raise invalid(field, f"is no {name}: {found}") from None


@functools.lru_cache(maxsize=256)
def _adapter(kind: Any) -> TypeAdapter[list[Any]]:
    """For a list, because pydantic takes no settings for a dataclass itself; bytes are base64."""
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(list[kind], config=ConfigDict(val_json_bytes="base64"))


def a_value_of(kind: type) -> str:
    """A type in words."""
    return f"a value of type {kind.__name__}"


def _pydantic_model() -> Any:
    """The base of pydantic's models; None while pydantic is not imported, so that no value can be one."""
    return getattr(sys.modules.get("pydantic"), "BaseModel", None)


def _of_model(model: Any) -> Any:
    try:
        return model.model_dump(mode="json", by_alias=True)
    except Exception as error:  # noqa: BLE001  a model's own code may raise anything
        raise NotPlainError(
            f"a model {type(model).__name__} that pydantic does not write as JSON ({error}); bytes that are not UTF-8 "
            'need model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")'
        ) from None


def _of_decimal(value: decimal.Decimal) -> str:
    if not value.is_finite():
        raise NotPlainError(f"{value}, which JSON does not have; write None or a str")
    return str(value)


def _of_timedelta(value: datetime.timedelta) -> str:
    """ISO 8601, such as P1DT2.5S; a length below zero begins with a minus."""
    sign, length = ("-", -value) if value < datetime.timedelta(0) else ("", value)
    micros = f".{length.microseconds:06}".rstrip("0") if length.microseconds else ""
    days = f"{length.days}D" if length.days else ""
    time = f"T{length.seconds}{micros}S" if length.seconds or micros or not days else ""
    return f"{sign}P{days}{time}"


def _of_bytes(value: bytes | bytearray | memoryview) -> str:
    return base64.b64encode(value).decode()


# In this order: a datetime is a date, and members of many enums are an int or a str.
_CONVERTERS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (enum.Enum, lambda value: value.value),
    (bool, bool),
    (int, int),
    (float, float),
    (str, str.__str__),
    ((datetime.datetime, datetime.date, datetime.time), lambda value: value.isoformat()),
    (datetime.timedelta, _of_timedelta),
    ((uuid.UUID, pathlib.PurePath), str),
    (decimal.Decimal, _of_decimal),
    ((bytes, bytearray, memoryview), _of_bytes),
    ((tuple, list), list),
    (Set, set),
    (Mapping, dict),
)
