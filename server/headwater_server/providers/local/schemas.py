"""Bounds on the JSON Schemas that the embedded model is held to.

llama.cpp makes a grammar of a schema and follows every way through it, for each token. Of a small schema that can be
more ways than a machine ever follows, and nothing interrupts it. These bounds keep out the known cases: patterns,
which are grammars themselves, large counts, deep nesting, many alternatives. A schema within the bounds that still
computes too long is ended by the watch on the process (see `child`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from headwater_server.domain.errors import FieldViolation, invalid, invalid_request
from headwater_server.domain.messages import ChatRequest

MAX_TOOLS = 64
MAX_BYTES = 64 * 1024
MAX_SCHEMAS = 1_000
MAX_DEPTH = 24
MAX_COUNT = 1_000
MAX_COUNTS = 4_000
MAX_ALTERNATIVES = 64
MAX_DIGITS = 20

_OF_NAMES = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_ONE = frozenset(
    {
        *("items", "additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties"),
        *("contains", "propertyNames", "not", "if", "then", "else"),
    }
)
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")

_Place = tuple[str, Any, int]
"""The pointer of a schema, such as #/properties/name, the schema, and its depth."""


def has_schema(request: ChatRequest) -> bool:
    """Whether the reply is held to a schema."""
    return bool(request.response_format or request.tools)


def check_schemas(request: ChatRequest) -> None:
    """Raises HeadwaterError (INVALID_REQUEST) with the field of each schema that is beyond the bounds."""
    if len(request.tools) > MAX_TOOLS:
        raise invalid("tools", f"are more than {MAX_TOOLS}, the most that the embedded model takes")
    schemas = [
        (f"tools[{number}].function.parameters_json", tool.parameters) for number, tool in enumerate(request.tools)
    ]
    if request.response_format:
        schemas.append(("response_format.schema_json", request.response_format.schema))
    faults = [FieldViolation(field, fault) for field, schema in schemas if (fault := _fault(schema))]
    if faults:
        raise invalid_request(faults)


def _fault(schema: dict[str, Any]) -> str:
    """The first fault of a schema, as the end of a sentence about it; empty for none."""
    if len(json.dumps(schema, ensure_ascii=False)) > MAX_BYTES:
        return f"is longer than {MAX_BYTES // 1024} KiB, the most that the embedded model takes"
    pointers, references, counts = set(), [], 0
    for pointer, found, depth in _schemas(schema):
        pointers.add(pointer)
        if len(pointers) > MAX_SCHEMAS:
            return f"has more than {MAX_SCHEMAS} schemas in it, the most that the embedded model takes"
        if depth > MAX_DEPTH:
            return f"is nested more than {MAX_DEPTH} levels, the most that the embedded model takes"
        if not isinstance(found, dict):
            continue
        if fault := _fault_of_one(found):
            return f"{fault}, at {pointer[:200]}"
        counts += sum(found[name] for name in _COUNTS if isinstance(found.get(name), int))
        if "$ref" in found:
            references.append(found["$ref"])
    if counts > MAX_COUNTS:
        return f"counts to more than {MAX_COUNTS} in all; use smaller values of maxLength, maxItems and the like"
    if unknown := next((str(each) for each in references if each not in pointers), ""):
        return f"refers to {unknown[:100]}, where it has no schema; refer to one in $defs"
    return ""


def _schemas(schema: dict[str, Any]) -> Iterator[_Place]:
    """All schemas in a schema, itself first. Values of enum, const and default are none."""
    waiting: list[_Place] = [("#", schema, 0)]
    while waiting:
        place = pointer, found, depth = waiting.pop()
        yield place
        if not isinstance(found, dict):
            continue
        for key, value in found.items():
            if key in _OF_NAMES and isinstance(value, dict):
                waiting += [(f"{pointer}/{key}/{name}", each, depth + 1) for name, each in value.items()]
            elif isinstance(value, list) and (key in _LISTS or key == "items"):
                waiting += [(f"{pointer}/{key}/{number}", each, depth + 1) for number, each in enumerate(value)]
            elif key in _ONE:
                waiting.append((f"{pointer}/{key}", value, depth + 1))


def _fault_of_one(schema: dict[str, Any]) -> str:
    if "pattern" in schema:
        return "has a pattern, which the embedded model does not take; leave it out, and check the reply"
    for name in _COUNTS:
        if name in schema and not (isinstance(schema[name], int) and 0 <= schema[name] <= MAX_COUNT):
            return f"has a value of {name} that is not from 0 to {MAX_COUNT}"
    for name in _LIMITS:
        if len(str(schema.get(name, ""))) > MAX_DIGITS:
            return f"has a value of {name} with more than {MAX_DIGITS} digits"
    for name in ("anyOf", "oneOf", "allOf", "type"):
        if isinstance(schema.get(name), list) and len(schema[name]) > MAX_ALTERNATIVES:
            return f"has more than {MAX_ALTERNATIVES} items in {name}"
    return ""
