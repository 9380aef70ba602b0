"""Laws of values that pass through chains."""

import asyncio

import pytest

import fanweave as fw

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


class Opaque:
    """An object without a JSON form."""


VALUES = st.recursive(
    LEAVES | st.builds(Opaque) | st.integers(2**64),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
IDENTITY = fw.passthrough() | fw.step(lambda value: value, inline=True)


@hypothesis.settings(deadline=None, max_examples=200)
@hypothesis.given(JSON)
def test_json_is_equal_and_of_the_same_types(value):
    result = IDENTITY.invoke(value)
    assert repr(result) == repr(value)


@hypothesis.settings(deadline=None, max_examples=100)
@hypothesis.given(VALUES)
def test_objects_within_lists_and_dicts_are_the_same_objects(value):
    assert asyncio.run(IDENTITY.ainvoke(value)) == value
