"""Pages: sizes and tokens."""

from __future__ import annotations

import pytest

from headwater_server.domain.errors import HeadwaterError
from headwater_server.transport.convert import paging


@pytest.mark.parametrize(("asked", "size"), [(0, 100), (1, 1), (1000, 1000), (5000, 1000)])
def test_sizes(asked, size):
    assert paging.page_size(asked) == size


def test_a_negative_size_is_refused():
    with pytest.raises(HeadwaterError, match="page_size"):
        paging.page_size(-1)


@pytest.mark.parametrize("position", [1, 42, 10**12])
def test_a_token_leads_back_to_its_position(position):
    assert paging.page_start(paging.page_token(position)) == position


def test_no_token_is_the_first_page_and_the_last_page_has_none():
    assert paging.page_start("") == 0
    assert paging.page_token(0) == ""


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "!!!!",
        "MTrZow==",
        "MTph",
        "Mjox",
        "é",
        "MTo5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5",
        "MTo5OTk5OTk5OTk5OTk5OTk5OTk5",
    ],
)
def test_a_token_of_somebody_else_is_refused(token):
    with pytest.raises(HeadwaterError, match="page_token"):
        paging.page_start(token)


def names(size: int = 0, token: str = "") -> tuple[list[str], str]:
    return paging.page_by_name(["c", "ä", "a", "b"], str, size, token)


def test_a_list_by_name_comes_in_pages_that_follow_each_other():
    first, token = names(3)
    second, last = names(3, token)
    assert (first, second, last) == (["a", "b", "c"], ["ä"], "")


def test_a_page_by_name_that_is_just_full_is_the_last():
    assert names(4) == (["a", "b", "c", "ä"], "")


def test_a_page_by_name_continues_after_a_name_that_is_gone():
    _, token = names(2)
    assert paging.page_by_name(["a", "c", "d"], str, 0, token) == (["c", "d"], "")


@pytest.mark.parametrize("token", ["x", "!!!!", paging.page_token(7), "é", "bmFtZTo="])
def test_a_token_of_another_list_is_refused(token):
    with pytest.raises(HeadwaterError, match="page_token"):
        names(2, token)


def test_a_negative_size_of_a_page_by_name_is_refused():
    with pytest.raises(HeadwaterError, match="page_size"):
        names(-1)
