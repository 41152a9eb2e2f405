"""Which process has a stream."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater_server.domain.process_identity import ProcessIdentity
from headwater_server.domain.stream_id import index_of, new_stream_id


@pytest.mark.parametrize("index", [0, 1, 63])
def test_an_id_names_the_process_that_made_it(index):
    assert index_of(new_stream_id(index)) == index


@pytest.mark.parametrize(
    "text",
    ["", "str_", "str_x", "str_0", f"str_{'a' * 22}", f"str_-1_{'a' * 22}", f"str_0_{'a' * 22}\n", f"str_0_{'a' * 21}",
     f"str_0_{'a' * 23}", f"str_٣_{'a' * 22}", f"str_99999_{'a' * 22}", f"run_0_{'a' * 22}"],
)  # fmt: skip
def test_what_is_no_id_names_nobody(text):
    assert index_of(text) is None
    assert ProcessIdentity(1, 3, Path("x")).owner(text) == 1


@pytest.mark.parametrize(("opened_by", "owner"), [(0, 0), (2, 2), (3, 0), (7, 1)])
def test_the_owner_is_one_of_the_processes_that_there_are(opened_by, owner):
    assert ProcessIdentity(1, 3, Path("x")).owner(new_stream_id(opened_by)) == owner


def test_a_single_process_has_every_stream_and_no_siblings():
    assert ProcessIdentity().owner(new_stream_id(5)) == 0
    assert ProcessIdentity().siblings == []
    assert ProcessIdentity().owns_runs
    with pytest.raises(ValueError, match="siblings"):
        ProcessIdentity().socket(0)
