"""From a function to its schema for the model, and from the model's arguments to the function's."""

from __future__ import annotations

import copy
import functools
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from pydantic import BaseModel, Field

from headwater import Agent, ToolError, ValidationError, tool
from headwater._tools.schema import ArgumentsError
from headwater.tools import Tool, calculator_tool


class ProcessIdentity(BaseModel):
    """Where."""

    city: str
    title: str = "none"


def weather(place: ProcessIdentity, unit: Literal["C", "F"] = "C", days: int | None = None) -> str:
    """The weather at a place.

    Args:
        place: where; a city
            is enough.
        unit (str): of the temperature.

    Returns:
        A sentence.
    """
    return f"{place.city} {unit} {days}"


@tool
def double(number: int) -> int:
    """Twice a number."""
    return 2 * number


def bound(made: Tool[..., Any], arguments: str) -> Any:
    values = made.bind(arguments)
    return made(*values.args, **values.kwargs)


def test_the_schema_comes_from_signature_and_docstring() -> None:
    place = {
        "description": "Where.",
        "type": "object",
        "properties": {"city": {"type": "string"}, "title": {"type": "string", "default": "none"}},
        "required": ["city"],
    }
    assert Tool(weather).parameters == {
        "type": "object",
        "properties": {
            "place": {"$ref": "#/$defs/ProcessIdentity", "description": "where; a city is enough."},
            "unit": {"enum": ["C", "F"], "type": "string", "default": "C", "description": "of the temperature."},
            "days": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        },
        "required": ["place"],
        "additionalProperties": False,
        "$defs": {"ProcessIdentity": place},
    }
    assert Tool(weather).description == "The weather at a place.\n\nReturns:\n    A sentence."


def test_the_definition_that_is_sent_has_name_description_and_schema_as_text() -> None:
    sent = double.definition().function
    assert (sent.name, sent.description) == ("double", "Twice a number.")
    assert sent.parameters_json.startswith("{")


def test_arguments_become_what_the_function_expects() -> None:
    assert bound(Tool(weather), '{"place": {"city": "Bern"}, "days": "3"}') == "Bern C 3"
    assert bound(Tool(weather), '{"place": {"city": "Bern"}, "unit": "F"}') == "Bern F None"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("{}", "place: Field required"),
        ('{"place": {}}', "place.city: Field required"),
        ('{"place": {"city": "x"}, "unit": "K"}', "unit: Input should be 'C' or 'F'"),
        ('{"place": {"city": "x"}, "town": 1}', "town: Extra inputs"),
        ("[1]", "valid dictionary|an object"),
        ('{"place":', "Invalid JSON"),
        ("null", "valid dictionary|an object"),
        ('{"place": ' + "[" * 5000, "Invalid JSON"),
    ],
)
def test_arguments_against_the_schema_are_named(arguments: str, problem: str) -> None:
    with pytest.raises(ArgumentsError, match=problem):
        Tool(weather).bind(arguments)


def test_a_tool_without_arguments_takes_none() -> None:
    def now() -> str:
        return "noon"

    made = Tool(now)
    assert made.parameters == {"type": "object", "properties": {}, "additionalProperties": False}
    assert bound(made, "") == bound(made, "{}") == "noon"


def test_what_an_annotation_says_counts_more_than_the_docstring() -> None:
    def greet(name: Annotated[str, Field(description="a first name", max_length=5)]) -> str:
        """Greet.

        Args:
            name: somebody
        """
        return name

    assert Tool(greet).parameters["properties"]["name"] == {
        "type": "string", "description": "a first name", "maxLength": 5,
    }  # fmt: skip
    with pytest.raises(ArgumentsError, match="at most 5 characters"):
        Tool(greet).bind('{"name": "Bartholomew"}')


@pytest.mark.parametrize("name", ["schema", "copy", "model_config", "json", "title", "_private", "class_", "self"])
def test_an_argument_may_have_any_name(name: str) -> None:
    function: Callable[..., Any] = eval(f"lambda {name}, other=1: {name}")  # noqa: S307  the names are ours
    made = Tool(function, name="f")
    assert name in made.parameters["properties"]
    assert bound(made, f'{{"{name}": [1, null]}}') == [1, None]


def test_a_method_a_partial_a_callable_object_a_class_and_a_builtin_are_functions_too() -> None:
    class Shop:
        def __init__(self) -> None:
            self.stock = {"nuts": 3}

        def count(self, item: str) -> int:
            """How many there are."""
            return self.stock[item]

        @tool
        def has(self, item: str) -> bool:
            return item in self.stock

        def __call__(self, item: str, number: int = 1) -> str:
            """Buy."""
            return f"{number} {item}"

    @dataclass
    class Size:
        """A size."""

        width: int

    shop = Shop()
    assert bound(Tool(shop.count), '{"item": "nuts"}') == 3
    assert shop.has("nuts")
    assert list(shop.has.parameters["properties"]) == ["item"]
    assert bound(shop.has, '{"item": "bolts"}') is False
    partial = Tool(functools.partial(shop, number=7))
    assert (partial.name, partial.description) == ("Shop", "Buy.")
    assert list(partial.parameters["properties"]) == ["item"]
    assert bound(partial, '{"item": "nuts"}') == "7 nuts"
    with pytest.raises(ArgumentsError, match="number"):
        partial.bind('{"item": "nuts", "number": 1}')
    assert bound(Tool(shop), '{"item": "nuts"}') == "1 nuts"
    assert bound(Tool(Size), '{"width": 5}') == Size(5)
    assert bound(Tool(math.floor), '{"x": 2.5}') == 2


def test_a_model_and_a_named_tuple_have_the_types_of_their_fields() -> None:
    class Booking(BaseModel):
        """Book a room."""

        people: int = Field(description="How many come.")
        days: list[int] = Field(default_factory=list)

    class Point(NamedTuple):
        """A point."""

        x: int
        name: str = "p"

    properties = Tool(Booking).parameters["properties"]
    assert properties["people"] == {"type": "integer", "description": "How many come."}
    assert properties["days"] == {"type": "array", "items": {"type": "integer"}}
    assert bound(Tool(Booking), '{"people": "2"}') == Booking(people=2)
    assert Tool(Point).parameters["properties"]["x"] == {"type": "integer"}
    assert bound(Tool(Point), '{"x": 1}') == Point(1)


def test_the_decorator_leaves_the_function_callable_and_takes_name_and_description() -> None:
    @tool(name="thrice-it", description="Three times a number.")
    def triple(number: int) -> int:
        return 3 * number

    assert double(4) == 8
    assert triple(4) == 12
    assert (triple.name, triple.description) == ("thrice-it", "Three times a number.")
    assert (double.__name__, double.__doc__) == ("double", "Twice a number.")


async def test_a_decorated_async_function_is_still_awaited() -> None:
    @tool
    async def half(number: int) -> float:
        return number / 2

    assert await half(3) == 1.5


def star(*numbers: int) -> None: ...
def stars(**numbers: int) -> None: ...
def generator(x: int):
    yield x


async def async_generator(x: int):
    yield x


def with_field_as_default(x: int = Field(default=3)) -> None: ...
def with_a_function(f: Callable[[int], int]) -> None: ...
def with_something(thing: subprocess.Popen[str]) -> None: ...
def with_an_unknown_type(x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (star, "tool star: takes \\*numbers"),
        (stars, "tool stars: takes \\*\\*numbers"),
        (generator, "is a generator"),
        (async_generator, "is a generator"),
        (with_field_as_default, "has a Field as default of x; write x: Annotated"),
        (with_a_function, "JSON cannot hold"),
        (with_something, "JSON cannot hold"),
        (with_an_unknown_type, "not known in its module"),
        (lambda x: x, "name: must be 1 to 64 letters.*<lambda>"),
        (Tool(weather), None),
        (5, "tools\\[0\\]: must be a function or a tool, not int"),
    ],
)
def test_what_cannot_be_described_is_refused_when_it_is_given(function: Any, problem: str | None) -> None:
    if problem is None:
        assert Agent(tools=[function]).tools == (function,)
        return
    with pytest.raises(ValidationError, match=problem):
        Agent(tools=[function])
    agent = Agent()
    with pytest.raises(ValidationError, match=problem):
        agent.add_tool(function)
    assert agent.tools == ()


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 65, "a.b", "a\n"])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="name: must be 1 to 64 letters, digits, _ or -"):
        tool(name=name)(weather)


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"tools\[1\]: has the name of an earlier tool, 'double'"):
        Agent(tools=[double, double])
    agent = Agent(tools=[weather])
    with pytest.raises(ValidationError, match="earlier tool, 'weather'"):
        agent.add_tool(weather)


@pytest.mark.parametrize("tools", ["double", {"double": double}, 5])
def test_tools_are_a_list(tools: Any) -> None:
    with pytest.raises(ValidationError, match="tools: must be a list"):
        Agent(tools=tools)


def test_tools_are_an_attribute_that_can_be_set() -> None:
    agent = Agent(tools=[double])
    agent.add_tool(calculator_tool)
    assert [made.name for made in agent.tools] == ["double", "calculator"]
    agent.tools = [weather]
    assert [made.name for made in agent.tools] == ["weather"]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"max_tool_rounds": 0}, "max_tool_rounds: must be at least 1"),
        ({"max_tool_rounds": 1.5}, "max_tool_rounds: must be an int"),
        ({"tool_timeout": 0}, "tool_timeout: must be above 0"),
        ({"tool_timeout": "1"}, "tool_timeout: must be a number"),
    ],
)
def test_bad_limits_are_refused_at_once_or_by_the_call(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Agent(**settings)
    agent = Agent(tools=[double])
    for name, value in settings.items():
        setattr(agent, name, value)
        with pytest.raises(ValidationError, match=problem):
            agent.stream("Hi")
        with pytest.raises(ValidationError, match=f"{name}: is a setting of the agent"):
            Agent().stream("Hi", **settings)


def test_an_agent_with_tools_is_copied_and_pickled() -> None:
    agent = Agent(tools=[double, weather, calculator_tool], max_tool_rounds=3, tool_timeout=None)
    for other in (copy.copy(agent), copy.deepcopy(agent), pickle.loads(pickle.dumps(agent))):  # noqa: S301
        assert [made.name for made in other.tools] == ["double", "weather", "calculator"]
        assert bound(other.tools[1], '{"place": {"city": "Bern"}}') == "Bern C None"
        assert (other.max_tool_rounds, other.tool_timeout) == (3, None)


def run_without_pydantic(program: str) -> subprocess.CompletedProcess[str]:
    code = "import sys\nfor name in ('pydantic', 'pydantic_core'): sys.modules[name] = None\n" + program
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)


def test_without_pydantic_the_calculator_works_and_a_function_says_what_to_install() -> None:
    done = run_without_pydantic(
        "from headwater import Agent, ToolError\n"
        "from headwater.tools import calculator_tool\n"
        "agent = Agent(tools=[calculator_tool])\n"
        'print(calculator_tool(*calculator_tool.bind(\'{"expression": "2+2"}\').args))\n'
        "try: agent.add_tool(lambda: 1)\n"
        "except ValueError: pass\n"
        "def f(x: int) -> int: return x\n"
        "try: agent.add_tool(f)\n"
        "except ToolError as error: print(error)\n"
    )
    assert done.stderr == ""
    assert done.stdout == "4\na tool made of a function needs pydantic: pip install pydantic\n"


def test_an_agent_without_tools_never_loads_pydantic() -> None:
    program = "import sys, headwater; headwater.Agent().stream('x'); headwater.tool; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("[1]", "not a JSON object"),
        ("{", "not a JSON object"),
        ("{}", "missing a required"),
        ('{"expression": "1", "x": 1}', "'x'"),
    ],
)
def test_a_schema_given_by_hand_is_checked_as_far_as_the_signature_goes(arguments: str, problem: str) -> None:
    with pytest.raises(ArgumentsError, match=problem):
        calculator_tool.bind(arguments)


def test_the_error_of_tools_is_exported() -> None:
    from headwater import tools

    assert tools.ToolError is ToolError


def test_parameters_that_are_no_schema_are_refused() -> None:
    with pytest.raises(ValidationError, match="parameters: must be a JSON Schema, a dict, not int"):
        Tool(double, parameters=5)  # type: ignore[arg-type]


def test_a_return_annotation_that_cannot_be_resolved_does_not_matter() -> None:
    @tool
    def look_up(city: Annotated[str, Field(min_length=1)]) -> NowhereToBeFound:  # type: ignore[name-defined]  # noqa: F821
        return city

    assert look_up.parameters["properties"] == {"city": {"type": "string", "minLength": 1}}
