"""Arguments that are not valid: an error that names them, before anything is sent."""

import datetime
import decimal
import uuid

import pandas as pd
import pytest

import fanweave as fw
from fanweave.testing import echo

FRAME = pd.DataFrame({"product": ["tea"]})


@fw.tool
def weather(city: str) -> str:
    """The weather."""
    return city


def batch(rows=FRAME, **settings):
    return fw.batch(rows, **{"model": echo(), "prompt": "A {{ product }}.", **settings})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: echo().batch(["x"], concurrency=-1), r"concurrency is out of range \(got -1\)"),
        (lambda: echo().batch(["x"], concurrency="x"), r"concurrency is invalid.*got 'x'"),
        (lambda: echo().batch(["x"], concurrency=0), "concurrency must be at least 1"),
        (lambda: list(echo().rows(["x"], concurrency=-1)), "concurrency is out of range"),
        (lambda: batch(concurrency=-1), "concurrency is out of range"),
        (lambda: batch(concurrency=0), "concurrency must be at least 1"),
        (lambda: batch(limit=-1), "limit is out of range"),
        (lambda: batch(budget_usd="much"), "budget_usd is invalid.*got 'much'"),
        (lambda: batch(progress="yes"), "progress must be True, False, None or a function, got 'yes'"),
        (lambda: batch(into=5), "into must be the name of a column, got 5"),
        (lambda: echo().retry(-1), "attempts is out of range"),
        (lambda: echo().retry(0), "attempts must be at least 1"),
        (lambda: echo().with_timeout("soon"), "timeout is invalid.*got 'soon'"),
        (lambda: echo().with_tools(weather, run=-1), "run is out of range"),
        (lambda: echo().with_tools(weather, concurrency=0), "concurrency must be at least 1"),
        (lambda: echo().structured(int, retries=-1), "retries is out of range"),
        (lambda: fw.memory_store("sim/words").search("x", limit=-1), "limit is out of range"),
        (lambda: fw.configure(threads=-1), "threads is out of range"),
        (lambda: echo().invoke("x", tags="abc"), "tags is invalid: must be a list of texts"),
    ],
)
def test_a_setting_that_is_not_valid_is_named_with_its_value(call, message):
    with pytest.raises(fw.ConfigError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: echo().fallback("sim/echo"), "a fallback must be a chain or a function, got str"),
        (lambda: fw.step(5), "a step must be a function, got int"),
        (lambda: fw.branch(len, echo()), "must be a pair of a condition and a chain"),
        (lambda: batch(FRAME["product"]), "got one column of the type Series: give its frame"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize(
    ("rows", "message"), [(["x", None], r"rows\[1\], of the type NoneType"), ([object()], "object")]
)
def test_a_row_that_cannot_be_one_is_named(rows, message):
    with pytest.raises(fw.InputError, match=message):
        fw.batch(rows, model=echo())


HALF = "tea \ud800"


@pytest.mark.parametrize(
    ("rows", "place"),
    [
        (
            pd.DataFrame({"product": ["tea", HALF]}, dtype="object"),
            r"row 1 of the frame, column `product`: .*half of",
        ),
        (
            pd.DataFrame({"product": ["tea", 2**70]}, dtype="object"),
            r"row 1 of the frame, column `product`: .*no JSON",
        ),
        ([{"product": "tea"}, {"product": HALF}], r"rows\[1\], `product`: .*half of a character"),
        ([{"product": "tea"}, {"product": object()}], r"rows\[1\], `product`: .*no JSON form"),
        (["tea", HALF], r"rows\[1\]: .*half of a character"),
    ],
)
def test_a_value_that_cannot_be_sent_is_named_with_its_place(rows, place):
    prompt = None if isinstance(rows, list) and rows[0] == "tea" else "A {{ product }}."
    with pytest.raises(fw.InputError, match=place):
        batch(rows, prompt=prompt)


def test_a_row_may_have_the_values_that_a_frame_may_have():
    rows = [
        {"value": datetime.date(2026, 1, 2)},
        {"value": decimal.Decimal("1.10")},
        {"value": uuid.UUID(int=1)},
        {"value": pd.Timestamp("2026-01-02")},
        {"value": [pd.Series([3]).to_numpy()[0]]},
    ]
    in_rows = [row.unwrap() for row in fw.batch(rows, model=echo(), prompt="{{ value }}")]
    frame = pd.DataFrame({"value": [row["value"] for row in rows]}, dtype="object")
    assert in_rows == fw.batch(frame, model=echo(), prompt="{{ value }}")["answer"].tolist()
    assert in_rows[:2] == ["2026-01-02", "1.10"]


def test_no_column_of_a_frame_is_overwritten():
    frame = FRAME.assign(error="mine", answer_error="mine too")
    with pytest.raises(fw.ConfigError, match="the columns `error` and `answer_error`: choose another name"):
        batch(frame)
    result = batch(frame, into="text")
    assert result[["error", "answer_error", "text_error"]].iloc[0].tolist() == ["mine", "mine too", None]


def test_a_column_that_is_there_twice_is_refused_if_the_prompt_reads_it():
    frame = pd.DataFrame([["a", "b", "c"]], columns=["product", "product", "other"])
    with pytest.raises(fw.ConfigError, match="several columns `product`"):
        batch(frame)
    assert batch(frame, prompt="{{ other }}")["answer"].tolist() == ["c"]


def test_columns_whose_names_are_numbers_reach_a_chain_as_texts():
    frame = pd.DataFrame([["tea", "socks"]])
    chain = fw.step(lambda row: sorted(row.items())) | fw.step(str)
    assert fw.batch(frame, model=chain)["answer"].tolist() == ["[['0', 'tea'], ['1', 'socks']]"]
