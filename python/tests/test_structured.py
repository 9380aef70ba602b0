"""Structured answers: dataclasses, TypedDicts, pydantic models and other types."""

import dataclasses
import datetime
import json
from typing import Annotated, Literal, NamedTuple, Optional, TypedDict

import pydantic
import pytest

import fanweave as fw
from fanweave._schema import Invalid, Reader
from fanweave.testing import script


@dataclasses.dataclass
class Author:
    name: str
    born: int | None = None


@dataclasses.dataclass
class Book:
    """A book to read."""

    title: Annotated[str, "the title alone"]
    authors: list[Author]
    published: datetime.date
    kind: Literal["novel", "essay"] = "novel"

    def __post_init__(self):
        if not self.title:
            raise ValueError("the title is empty")


class Movie(TypedDict, total=False):
    title: str
    year: int


class Point(NamedTuple):
    x: float
    y: float = 0.0


class Recipe(pydantic.BaseModel):
    """A recipe."""

    name: str
    minutes: int = pydantic.Field(gt=0, description="time in the kitchen")
    steps: list[str] = []

    @pydantic.field_validator("name")
    @classmethod
    def is_short(cls, name: str) -> str:
        if len(name) > 20:
            raise ValueError("the name is too long")
        return name


class Tree(pydantic.BaseModel):
    value: int
    children: list["Tree"] = []


@dataclasses.dataclass
class Node:
    value: int
    next: Optional["Node"] = None


EMMA = {"title": "Emma", "authors": [{"name": "Jane Austen", "born": 1775}], "published": "1815-12-23"}


async def test_an_answer_becomes_a_dataclass():
    book = await script(json.dumps(EMMA)).structured(Book).ainvoke("A book?")
    assert book == Book("Emma", [Author("Jane Austen", 1775)], datetime.date(1815, 12, 23), "novel")


@pytest.mark.parametrize(
    ("type", "answer", "value"),
    [
        (Movie, {"title": "Alien"}, {"title": "Alien"}),
        (Point, {"x": 1}, Point(1.0, 0.0)),
        (Recipe, {"name": "Soup", "minutes": 5}, Recipe(name="Soup", minutes=5)),
        (Tree, {"value": 1, "children": [{"value": 2}]}, Tree(value=1, children=[Tree(value=2)])),
        (Node, {"value": 1, "next": {"value": 2, "next": None}}, Node(1, Node(2))),
        (list[Point], {"answer": [{"x": 1, "y": 2}]}, [Point(1.0, 2.0)]),
        (int, {"answer": 3}, 3),
        (str | None, {"answer": None}, None),
        (tuple[int, str], {"answer": [1, "a"]}, (1, "a")),
        (Literal["a", "b"], {"answer": "b"}, "b"),
        (list[Recipe], {"answer": [{"name": "Soup", "minutes": 5}]}, [Recipe(name="Soup", minutes=5)]),
    ],
    ids=str,
)
def test_other_types_are_read(type, answer, value):
    read = script(json.dumps(answer)).structured(type).invoke("?")
    assert read == value
    assert read.__class__ is value.__class__


async def test_an_answer_that_does_not_fit_goes_back_with_the_reasons():
    wrong = {"title": "", "authors": [{"name": 3}], "published": "soon"}
    model = script(json.dumps(wrong), json.dumps(EMMA))
    book = await model.structured(Book).ainvoke("A book?")
    assert book.title == "Emma"
    told = model.prompts[1].messages[-1].text
    assert 'published: must be a date in ISO 8601, got "soon"' in told
    with pytest.raises(Invalid) as invalid:
        Reader(Book).read(wrong)
    assert invalid.value.problems == [
        "authors[0].name: must be a text, got 3",
        'published: must be a date in ISO 8601, got "soon"',
    ]


@pytest.mark.parametrize(
    ("type", "wrong", "reason"),
    [
        (Book, {**EMMA, "title": ""}, "the title is empty"),
        (Recipe, {"name": "x" * 30, "minutes": 5}, "the name is too long"),
        (Recipe, {"name": "x", "minutes": 0}, "minutes: Input should be greater than 0"),
        (Book, {**EMMA, "isbn": 1}, "isbn"),
    ],
    ids=["post_init", "validator", "constraint", "unknown"],
)
async def test_the_checks_of_a_type_are_told_to_the_model_and_raised_at_the_end(type, wrong, reason):
    model = script(*[json.dumps(wrong)] * 2)
    with pytest.raises(fw.ParseError, match=reason):
        await model.structured(type).ainvoke("?")
    assert len(model.prompts) == 2
    assert reason in model.prompts[1].messages[-1].text
    model = script(json.dumps(wrong))
    with pytest.raises(fw.ParseError, match=reason):
        await model.structured(type, retries=0).ainvoke("?")


async def test_an_exception_that_is_no_validation_error_ends_the_run_as_itself():
    error = RuntimeError("the database is down")

    class Broken(pydantic.BaseModel):
        name: str

        @pydantic.field_validator("name")
        @classmethod
        def fails(cls, name: str) -> str:
            raise error

    model = script('{"name": "a"}', '{"name": "b"}')
    with pytest.raises(RuntimeError) as raised:
        await model.structured(Broken).ainvoke("?")
    assert raised.value is error
    assert len(model.prompts) == 1


async def test_a_stream_yields_the_value_so_far():
    model = script('{"title": "Emma and others", "year": 1815}')
    stream = model.structured(Movie).astream("?")
    values = [value async for value in stream]
    assert values[0] != values[-1]
    assert values[-1] == {"title": "Emma and others", "year": 1815}
    assert all("Emma and others".startswith(value.get("title", "")) for value in values)
    assert await stream.output() == {"title": "Emma and others", "year": 1815}


def test_the_schema_of_a_dataclass_is_inline_and_described():
    assert Reader(Book).schema == {
        "description": "A book to read.",
        "type": "object",
        "properties": {
            "title": {"type": "string", "description": "the title alone"},
            "authors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "born": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                    },
                    "required": ["name"],
                    "additionalProperties": False,
                },
            },
            "published": {"type": "string", "format": "date"},
            "kind": {"type": "string", "enum": ["novel", "essay"], "default": "novel"},
        },
        "required": ["title", "authors", "published"],
        "additionalProperties": False,
    }


def test_the_schema_of_a_pydantic_model_has_no_generated_titles():
    assert Reader(Recipe).schema == {
        "description": "A recipe.",
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "minutes": {"type": "integer", "exclusiveMinimum": 0, "description": "time in the kitchen"},
            "steps": {"type": "array", "items": {"type": "string"}, "default": []},
        },
        "required": ["name", "minutes"],
    }


@pytest.mark.parametrize("type", [Tree, Node])
def test_a_type_that_contains_itself_has_a_definition(type):
    schema = Reader(type).schema
    assert json.dumps(schema).count(f'"#/$defs/{type.__name__}"') >= 1
    assert type.__name__ in schema["$defs"]
    assert schema["$defs"][type.__name__]["properties"]["value"] == {"type": "integer"}


def test_booleans_are_no_numbers_and_unions_say_both():
    with pytest.raises(Invalid, match="an integer"):
        Reader(int).read(True)
    with pytest.raises(Invalid, match=" or must be a text"):
        Reader(int | str).read(None)
    assert Reader(int | None).read(None) is None
    with pytest.raises(Invalid, match="unknown field"):
        Reader(Author).read({"name": "a", "age": 3})


def test_types_without_json_are_refused_when_they_are_named():
    class Plain:
        pass

    for type in (bytes, Plain, dict[int, str]):
        with pytest.raises(fw.ConfigError):
            script().structured(type)


async def test_structured_answers_in_a_batch_and_after_tools():
    model = script(*[json.dumps({"x": i}) for i in range(5)])
    points = await model.structured(Point).abatch(["?"] * 5, concurrency=1)
    assert points == [Point(float(i), 0.0) for i in range(5)]
