from __future__ import annotations

import json

import pytest

from headwater_server.domain.failure import StepError
from headwater_server.workflows.definition import condition_syntax, conditions
from headwater_server.workflows.definition.condition_syntax import FUNCTIONS, METHODS, TYPES
from headwater_server.workflows.definition.conditions import check, evaluate


def texts(values: dict[str, object]) -> dict[str, str]:
    return {key: json.dumps(value) for key, value in values.items()}


def error_of(condition: str, context: dict[str, str]) -> str:
    with pytest.raises(StepError) as caught:
        evaluate(condition, context)
    assert caught.value.failure.non_retryable
    assert caught.value.failure.message.startswith(f"its condition `{condition}`: ")
    return caught.value.failure.message.removeprefix(f"its condition `{condition}`: ")


@pytest.mark.parametrize(
    ("condition", "values", "holds"),
    [
        ("context.score < 0.8", {"score": 0.5}, True),
        ("context.score < 0.8", {"score": 1}, False),
        ("context.score < 1.5", {"score": 1}, True),
        ("context.score >= 1", {"score": 1.5}, True),
        ("context.n == 1", {"n": 1.0}, True),
        ("context.n == 9007199254740993", {"n": 9007199254740993}, True),
        ("context.n < -9223372036854775807", {"n": -(2**63)}, True),
        ("has(context.a)", {}, False),
        ("has(context.a) && context.a > 1", {}, False),
        ("'a' in context", {"a": None}, True),
        ("'b' in context", {"a": 1}, False),
        ("context['a b'].c == 'x'", {"a b": {"c": "x"}}, True),
        ("context[context.which] == 2", {"which": "n", "n": 2}, True),
        ("context.items.exists(i, i.ok && i.n == context.n)", {"items": [{"ok": True, "n": 2}], "n": 2}, True),
        ("['a', 'b'].exists(x, x == context.kind)", {"kind": "b"}, True),
        ("context.text.matches('^h.llo$')", {"text": "hello"}, True),
        ("context.a == 'all(x, exists(y' // map(", {"a": "x"}, False),
        ("context.face == '😀'", {"face": "😀"}, True),
        ("timestamp(context.t).getFullYear() == 2020", {"t": "2020-01-01T00:00:00Z"}, True),
    ],
)  # fmt: skip
def test_a_condition_holds_or_not(condition: str, values: dict[str, object], holds: bool) -> None:
    assert check(condition) is None
    assert evaluate(condition, texts(values)) is holds


@pytest.mark.parametrize(
    ("condition", "wrong"),
    [
        ("", "is not CEL: Syntax error: mismatched input '<EOF>' (line 1, column 1)"),
        ("context.a ==\n= 1", "is not CEL: Syntax error: token recognition error at: '= ' (line 2, column 1)"),
        ("score < 1", "`score` is not known; a key of the context is written `context.score`"),
        ("foo(1)", "there is no function `foo` here"),
        ("context.a.foo()", "there is no method `foo` here"),
        ("optional.of(1) == 1", "`optional` is not known; a key of the context is written `context.optional`"),
        ("(" * 200 + "true" + ")" * 200, "is not CEL: it is nested too deeply (line 1, column 97)"),
        ("x" * 1_001, "has 1,001 characters, at most 1,000 are allowed; let the step before work it out"),
        ("context.a.all(x, context.b.exists(y, y > x))", "`exists` is inside `all`, and a macro may not be inside another"),
        ("context.a. all (x, x.b . map (y, y) == [])", "`map` is inside `all`, and a macro may not be inside another"),
        ("context.a.map(x, x).all(y, true)", "`all` must stand on a path such as `context.items`, or on a list of constants"),
        ("(context.a + context.a).all(y, true)", "`all` must stand on a path such as `context.items`, or on a list of constants"),
        ("[context.a + context.a][0].all(x, true)", "`all` must stand on a path such as `context.items`, or on a list of constants"),
        ("{'a': [1]}.a.all(x, true)", "`all` must stand on a path such as `context.items`, or on a list of constants"),
        ("context.a.exists(x, context.b.matches(x))", "`matches` must not be inside `exists`"),
        ("context.a.all(context, true)", "`all` must not call its element `context`"),
        ("&&".join(["context.a.matches('x')"] * 5), "has 5 `matches`, at most 4 are allowed; let the step before work it out"),
        ("&&".join(["context.a.all(x, true)"] * 5), "has 5 macros, at most 4 are allowed; let the step before work it out"),
        ("+".join(["1"] * 12) + "== 12", "has 11 `+`, at most 10 are allowed; let the step before work it out"),
    ],
)  # fmt: skip
def test_a_bad_condition_is_told_before_it_runs(condition: str, wrong: str) -> None:
    assert check(condition) == wrong
    with pytest.raises(StepError, match="its condition"):
        evaluate(condition, {})


@pytest.mark.parametrize(
    ("condition", "context", "error"),
    [
        ("context.score < 1", {}, "the context has no key `score`; has(context.score) asks"),
        ("context['a b'] < 1", {}, 'the context has no key `a b`; "a b" in context asks'),
        ("context.a.b < 1", {"a": "{}"}, "there is no key `b` where it looks for one; has(…) asks"),
        ("context.a", {"a": "3"}, "it gives a number, not a bool; compare it with something"),
        ("context", {}, "it gives a dict, not a bool; compare it with something"),
        ("context.a / 0 == 1", {"a": "1"}, "division by zero in CEL expression"),
        ("context.a[3] == 1", {"a": "[]"}, "index out of bounds: 3"),
        ("context.a.matches('(')", {"a": '""'}, "Function 'matches' error: '(' not a valid regex:"),
        ("context.a == 1", {"a": "9223372036854775808"}, "the context's key `a` cannot be read: the integer 9223372036854775808 does not fit in 64 bits; make it a string"),
        ("context.a == 1", {"a": "9" * 10_000}, f"the context's key `a` cannot be read: the integer {'9' * 30} does not fit in 64 bits; make it a string"),
        ("context.a == 1", {"a": "NaN"}, "the context's key `a` cannot be read: NaN is not JSON"),
        ("context.a == 1", {"a": "[" * 101 + "]" * 101}, "the context's key `a` cannot be read: it is nested more than 100 deep"),
        ("context.a == 1", {"a": '"' + "x" * 262_143 + '"'}, "it would read 262,145 characters, at most 262,144 are allowed; let the step before work it out"),
        ("context.a.matches('x')", {"a": '"' + "x" * 65_535 + '"'}, "it would read 65,537 characters, at most 65,536 are allowed; let the step before work it out"),
        ("context.a.all(x, true)", {"a": json.dumps([1] * 1_000)}, "its lists hold 1,001 values, at most 1,000 are allowed; let the step before work it out"),
        ("context.a.all(x, context.a == context.a && context.a == context.a)", {"a": json.dumps([1] * 999)}, "it reads too much of the context again for each element of a list; let the step before work it out"),
    ],
)  # fmt: skip
def test_a_condition_that_cannot_be_evaluated_says_why(condition: str, context: dict[str, str], error: str) -> None:
    assert error_of(condition, context) == error


def test_mixed_numbers_in_a_sum_name_the_cure() -> None:
    assert error_of("context.a + 1.5 > 2", {"a": "1"}).endswith("; convert with double(x), int(x), string(x)")


def test_a_lone_surrogate_names_its_key() -> None:
    assert error_of("context.a == 'x'", {"a": '"\\ud800"'}).startswith("the context's key `a` cannot be read: ")


def test_values_that_a_condition_does_not_name_cost_and_hurt_nothing() -> None:
    assert evaluate("context.a == 1", {"a": "1", "deep": "[" * 1_000_000, "big": "9" * 10_000})


def test_a_panic_of_the_library_becomes_a_step_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        pass

    class Broken:
        def execute(self, values: object) -> object:
            raise Panic("index out of range")

    compiled = conditions._Compiled(Broken(), condition_syntax.read("context.a == 1"))  # type: ignore[arg-type]
    monkeypatch.setattr(conditions, "_compile", lambda condition: compiled)
    assert error_of("context.a == 1", {"a": "1"}) == "index out of range"


@pytest.mark.parametrize("name", sorted(TYPES))
def test_a_type_that_conditions_may_name_is_known_to_the_library(name: str) -> None:
    assert isinstance(evaluate(f"type(context.a) == {name}", {"a": "1"}), bool)


@pytest.mark.parametrize("name", sorted(FUNCTIONS - {"has"}))
def test_a_function_that_conditions_may_call_is_known_to_the_library(name: str) -> None:
    argument = {"duration": "'1s'", "timestamp": "'2020-01-01T00:00:00Z'", "size": "'1'", "bytes": "'1'"}.get(name, "1")
    assert evaluate(f"{name}({argument}) == {name}({argument})", {})


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_that_conditions_may_call_is_known_to_the_library(name: str) -> None:
    target = "timestamp('2020-01-01T00:00:00Z')" if name.startswith("get") else "'abc'"
    argument = "" if name.startswith("get") or name == "size" else "'abc'"
    assert evaluate(f"{target}.{name}({argument}) == {target}.{name}({argument})", {})
