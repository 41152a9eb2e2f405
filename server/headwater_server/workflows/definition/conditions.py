"""Conditions of steps: CEL expressions over the run's context, which is their only variable.

An evaluation cannot be interrupted, and some take minutes. So this runs in a helper process (`expressions`), which is
ended instead.

The library gets only the keys of the context that a condition names, so a large context costs only conditions that read
it all. The library converts integers beyond 64 bits to floats without an error, and deeply nested values overflow its
stack, which ends the process; so neither reaches it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn

from headwater_server.domain.failure import cut, final_step_error
from headwater_server.workflows.definition.condition_syntax import CURE, ConditionSyntaxError, Reading, read

if TYPE_CHECKING:
    import cel

MAX_CONDITION_CHARACTERS = 1_000
SHOWN_CHARACTERS = 500  # so that the message of a failure has room for the fault
MAX_DEPTH = 100
"""Most levels of nesting in a value of the context that a condition reads."""
MAX_CHARACTERS = 262_144
"""Most characters of JSON that a condition may read."""
MAX_SEARCHED_CHARACTERS = 65_536
"""Most characters of JSON that a condition with a macro or a regular expression may read."""
MAX_MACRO_VALUES = 1_000
"""Most values, those inside others too, that a condition with a macro may read."""
MAX_MACRO_WORK = 10_000_000
"""Most values times characters times reads of the context for each element: macros copy the values that they read."""
_INT64_DIGITS = 19


@dataclass(frozen=True, slots=True)
class _Compiled:
    program: cel.Program
    reading: Reading


class _UnusableError(Exception):
    """A value that no condition can read; says why."""


def check(condition: str) -> str | None:
    """The mistake of a condition; None when it has none."""
    try:
        _compile(condition)
    except ConditionSyntaxError as mistake:
        return str(mistake)
    return None


def keys(expressions: Sequence[str]) -> tuple[str, ...] | None:
    """The keys of the context that some expressions read; None for all. Those with mistakes read nothing."""
    named: dict[str, None] = {}
    for expression in expressions:
        try:
            reading = _compile(expression).reading
        except ConditionSyntaxError:
            continue  # its evaluation says so
        if reading.whole:
            return None
        named.update(dict.fromkeys(reading.keys))
    return tuple(named)


def evaluate(condition: str, context: Mapping[str, str]) -> bool:
    """Whether a condition holds in a context of JSON texts.

    Raises StepError (final) when it gives no answer: a key is missing, types do not fit, it is not a bool.
    """
    what = f"condition `{cut(condition, SHOWN_CHARACTERS)}`"
    answer = value(condition, context, what)
    if not isinstance(answer, bool):
        raise final_step_error(f"its {what}: it gives {_type_name(answer)}, not a bool; compare it with something")
    return answer


def value(expression: str, context: Mapping[str, str], what: str) -> object:
    """The value of an expression in a context of JSON texts.

    Raises StepError (final), which begins with `what`, when it gives none: a key is missing, types do not fit.
    """
    try:
        compiled = _compile(expression)
        return _execute(compiled, _values(compiled.reading, context))
    except (ConditionSyntaxError, _UnusableError) as error:
        raise final_step_error(f"its {what}: {error}") from error


@lru_cache(maxsize=1_024)
def _compile(condition: str) -> _Compiled:
    """Raises ConditionSyntaxError."""
    if len(condition) > MAX_CONDITION_CHARACTERS:
        length = f"{len(condition):,} characters, at most {MAX_CONDITION_CHARACTERS:,} are allowed"
        raise ConditionSyntaxError(f"has {length}; {CURE}")
    import cel

    try:
        program = cel.compile(condition)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of the library is no Exception
        raise ConditionSyntaxError(f"is not CEL: {_parse_error(error)}") from error
    return _Compiled(program, read(condition))


def _execute(compiled: _Compiled, values: Mapping[str, object]) -> object:
    """Evaluates a condition. Every failure is an _UnusableError."""
    try:
        return compiled.program.execute({"context": values})
    except KeyError as error:
        raise _UnusableError(_missing(str(error.args[0]), compiled.reading, values)) from error
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except TypeError as error:
        raise _UnusableError(
            f"types do not fit: {_first_sentence(error)}; convert with double(x), int(x), string(x)"
        ) from error
    except BaseException as error:  # a panic of the library is no Exception
        raise _UnusableError(_first_sentence(error)) from error


def _values(reading: Reading, context: Mapping[str, str]) -> dict[str, object]:
    """The values of a context that a condition reads. Raises _UnusableError."""
    keys = context if reading.whole else [key for key in reading.keys if key in context]
    characters = sum(len(context[key]) for key in keys)
    most = MAX_SEARCHED_CHARACTERS if reading.searches else MAX_CHARACTERS
    if characters > most:
        raise _UnusableError(f"it would read {characters:,} characters, at most {most:,} are allowed; {CURE}")
    values, count = {}, 0
    for key in keys:
        try:
            values[key], size = _value(context[key], counted=reading.macros)
        except (_UnusableError, ValueError, RecursionError) as error:
            raise _UnusableError(f"the context's key `{key}` cannot be read: {_first_sentence(error)}") from error
        count += size
    if reading.macros and count > MAX_MACRO_VALUES:
        raise _UnusableError(f"its lists hold {count:,} values, at most {MAX_MACRO_VALUES:,} are allowed; {CURE}")
    if count * characters * reading.inner > MAX_MACRO_WORK:
        raise _UnusableError(f"it reads too much of the context again for each element of a list; {CURE}")
    return values


def _value(text: str, *, counted: bool) -> tuple[object, int]:
    """A value of the context, and the number of values in it; 0 unless `counted`."""
    value = json.loads(text, parse_int=_integer, parse_constant=_no_constant)
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()  # refuses a lone surrogate
    if counted or text.count("[") + text.count("{") > MAX_DEPTH:
        return value, _count(value)
    return value, 0


def _count(value: object) -> int:
    count, depth, level = 0, 0, [value]
    while level:
        count, depth = count + len(level), depth + 1
        if depth > MAX_DEPTH:
            raise _UnusableError(f"it is nested more than {MAX_DEPTH} deep")
        lists = (item if isinstance(item, list) else item.values() for item in level if isinstance(item, list | dict))
        level = [item for items in lists for item in items]
    return count


def _integer(digits: str) -> int:
    if len(digits) <= _INT64_DIGITS + 1 and -(2**63) <= (value := int(digits)) < 2**63:
        return value
    raise _UnusableError(f"the integer {digits[:30]} does not fit in 64 bits; make it a string")


def _no_constant(name: str) -> NoReturn:
    raise _UnusableError(f"{name} is not JSON")


def _missing(key: str, reading: Reading, values: Mapping[str, object]) -> str:
    if key in reading.keys and key not in values:
        ask = f"has(context.{key})" if key.isidentifier() else f'"{key}" in context'
        return f"the context has no key `{key}`; {ask} asks"
    return f"there is no key `{key}` where it looks for one; has(…) asks"


def _parse_error(error: BaseException) -> str:
    lines = [line.split("ERROR: <input>:", 1)[1] for line in str(error).splitlines() if "ERROR: <input>:" in line]
    if not lines:
        return _first_sentence(error)
    place, _, text = lines[0].partition(": ")
    if "Recursion limit" in text:
        text = "it is nested too deeply"
    return f"{text.partition(' expecting {')[0]} (line {place.replace(':', ', column ')})"


def _first_sentence(error: BaseException) -> str:
    text = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
    return text[:300] or type(error).__name__


def _type_name(value: object) -> str:
    names = {"NoneType": "null", "str": "a string", "int": "a number", "float": "a number", "list": "a list"}
    return names.get(type(value).__name__, f"a {type(value).__name__}")
