"""Halves of surrogate pairs: joined over deltas, never let out."""

from __future__ import annotations

from headwater_server.domain.chunks import Delta, ToolCallDelta
from headwater_server.providers.wires.surrogates import SurrogateJoiner, without_surrogates

HIGH, LOW = "\ud83d", "\ude00"


def join(*deltas: Delta) -> list[Delta]:
    joiner = SurrogateJoiner()
    out = [clean for delta in deltas for clean in joiner.join(delta)]
    return out + joiner.flush()


def arguments(index: int, text: str) -> Delta:
    return Delta(tool_calls=[ToolCallDelta(index, arguments=text)])


def test_ordinary_text_passes_untouched() -> None:
    delta = Delta(content="plain 😀 text")
    assert join(delta)[0] is delta


def test_halves_in_two_deltas_of_text_are_joined() -> None:
    assert join(Delta(content="a" + HIGH), Delta(content=LOW + "b")) == [Delta(content="a"), Delta(content="😀b")]


def test_a_delta_that_is_only_half_a_character_waits_for_the_other_half() -> None:
    assert join(Delta(content=HIGH), Delta(content=LOW)) == [Delta(content="😀")]


def test_halves_of_thinking_are_joined() -> None:
    assert join(Delta(thinking=HIGH), Delta(thinking=LOW)) == [Delta(thinking="😀")]


def test_halves_of_the_arguments_of_one_call_are_joined() -> None:
    assert join(arguments(1, HIGH), arguments(1, LOW)) == [arguments(1, "😀")]


def test_halves_of_different_calls_are_not_joined() -> None:
    assert join(arguments(0, HIGH), arguments(1, LOW)) == [arguments(0, "\ufffd"), arguments(1, "\ufffd")]


def test_text_and_thinking_are_not_joined() -> None:
    assert join(Delta(thinking="t" + HIGH), Delta(content=LOW + "c")) == [
        Delta(thinking="t"),
        Delta(thinking="\ufffd"),
        Delta(content="\ufffdc"),
    ]


def test_two_blocks_are_not_joined() -> None:
    assert join(Delta(content=HIGH, block=0), Delta(content=LOW, block=1)) == [
        Delta(content="\ufffd", block=0),
        Delta(content="\ufffd", block=1),
    ]


def test_a_half_that_is_followed_by_something_else_becomes_u_fffd_in_its_place() -> None:
    assert join(Delta(content="a" + HIGH), Delta(content="b")) == [Delta(content="a"), Delta(content="\ufffdb")]


def test_a_held_half_comes_out_as_u_fffd_at_the_end() -> None:
    assert join(Delta(content="a" + HIGH, event_type="e")) == [
        Delta(content="a", event_type="e"),
        Delta(content="\ufffd", event_type="e"),
    ]


def test_three_halves_are_a_lone_one_and_a_pair() -> None:
    assert join(Delta(content=HIGH), Delta(content=HIGH), Delta(content=LOW)) == [
        Delta(content="\ufffd"),
        Delta(content="😀"),
    ]


def test_ids_names_and_signatures_hold_no_surrogate_either() -> None:
    call = ToolCallDelta(0, id=f"i{LOW}", name=f"n{HIGH}", arguments="{}")
    (delta,) = join(Delta(tool_calls=[call], thinking_signature=HIGH, redacted_thinking=LOW, event_type=HIGH))
    assert delta.tool_calls == [ToolCallDelta(0, id="i\ufffd", name="n\ufffd", arguments="{}")]
    assert (delta.thinking_signature, delta.redacted_thinking, delta.event_type) == ("\ufffd",) * 3


def test_a_half_in_the_middle_of_a_delta_is_lone() -> None:
    assert join(Delta(thinking=HIGH, content=LOW)) == [Delta(thinking="\ufffd", content="\ufffd")]


def test_json_values_are_cleaned_in_depth() -> None:
    assert without_surrogates({f"k{HIGH}": [f"{HIGH}{LOW}", {"x": LOW}, 1, None]}) == {
        "k\ufffd": ["😀", {"x": "\ufffd"}, 1, None]
    }
