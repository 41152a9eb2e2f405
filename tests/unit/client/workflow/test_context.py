"""The context on the caller's side: the values that may go out, and their way back into the caller's dict."""

from __future__ import annotations

import math
from types import MappingProxyType

import pytest

from headwater._workflow.context import context_text, update
from headwater.exceptions import ValidationError


def test_values_go_out_as_they_are():
    assert context_text({"a": 3, "b": 3.0, "c": [None, True, "é"], "d": {"k": 2**70}}) == (
        '{"a": 3, "b": 3.0, "c": [null, true, "é"], "d": {"k": 1180591620717411303424}}'
    )
    assert context_text(None) == "{}"


@pytest.mark.parametrize(
    ("context", "says"),
    [
        ([1], "context: must be a dict, not list"),
        (MappingProxyType({}), "context: must be a dict, not mappingproxy"),
        ({"a": {"b": [1, object()]}}, 'context["a"]["b"][1] is a value of type object, which does not convert to JSON; write what it says, and keep live objects in a closure'),
        ({"a": (1, 2j)}, 'context["a"][1] is a value of type complex'),
        ({"a": math.nan}, 'context["a"] is nan'),
        ({1: 1}, "context has the key 1"),
        ({"a": "\ud800"}, 'context["a"] has half of a surrogate pair'),
        ({"a": "x" * (5 * 2**20)}, "context (largest key: `a`) has 5,242,889 bytes as JSON, more than 1,048,576"),
    ],
)  # fmt: skip
def test_what_is_not_json_is_refused_by_its_key(context, says):
    with pytest.raises(ValidationError) as caught:
        context_text(context)
    assert says in str(caught.value)


def test_a_context_that_holds_itself_is_refused():
    context = {}
    context["a"] = context
    with pytest.raises(ValidationError, match="holds itself"):
        context_text(context)


def test_the_callers_dict_becomes_the_final_context():
    same, other = {"k": [1]}, [1]
    own = {"same": same, "changed": other, "gone": 1, "typed": 3}
    update(own, {"same": {"k": [1]}, "changed": [1, 2], "typed": 3.0, "new": None})
    assert repr(own) == "{'same': {'k': [1]}, 'changed': [1, 2], 'typed': 3.0, 'new': None}"
    assert own["same"] is same
    assert other == [1]


def test_a_value_that_was_made_something_else_meanwhile_is_replaced():
    class Equal:
        def __eq__(self, other):
            return True

        __hash__ = None

    own = {"a": Equal()}
    update(own, {"a": 1})
    assert own == {"a": 1}
    assert type(own["a"]) is int
