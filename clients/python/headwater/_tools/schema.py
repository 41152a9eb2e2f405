"""From the signature and the docstring of a function to the schema of its arguments for a model, and back to them.

Pydantic makes the JSON Schema and checks arguments against it. It is imported when the first schema is made: a client
without tools does not need it.
"""

from __future__ import annotations

import functools
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from headwater._tools.docstrings import Description, annotated_description, read_docstring
from headwater._tools.sloppy import mend, read_object
from headwater._values.validation import invalid
from headwater.exceptions import ToolError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_MOST_REPAIRS = 4


class ArgumentsError(ValueError):
    """Arguments of a call that do not fit the tool; the message is for the model."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The arguments of a function: the JSON Schema, and what checks against it."""

    json: dict[str, Any]
    _adapter: TypeAdapter[dict[str, Any]]
    _signature: inspect.Signature

    def bind(self, arguments: str) -> inspect.BoundArguments:
        """The arguments of a call, from JSON text, as the function takes them. Raises ArgumentsError."""
        from pydantic import ValidationError

        try:
            values = self._validate(arguments)
        except ValidationError as error:
            mistakes = [
                f"{'.'.join(map(str, mistake['loc'])) or 'arguments'}: {mistake['msg']}"
                for mistake in error.errors(include_url=False, include_input=False, include_context=False)
            ]
            raise ArgumentsError("; ".join(mistakes[:20])) from None
        for name, parameter in self._signature.parameters.items():
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:  # the others are given by name
                values.setdefault(name, parameter.default)
        return inspect.BoundArguments(self._signature, values)

    def _validate(self, arguments: str) -> dict[str, Any]:
        """The valid values; where the arguments as they stand have none, those that the model may have meant."""
        from pydantic import ValidationError

        try:
            return self._adapter.validate_json(arguments)
        except ValidationError as error:
            meant = read_object(arguments)
            if meant is None:
                raise
            as_written = latest = error
        for _ in range(_MOST_REPAIRS):
            try:
                return self._adapter.validate_json(json.dumps(meant))
            except ValidationError as error:
                latest = error
            mended = [mend(meant, mistake["loc"]) for mistake in latest.errors(include_url=False)]
            if not any(mended):
                break
        raise as_written


def inner_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that has name, docstring and annotations: beneath partials and behind `__call__`."""
    function = _without_partials(function)
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    return type(function).__call__


def own_name(function: Callable[..., Any]) -> str:
    """The name of a function, or of the class of a callable object."""
    function = _without_partials(function)
    return str(getattr(function, "__name__", type(function).__name__))


def _without_partials(function: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def bound_names(function: Callable[..., Any]) -> set[str]:
    """The parameters that partials have given, which the model does not see although a docstring may describe them."""
    if not isinstance(function, functools.partial):
        return set()
    return {*inspect.signature(_without_partials(function)).parameters} - {*inspect.signature(function).parameters}


def describe(function: Callable[..., Any]) -> Description:
    """The description of a function and its arguments, from its docstring. Raises ToolError."""
    inner = inner_function(function)
    document = inspect.getdoc(inner)
    if inner is not _without_partials(function) and not inner.__doc__:
        document = inspect.getdoc(type(_without_partials(function)))  # of an object whose __call__ has none
    return read_docstring(document or "")


def read_signature(field: str, function: Callable[..., Any]) -> inspect.Signature:
    """The signature of a function that can be a tool. Raises ValidationError."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise invalid(field, "is a generator; a tool returns one value")
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        raise invalid(field, "has no signature that Python can read; wrap it in a function of your own") from None


def check_signature(field: str, signature: inspect.Signature) -> None:
    """Refuse, with ValidationError, what no schema can describe."""
    for parameter in signature.parameters.values():
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "**"
            raise invalid(
                field, f"takes {stars}{parameter.name}, which no schema can describe; name each of its arguments"
            )


def make_schema(field: str, function: Callable[..., Any]) -> Schema:
    """The schema of a function's arguments.

    Raises:
        ValidationError: for a function that cannot be described.
        ToolError: when pydantic is not installed.
    """
    signature = read_signature(field, function)
    try:
        from pydantic import ConfigDict, Field, PydanticUserError, TypeAdapter
        from pydantic.errors import PydanticSchemaGenerationError
        from pydantic.fields import FieldInfo
        from typing_extensions import TypedDict
    except ImportError:
        raise ToolError("a tool made of a function needs pydantic: pip install pydantic") from None
    hints = _hints(field, function)
    descriptions = describe(function).arguments | _descriptions_of_fields(function)
    bound = function.keywords if isinstance(function, functools.partial) else {}
    fields: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        if name in bound:
            continue  # the partial gives it
        if isinstance(parameter.default, FieldInfo):
            raise invalid(field, f"has a Field as default of {name}; write {name}: Annotated[..., Field(...)]")
        kind = hints.get(name, Any)
        if said := annotated_description(field, name, kind) or descriptions.get(name):
            kind = _with_facts(kind, Field(description=said))  # a Field of the annotation counts more: it stands last
        if parameter.default is inspect.Parameter.empty:
            fields[name] = kind
        else:
            facts = _default(parameter.default)
            fields[name] = typing.NotRequired[Annotated[kind, Field(json_schema_extra=facts)] if facts else kind]
    make: Any = TypedDict  # mypy wants the fields spelled out
    arguments = make("arguments", fields)
    arguments.__pydantic_config__ = ConfigDict(extra="forbid", val_json_bytes="base64")
    try:
        adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(arguments)
        schema = _without_titles(adapter.json_schema())
    except (PydanticUserError, PydanticSchemaGenerationError) as error:
        raise invalid(field, f"has an argument that JSON cannot hold: {str(error).splitlines()[0]}") from None
    return Schema(schema, adapter, signature)


def _descriptions_of_fields(function: Callable[..., Any]) -> dict[str, str]:
    """The descriptions of the fields, by name, where the function is a model of pydantic."""
    fields = getattr(inner_function(function), "model_fields", {})
    return {name: found.description for name, found in fields.items() if found.description}


def _hints(field: str, function: Callable[..., Any]) -> dict[str, Any]:
    inner = inner_function(function)
    if not inspect.isclass(inner):
        return _hints_of(field, inner)
    # A model of pydantic and a named tuple have their annotations in the class, a usual class in `__init__`.
    return {**_hints_of(field, inner), **_hints_of(field, inner.__init__)}


def _hints_of(field: str, annotated: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(annotated, include_extras=True)
    except NameError:
        return _hints_of_arguments(field, annotated)
    except TypeError:
        return {}  # a builtin: it has none


def _hints_of_arguments(field: str, annotated: Any) -> dict[str, Any]:
    """The annotations without that of the result, which the model never sees."""
    arguments = {name: hint for name, hint in annotated.__annotations__.items() if name != "return"}
    names = getattr(inspect.unwrap(annotated), "__globals__", {})
    try:
        return typing.get_type_hints(types.SimpleNamespace(__annotations__=arguments), names, include_extras=True)
    except NameError as error:
        raise invalid(field, f"has an annotation that is not known in its module: {error}") from None


def _with_facts(kind: Any, facts: Any) -> Any:
    """The annotation with facts in front of those it has."""
    if typing.get_origin(kind) is Annotated:
        first, *others = typing.get_args(kind)
        for other in others:
            if isinstance(other, type(facts)) and other.description:
                return kind
        return Annotated[(first, facts, *others)]
    return Annotated[kind, facts]


def _default(value: Any) -> dict[str, Any] | None:
    """The schema's entry for a default; none for a value that JSON does not have."""
    try:
        return {"default": json.loads(json.dumps(value, allow_nan=False))}
    except (TypeError, ValueError, RecursionError):
        return None


def _without_titles(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without the titles that pydantic makes of names: they say nothing and cost tokens."""
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "title" and isinstance(value, str):
            continue
        if key in ("properties", "$defs"):
            result[key] = {name: _without_titles(inner) for name, inner in value.items()}
        elif isinstance(value, Mapping) and key not in ("default", "const"):
            result[key] = _without_titles(value)
        elif isinstance(value, list) and key in ("anyOf", "oneOf", "allOf", "prefixItems"):
            result[key] = [_without_titles(inner) for inner in value]
        else:
            result[key] = value
    return result
