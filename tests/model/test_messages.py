"""Any bytes decode to a message within its bounds, or are refused with one kind of error."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import hostile
from tickwire.bus.decoding import Undecodable
from tickwire.errors import BadRequest
from tickwire.model import messages, schemas
from tickwire.model.messages import CandlePage, FetchRequest, Job, header_int
from tickwire.model.messages.archived_trades import ArchivedTrades
from tickwire.model.subjects import family_of

pytestmark = pytest.mark.pure

IN_MESSAGEPACK = (messages.CandleColumns, ArchivedTrades)
KINDS = [kind for kind in schemas.structs() if kind not in IN_MESSAGEPACK]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.__name__))
def test_what_does_not_fit_is_refused_and_raises_nothing_else(kind: type[msgspec.Struct]) -> None:
    longest = 0
    for data in [*hostile.GARBAGE, *hostile.variants(kind)]:
        try:
            found = messages.decode(data, kind)
        except BadRequest as error:
            longest = max(longest, len(str(error)))
        else:
            # What is accepted can be said again.
            assert messages.decode(messages.encode(found), kind) == found
    # A reply of that size is within any limit, whatever it quotes.
    assert 0 < longest < 400


@given(st.text(max_size=100), st.integers(0, 100_000), st.text(max_size=100))
def test_an_error_is_one_line_of_bounded_length(begins: str, more: int, ends: str) -> None:
    error = BadRequest(begins + "x" * more + ends, "y" * more)
    assert len(error.message) <= 1_002
    assert len(error.remedy) <= 1_002
    assert len(str(error).splitlines()) <= 1


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.__name__))
def test_every_integer_and_every_name_is_bounded(kind: type[msgspec.Struct]) -> None:
    """A number beyond 2^63 fits no clock, no array and no stream; a name of 4,096 characters fits no subject."""
    whole = hostile.honest(kind)
    for name, value in whole.items():
        wrong = (10**40, -(2**63)) if type(value) is int else ("x" * 4_096,) if name in NAMES else ()
        for each in wrong:
            with pytest.raises(BadRequest):
                messages.decode(json.dumps({**whole, name: each}).encode(), kind)
                pytest.fail(f"{kind.__name__}.{name} takes {str(each)[:20]}")


NAMES = ("exchange", "symbol", "timeframe", "subscriber", "instance", "owner", "holder", "service", "host", "logger")
"""What becomes part of a subject, a key or a file name."""


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_any_json_is_a_page_or_refused(value: Any) -> None:
    with pytest.raises(BadRequest):
        messages.decode(json.dumps(value).encode(), CandlePage)


@pytest.mark.parametrize("until", [-1, 7_258_118_400_001, 10**18, 2**63])
def test_no_message_speaks_of_a_time_before_1970_or_after_2199(until: int) -> None:
    asked = {"exchange": "binance", "symbol": "BTC/USDT", "timeframe": "1m", "since": 0}
    assert messages.decode(json.dumps({**asked, "until": 7_258_118_400_000}).encode(), FetchRequest)
    with pytest.raises(BadRequest, match="until"):
        messages.decode(json.dumps({**asked, "until": until}).encode(), FetchRequest)


@given(st.text(max_size=40))
def test_a_header_is_a_number_or_is_refused(text: str) -> None:
    try:
        number = header_int({"Nats-Sequence": text}, "Nats-Sequence")
    except BadRequest:
        assert not (text.isascii() and text.isdigit() and len(text) <= 20)
    else:
        assert number == int(text)
        assert number >= 0
    assert header_int({}, "Nats-Sequence") is header_int(None, "Nats-Sequence") is None


def test_what_is_passed_over_is_counted_by_the_kind_of_its_subject() -> None:
    passed = Undecodable()
    for subject in ("md.job.1f", "md.job.2f", "$KV.LEASES.cache.lease.1", "ohlcv.3.binance.BTC-USDT.1m"):
        assert passed.decode(subject, b"nothing", Job) is None
    assert passed.counts == {"md.job": 2, "$KV.LEASES": 1, "ohlcv": 1}


@given(st.lists(st.text(min_size=1, max_size=20), min_size=200, max_size=300, unique=True))
def test_subjects_of_anybodys_choice_do_not_make_endless_counts(names: list[str]) -> None:
    passed = Undecodable()
    for name in names:
        passed.decode(f"{name}.{name}", b"nothing", Job)
    assert sum(passed.counts.values()) == len(names)
    assert len(passed.counts) <= 101
    assert all(len(family_of(name * 50)) <= 60 for name in names)
