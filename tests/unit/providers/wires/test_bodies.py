"""How options are merged into a body."""

from __future__ import annotations

from headwater_server.providers.wires.bodies import merge


def test_keys_replace_and_objects_merge_in_depth() -> None:
    ours = {"a": 1, "b": {"x": 1, "y": {"p": 1, "q": 2}}, "c": [1, 2]}
    assert merge(ours, {"a": {"z": 1}, "b": {"y": {"q": 3}}, "c": [9], "d": None}) == {
        "a": {"z": 1},
        "b": {"x": 1, "y": {"p": 1, "q": 3}},
        "c": [9],
        "d": None,
    }


def test_neither_side_is_changed_and_the_order_is_kept() -> None:
    ours, options = {"a": {"x": 1}, "b": 2}, {"c": 3, "a": {"y": 2}}
    assert list(merge(ours, options)) == ["a", "b", "c"]
    assert (ours, options) == ({"a": {"x": 1}, "b": 2}, {"c": 3, "a": {"y": 2}})
