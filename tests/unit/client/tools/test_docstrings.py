"""The descriptions of a tool and of its arguments that the model gets."""

from __future__ import annotations

import functools
import inspect
import subprocess
import sys
import warnings
from typing import Annotated, Any

import pytest
from pydantic import Field
from typing_extensions import Doc

from headwater import tool
from headwater._tools.docstrings import read_docstring

GOOGLE = """Forecast the weather.

    Args:
        city: Name of the city,
            in English.

    Keyword Args:
        days (int): How many days ahead.

    Returns:
        A sentence.

    Raises:
        KeyError: no such city.

    Example:
        >>> forecast("Bern")

    Note:
        It may rain.
    """
NUMPY = """Forecast the weather.

    Parameters
    ----------
    city : str
        Name of the city,
        in English.

    Other Parameters
    ----------------
    days : int, optional
        How many days ahead.

    Returns
    -------
    str
        A sentence.
    """
SPHINX = """Forecast the weather.

    :param city: Name of the city,
        in English.
    :param int days: How many days ahead.
    :returns: A sentence.
    :raises KeyError: no such city.
    """


@pytest.mark.parametrize("document", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_every_style_describes_the_tool_and_its_arguments(document: str) -> None:
    def forecast(city: str, *, days: int = 1) -> str:
        return ""

    forecast.__doc__ = document
    made = tool(forecast)
    assert made.description.startswith("Forecast the weather.\n\nReturns:\n    A sentence.")
    described = {name: facts["description"] for name, facts in made.parameters["properties"].items()}
    assert described == {"city": "Name of the city, in English.", "days": "How many days ahead."}


def test_sections_that_are_not_about_arguments_stay_in_the_description() -> None:
    assert read_docstring(inspect.cleandoc(GOOGLE)).text == (
        "Forecast the weather.\n\nReturns:\n    A sentence.\n\nRaises:\n    KeyError: no such city.\n\n"
        'Example:\n    >>> forecast("Bern")\n\nNote:\n    It may rain.'
    )


@pytest.mark.parametrize("document", ["", "Just: a text.", "Two\n\nparagraphs:\n- one\n- two", "Steps:\n\n1. one"])
def test_a_docstring_without_sections_is_the_description(document: str) -> None:
    assert read_docstring(document).text == document


def test_what_an_annotation_says_counts_more_than_the_docstring() -> None:
    @tool
    def plan(
        a: Annotated[str, "from\n  a string"],
        b: Annotated[int, Doc("from Doc")],
        c: Annotated[int, "at the type"] | None = None,
        d: Annotated[int, Field(description="from Field"), "from a string"] = 1,
        e: Annotated[int | None, "beside", Field(gt=0)] = None,
    ) -> str:
        """Plan.

        Args:
            a: from the docstring
            b: from the docstring
        """
        return ""

    described = {name: facts["description"] for name, facts in plan.parameters["properties"].items()}
    assert described == {
        "a": "from a string",
        "b": "from Doc",
        "c": "at the type",
        "d": "from Field",
        "e": "beside",
    }


def test_an_argument_that_the_function_does_not_have_is_warned_of() -> None:
    def forecast(city: str) -> str:
        """Forecast.

        Args:
            town: where
        """
        return city

    with pytest.warns(UserWarning, match="tool forecast: its docstring describes an argument 'town'"):
        tool(forecast)


def test_a_line_that_cannot_be_read_is_warned_of() -> None:
    def forecast(city: str) -> str:
        """Forecast.

        Args:
            city - where
        """
        return city

    with pytest.warns(UserWarning, match="tool forecast: a line .* cannot be read:.*city - where"):
        tool(forecast)


def test_a_description_that_no_schema_has_a_place_for_is_warned_of() -> None:
    def forecast(cities: list[Annotated[str, "a city"]]) -> str:
        return ""

    with pytest.warns(UserWarning, match="within the type of 'cities' is not used"):
        tool(forecast).parameters  # noqa: B018  makes the schema


def test_griffe_is_loaded_for_docstrings_with_sections_only() -> None:
    script = """
import sys
from headwater import tool
@tool
def plain(city: str) -> str:
    "Forecast."
    return city
plain.definition()
assert "griffe" not in sys.modules
sys.modules["griffe"] = None  # as if it were not installed
try:
    @tool
    def sections(city: str) -> str:
        "Forecast.\\n\\nArgs:\\n    city: where"
except Exception as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "a docstring with sections needs griffe: pip install griffelib\n"


def test_a_tool_whose_descriptions_are_given_has_no_warning() -> None:
    def forecast(city: str) -> str:
        """Forecast.

        Args:
            town: where
        """
        return city

    schema: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
    with warnings.catch_warnings(record=True) as caught:
        from headwater.tools import Tool

        Tool(forecast, parameters=schema, description="Forecast.")
    assert caught == []


def test_an_object_whose_call_has_no_docstring_is_described_by_its_class() -> None:
    class Forecast:
        """Forecast the weather.

        Args:
            city: Where.
        """

        def __call__(self, city: str) -> str:
            return city

    made = tool(name="forecast")(Forecast())
    assert made.description == "Forecast the weather."
    assert made.parameters["properties"]["city"]["description"] == "Where."


def base(city: str, days: int) -> str:
    """Forecast.

    Args:
        city: Where.
        days: How many.
    """
    return city * days


@pytest.mark.parametrize("given", [functools.partial(base, "Bern"), functools.partial(base, days=1)])
def test_an_argument_that_a_partial_gives_may_be_described(given: Any) -> None:
    with warnings.catch_warnings(record=True) as caught:
        tool(given)
    assert caught == []
