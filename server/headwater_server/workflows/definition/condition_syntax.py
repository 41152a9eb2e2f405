"""The form of a condition, beyond being CEL: rules that exclude growth, and the names that exist.

A condition that takes too long is stopped (see `expressions`); by these rules its author learns it before the run. A
macro (`all`, `exists`, `exists_one`, `filter`, `map`) visits each element of a list. It must not be inside another
one, and it must stand on a path into the context or on a list of constants, so no condition can multiply lists. A
regular expression is compiled each time it is evaluated, so there are few, and none inside a macro. Each `+` copies
both its operands, so there are few of them too. The remaining cost depends on the data that a condition reads;
`conditions` limits that.

The library shows no syntax tree, so this module reads the tokens of an expression that the library has parsed. Each
token has a kind of one character, and the rules are regular expressions over the string of kinds. Example: the kinds of
`context.items.all(x, x > 1)` are `C.I.I(I,I>N)`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

MACROS = frozenset({"all", "exists", "exists_one", "filter", "map"})
FUNCTIONS = frozenset(
    {"bytes", "double", "duration", "dyn", "has", "int", "size", "string", "timestamp", "type", "uint"}
)
METHODS = frozenset(
    {
        *("contains", "endsWith", "matches", "size", "startsWith"),
        *("getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours"),
        *("getMilliseconds", "getMinutes", "getMonth", "getSeconds"),
    }
)
TYPES = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"})
CURE = "let the step before work it out"
MAX_MACROS = 4
MAX_MATCHES = 4
MAX_ADDITIONS = 10

TOKEN = re.compile(
    r"""
    (?P<space> \s+ | //[^\n]* )
  | (?P<S> [bB]? (?: [rR] (?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\n]*" | '[^'\n]*' )
                 | \"{3} (?: \\. | [^\\] )*? \"{3} | '{3} (?: \\. | [^\\] )*? '{3}
                 | " (?: \\. | [^"\\\n] )* " | ' (?: \\. | [^'\\\n] )* ' ) )
  | (?P<N> 0[xX][0-9a-fA-F]+[uU]? | (?: \d+ (?: \.\d+ )? | \.\d+ ) (?: [eE][+-]?\d+ )? [uU]? )
  | (?P<I> [A-Za-z_][A-Za-z0-9_]* )
  | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_CONSTANTS = frozenset({"true", "false", "null"})
_LIST = re.compile(r"(?:(?<!\.)C(?:\.I|\[[SN]\])*|(?<![CISN\])}])\[(?:[SNK](?:,[SNK])*)?\])\.$")
_CALL = re.compile(r"\.I\(")
_PLAIN_STRING = re.compile(r"""(["'])([^"'\\]*)\1""")


@dataclass(frozen=True, slots=True)
class Reading:
    """The part of the context that a condition reads.

    Attributes:
        keys: keys of the context that it names.
        whole: it may read any key, such as `context[context.a]`.
        macros: it visits the elements of a list.
        searches: it has a macro or a regular expression.
        inner: how often it reads the context again for each element.
    """

    keys: tuple[str, ...]
    whole: bool
    macros: bool
    searches: bool
    inner: int


class ConditionSyntaxError(Exception):
    """A condition contains something that it must not; the message says what, and the cure."""


def read(condition: str) -> Reading:
    """Reads a condition that the CEL library has parsed. Raises ConditionSyntaxError."""
    return _Reader(condition).read()


@dataclass(frozen=True, slots=True)
class _Macro:
    """The call of a macro: the first token of its arguments, the one after them, and its name for an element."""

    name: str
    first: int
    end: int
    element: str

    def covers(self, place: int) -> bool:
        return self.first <= place < self.end


class _Reader:
    def __init__(self, condition: str) -> None:
        self._texts: list[str] = []
        kinds = []
        for match in TOKEN.finditer(condition):
            kind, text = match.lastgroup or "", match.group()
            if kind != "space":
                self._texts.append(text)
                kinds.append(_kind(kind, text))
        self._kinds = "".join(kinds)
        self._macros: list[_Macro] = []

    def read(self) -> Reading:
        self._find_macros()
        self._check_names()
        places = self._places("C")
        keys = [self._key(place) for place in places]
        inner = sum(macro.covers(place) for place in places for macro in self._macros)
        named = dict.fromkeys(key for key in keys if key is not None)
        searches = bool(self._macros or self._methods({"matches"}))
        return Reading(tuple(named), None in keys, bool(self._macros), searches, inner)

    def _places(self, kind: str) -> list[int]:
        """The positions of tokens of a kind that are not members of something."""
        return [place for place, other in enumerate(self._kinds) if other == kind and self._before(place) != "."]

    def _before(self, place: int) -> str:
        return self._kinds[place - 1] if place else ""

    def _methods(self, names: Collection[str]) -> list[int]:
        """The positions at which methods of these names are called."""
        return [match.start() + 1 for match in _CALL.finditer(self._kinds) if self._texts[match.start() + 1] in names]

    def _find_macros(self) -> None:
        matches, macros = self._methods({"matches"}), self._methods(MACROS)
        additions = self._kinds.count("+")
        for what, count, most in (
            ("`matches`", len(matches), MAX_MATCHES),
            ("macros", len(macros), MAX_MACROS),
            ("`+`", additions, MAX_ADDITIONS),
        ):
            if count > most:
                raise ConditionSyntaxError(f"has {count} {what}, at most {most} are allowed; {CURE}")
        for place in macros:
            name, element, end = self._texts[place], self._texts[place + 2], self._closing(place + 1)
            if self._macros and place < self._macros[-1].end:
                outer = self._macros[-1].name
                raise ConditionSyntaxError(f"`{name}` is inside `{outer}`, and a macro may not be inside another")
            if not _LIST.search(self._kinds[:place]):
                raise ConditionSyntaxError(
                    f"`{name}` must stand on a path such as `context.items`, or on a list of constants"
                )
            if element == "context":
                raise ConditionSyntaxError(f"`{name}` must not call its element `context`")
            if any(place < other < end for other in matches):
                raise ConditionSyntaxError(f"`matches` must not be inside `{name}`")
            self._macros.append(_Macro(name, place + 2, end, element))

    def _closing(self, opening: int) -> int:
        depth = 0
        for place in range(opening, len(self._kinds)):
            depth += (self._kinds[place] in "([{") - (self._kinds[place] in ")]}")
            if depth == 0:
                return place
        return len(self._kinds)

    def _check_names(self) -> None:
        for place, kind in enumerate(self._kinds):
            if kind != "I":
                continue
            name, member = self._texts[place], self._before(place) == "."
            if self._kinds.startswith("(", place + 1):
                if name not in (METHODS | MACROS if member else FUNCTIONS):
                    raise ConditionSyntaxError(f"there is no {'method' if member else 'function'} `{name}` here")
            elif not member and name not in TYPES and not self._is_element(place):
                raise ConditionSyntaxError(f"`{name}` is not known; a key of the context is written `context.{name}`")

    def _is_element(self, place: int) -> bool:
        return any(macro.covers(place) and self._texts[place] == macro.element for macro in self._macros)

    def _key(self, place: int) -> str | None:
        """The key that is read from the `context` at this place; None when the condition does not fix it."""
        after = self._kinds[place + 1 : place + 5]
        if after.startswith(".I") and not after.startswith(".I("):
            return self._texts[place + 2]
        if after.startswith("[S]"):
            return _text(self._texts[place + 2])
        if self._kinds[:place].endswith("Sn") and after[:1] not in {".", "["}:
            return _text(self._texts[place - 2])
        return None


def _kind(kind: str, text: str) -> str:
    if kind == "I":
        return {"context": "C", "in": "n"}.get(text, "K" if text in _CONSTANTS else "I")
    return text if kind == "other" else kind


def _text(literal: str) -> str | None:
    match = _PLAIN_STRING.fullmatch(literal)
    return match.group(2) if match else None
