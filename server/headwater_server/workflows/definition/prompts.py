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
from collections.abc import Iterator, Mapping
from dataclasses import replace

from headwater_server.domain.failure import StepError, cut, final_step_error
from headwater_server.domain.workflow import Step
from headwater_server.workflows.definition import conditions
from headwater_server.workflows.definition.condition_syntax import MACROS, TOKEN, TYPES

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


def mistakes(step: Step) -> Iterator[tuple[str, str]]:
    """The mistakes of the placeholders of an action, and of instructions that it has for itself: field and text."""
    for field, text in (("action", step.action), ("agent.instructions", _instructions(step))):
        for wrong in _mistakes_of(text, step):
            yield field, wrong


def _mistakes_of(text: str, step: Step) -> Iterator[str]:
    for expression in _PLACEHOLDER.findall(text):
        if not expression.strip():
            yield "has an empty placeholder; write {{ context.NAME }}, or single braces for text"
            continue
        if (wrong := conditions.check(_as_cel(expression))) is not None:
            yield f"its placeholder `{_shown(expression)}` {wrong}; {_TEXT}"
        if _NO_RESULT.search(_RESULT.sub("", _bracketed(expression))):
            yield f"its placeholder `{_shown(expression)}` reads no result; write {{{{ steps.NAME.result }}}}"
        for name in _named(expression):
            if name not in step.depends_on:
                what = f"is not in depends_on; add `{cut(name, 100)}`"
                yield f"its placeholder `{_shown(expression)}` reads a step that {what}"


def _instructions(step: Step) -> str:
    return step.agent.instructions if step.agent else ""


def fill(step: Step, context: Mapping[str, str], results: Mapping[str, str]) -> Step:
    """The step with its prompt: the action with placeholders filled in, then as JSON the results that nothing names.

    Placeholders in instructions that the step has for itself are filled in too.

    Args:
        step: the step.
        context: of the run, JSON texts.
        results: of its dependencies, JSON texts.

    Raises StepError (final) that names a value which is missing, or cannot be read.
    """
    values = {**context, **{f"steps.{name}.result": text for name, text in results.items()}}

    def filled(text: str) -> str:
        return _PLACEHOLDER.sub(lambda match: _value(match[1], values), text)

    expressions = _PLACEHOLDER.findall(step.action) + _PLACEHOLDER.findall(_instructions(step))
    named = {name for expression in expressions for name in _named(expression)}
    prompt = filled(step.action)
    if others := {name: text for name, text in results.items() if name not in named}:
        pairs = ", ".join(f"{json.dumps(name, ensure_ascii=False)}: {text}" for name, text in others.items())
        prompt = f"{prompt}\n\n{{{pairs}}}"
    agent = step.agent and replace(step.agent, instructions=filled(step.agent.instructions))
    return replace(step, action=prompt, agent=agent)


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
