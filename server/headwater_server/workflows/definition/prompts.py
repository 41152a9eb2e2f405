"""Prompts with placeholders: `{{ context.topic }}`, `{{ steps.draft.result }}`, `{{ topic }}` for `context.topic`.

A placeholder is a CEL expression, under the rules of conditions. Before it is evaluated, its names become paths of the
context: `steps.draft.result` is the key of that name in a context that has the results of dependencies too, and a name
that stands alone is a key, also one that CEL does not have as a name, such as `größe` or `in`. A placeholder that is
only such a path needs no CEL, so its value may have any size. A name that is no identifier stands in brackets: `{{
steps["read aloud"].result }}`, `{{ context["my key"] }}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from headwater_server.domain.failure import StepError, cut, final_step_error
from headwater_server.domain.json_text import to_json
from headwater_server.workflows.definition import conditions
from headwater_server.workflows.definition.condition_syntax import CURE, MACROS, TOKEN, TYPES

MAX_PLACEHOLDERS = 1_000
"""Most placeholders of a text."""
MAX_FILLED_CHARACTERS = 3 * 1024 * 1024
"""Most characters that the placeholders of a step stand for: a task must fit into a message."""

_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_KEY = rf"""(?:\.({_NAME})|\[\s*(?:"([^"\\]*)"|'([^'\\]*)')\s*\])"""
# A path to a result, or a string, in which no path is.
_RESULT = re.compile(rf"""(?<![\w.])steps{_KEY}\.result(?!\w)|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'""")
# A string, or a name with the dot before it.
_WORD = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|(\.\s*)?([^\W\d]\w*)""")
_TEXT = 'write {{ "{{" }} for double braces that are text'
_NO_RESULT = re.compile(r"(?<![\w.])steps\s*[.\[]")
_PATH = re.compile(rf"context{_KEY}")
_RESERVED = TYPES | {"context", "true", "false", "null", "in"}
_ELEMENT = re.compile(rf"\.(?:{'|'.join(sorted(MACROS))})\(\s*([A-Za-z_][A-Za-z0-9_]*)\s*,")


def mistakes(text: str, depends_on: Collection[str]) -> Iterator[str]:
    """The mistakes of the placeholders of a text.

    Args:
        text: of an action, or instructions that a step has for itself.
        depends_on: the steps whose results it may read.
    """
    expressions = _PLACEHOLDER.findall(text)
    if len(expressions) > MAX_PLACEHOLDERS:
        yield f"has {len(expressions):,} placeholders, at most {MAX_PLACEHOLDERS:,} are allowed; {CURE}"
        return
    for expression in dict.fromkeys(expressions):
        if not expression.strip():
            yield "has an empty placeholder; write {{ context.NAME }}, or single braces for text"
            continue
        if (wrong := conditions.check(_as_cel(expression))) is not None:
            yield f"its placeholder `{_shown(expression)}` {wrong}; {_TEXT}"
        if _NO_RESULT.search(_RESULT.sub("", _bracketed(expression))):
            yield f"its placeholder `{_shown(expression)}` reads no result; write {{{{ steps.NAME.result }}}}"
        for name in _named(expression):
            if name not in depends_on:
                what = f"is not in depends_on; add `{cut(name, 100)}`"
                yield f"its placeholder `{_shown(expression)}` reads a step that {what}"


def keys(texts: Sequence[str]) -> tuple[str, ...] | None:
    """The keys of the values that the placeholders of some texts read; None for all."""
    sources = [_as_cel(expression) for text in texts for expression in dict.fromkeys(_PLACEHOLDER.findall(text))]
    paths = [path for source in sources if (path := _PATH.fullmatch(source)) is not None]
    read = conditions.keys([source for source in sources if not _PATH.fullmatch(source)])
    return None if read is None else tuple(dict.fromkeys([*map(_key, paths), *read]))


def results_named(texts: Sequence[str]) -> list[str]:
    """The steps whose results the placeholders of some texts read."""
    expressions = (expression for text in texts for expression in _PLACEHOLDER.findall(text))
    return list(dict.fromkeys(name for expression in expressions for name in _named(expression)))


def fill(texts: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """The texts with their placeholders filled in.

    Args:
        texts: the texts.
        values: those that they read, JSON texts: keys of the context, and `steps.NAME.result`.

    Raises StepError (final) that names a value which is missing, or cannot be read, or does not fit into a prompt.
    """
    known: dict[str, str] = {}
    left = MAX_FILLED_CHARACTERS

    def value(match: re.Match[str]) -> str:
        nonlocal left
        expression = match[1]
        if expression not in known:
            known[expression] = _value(expression, values)
        left -= len(known[expression])
        if left < 0:
            most = f"more than {MAX_FILLED_CHARACTERS:,} characters are filled in; pass references, not contents"
            raise final_step_error(f"its placeholder `{_shown(expression)}`: {most}")
        return known[expression]

    return [_PLACEHOLDER.sub(value, text) for text in texts]


def with_results(prompt: str, results: Mapping[str, str]) -> str:
    """The prompt, then as JSON the results that nothing in it names."""
    if not results:
        return prompt
    pairs = ", ".join(f"{to_json(name)}: {text}" for name, text in results.items())
    return f"{prompt}\n\n{{{pairs}}}"


def _value(expression: str, values: Mapping[str, str]) -> str:
    source = _as_cel(expression)
    path = _PATH.fullmatch(source)
    if path is None:
        value = conditions.value(source, values, f"placeholder `{_shown(expression)}`")
    else:
        key = _key(path)
        if key not in values:
            raise _missing(expression, key)
        value = json.loads(values[key])
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise final_step_error(f"its placeholder `{_shown(expression)}` gives no JSON; use string(...)") from error


def _missing(expression: str, key: str) -> StepError:
    what = "that step has no result" if key.startswith("steps.") else f"the context has no key `{cut(key, 100)}`"
    return final_step_error(f"its placeholder `{_shown(expression)}`: {what}")


def _named(expression: str) -> list[str]:
    """The steps whose results a placeholder reads."""
    return [_key(match) for match in _RESULT.finditer(_bracketed(expression)) if match.lastindex]


def _key(match: re.Match[str]) -> str:
    """The name that a path ends in, in any of its three forms."""
    return next(name for name in match.groups() if name is not None)


def _with_results(expression: str) -> str:
    """The expression with the paths to results as keys of the context."""

    def replaced(match: re.Match[str]) -> str:
        if not match.lastindex:
            return match.group()
        return f"context{_in_brackets(f'steps.{_key(match)}.result')}"

    return _RESULT.sub(replaced, expression)


def _bracketed(expression: str) -> str:
    """The expression with names that CEL does not have, such as `größe`, as keys in brackets."""

    def replaced(match: re.Match[str]) -> str:
        dot, name = match.groups()
        if name is None or name.isascii():
            return match.group()
        return _in_brackets(name) if dot else f"context{_in_brackets(name)}"

    return _WORD.sub(replaced, expression)


def _in_brackets(name: str) -> str:
    return f"[{json.dumps(name, ensure_ascii=False)}]"


def _as_cel(expression: str) -> str:
    """The expression with its names as paths of the context."""
    source = expression.strip()
    if source.isidentifier() and source != "context":
        return f"context{_in_brackets(source)}"
    source = _with_results(_bracketed(source))
    elements = set(_ELEMENT.findall(source))
    pieces, before = [], ""
    for match in TOKEN.finditer(source):
        text = match.group()
        if match.lastgroup == "I" and before != "." and text not in _RESERVED | elements:
            is_call = source[match.end() :].lstrip().startswith("(")
            pieces.append(text if is_call else f"context.{text}")
        else:
            pieces.append(text)
        before = before if match.lastgroup == "space" else text
    return "".join(pieces)


def _shown(expression: str) -> str:
    return cut("{{" + expression + "}}", 200)
