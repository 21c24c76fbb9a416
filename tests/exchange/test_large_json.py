"""JSON that is parsed in slices: the same values, and the same texts refused, as by the parser for all others."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.exchange.ccxt_patches import exact_json, large_json

pytestmark = pytest.mark.pure

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=30,
)
spaces = st.sampled_from([None, 1, "\t", "\r\n "])


@given(value=values, indent=spaces, ascii_only=st.booleans())
def test_any_value_is_the_one_that_was_written(value: object, indent: int | str | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert large_json.loads(f" {text}\n") == value
    assert repr(large_json.loads(text)) == repr(exact_json.loads(text))


@given(value=values, data=st.data())
def test_a_text_that_breaks_off_or_goes_on_is_refused(value: object, data: st.DataObject) -> None:
    text = json.dumps({"code": "0", "data": [value, value]})
    with pytest.raises(ValueError, match=r"."):
        large_json.loads(text[: data.draw(st.integers(0, len(text) - 1))])
    with pytest.raises(ValueError, match="goes on"):
        large_json.loads(text + data.draw(st.sampled_from(["]", "}", ",", "1", '""'])))


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "[1,]", "[1 2]", '{"a":1,}', '{"a" 1}', '{1:2}', '{"a":}', "[NaN]", '{"a":Infinity}', "<html>",
        "[" * 100_000, '{"a":' * 100_000, '{"a":[' + "[" * 100_000, "'a'", '["a\n"]',
    ],
    ids=range(16),
)  # fmt: skip
def test_what_is_no_json_is_refused(text: str) -> None:
    for loads in (large_json.loads, exact_json.loads):
        with pytest.raises(ValueError, match=r"."):
            loads(text)
