"""JSON in the sense that all languages share; a text is looked at quickly, and carefully where that is in doubt."""

from __future__ import annotations

import gc
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater_server.domain import json_text
from headwater_server.domain.json_text import check_json, members, parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES, st.booleans())
@settings(max_examples=100)
def test_a_value_comes_back(value: object, escaped: bool) -> None:
    try:
        text = json.dumps(value, ensure_ascii=escaped)
        text.encode()
    except UnicodeEncodeError:
        return  # a lone surrogate is no text
    if "\\ud" not in text:
        assert parse_json(text) == value


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is not JSON: Expecting value at character 0"),
        ('{"a": 1,}', "is not JSON: "),
        ("[1] x", "is not JSON: Extra data at character 4"),
        ('{"a": NaN}', "is not JSON: it has a number that JSON does not have: NaN; send null or a string"),
        ("[1e999]", "is not JSON: it has a number that JSON does not have: 1e999 is too large for a float"),
        ("9" * 5_000, "is not JSON: it has a number that JSON does not have: "),
        ('"\\ud800"', "is not JSON: it has half of a surrogate pair, which is not text"),
        ("[" * 101 + "]" * 101, "is not JSON that can be kept: it is too deep, nested more than 100 levels"),
        ('{"a":[' * 51 + "]}" * 51, "is not JSON that can be kept: it is too deep, nested more than 100 levels"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_fault_is_named_however_the_text_is_looked_at(text: str, fault: str) -> None:
    for look in (parse_json, check_json, members):
        with pytest.raises(ValueError) as caught:
            look(text)
        assert str(caught.value).startswith(fault)


@pytest.mark.parametrize(
    "text",
    ["[" * 100 + "]" * 100, '{"a":[' * 50 + "]}" * 50, '"' + "[" * 500 + '\\"{"', "1e308", "1" * 309, "[1E+200]"],
)
def test_what_looks_odd_and_is_json_is_taken(text: str) -> None:
    check_json(text)
    assert parse_json(text) == json.loads(text)


def test_the_members_of_an_object_are_the_texts_that_their_author_wrote() -> None:
    text = ' { "a" : 3.0, "b": [1,  {"c": "\\u00e9"}], "ü": 1e2, "a": 4 }'
    assert members(text) == {"a": "4", "b": '[1,  {"c": "\\u00e9"}]', "ü": "1e2"}
    with pytest.raises(ValueError, match="must be a JSON object"):
        members("[]")


def test_the_collector_pauses_for_a_large_text_only() -> None:
    text, seen = json.dumps([[]] * 40_000), gc.get_stats()[0]["collections"]
    parse_json(text)
    assert gc.get_stats()[0]["collections"] - seen < 5
    assert gc.isenabled()


def test_a_large_text_is_looked_at_without_its_values(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(text: str, depth: int) -> None:
        raise AssertionError("its values were built")

    monkeypatch.setattr(json_text, "_parse_carefully", never)
    check_json(json.dumps({"a": [[] for _ in range(100_000)], "b": [1.5] * 10_000}))
