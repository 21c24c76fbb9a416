"""Packed columns: exactly the numbers that went in, whatever they are, in fewer bytes where they are prices."""

from __future__ import annotations

import math
import struct

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tickwire.cache import packed_columns, replies
from tickwire.cache.candle_rows import Columns
from tickwire.client import history
from tickwire.model.messages import CandleColumns
from tickwire.model.subjects import Key

pytestmark = pytest.mark.pure

KEY = Key("binance", "BTC/USDT", "1m")
NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(-(10**9), 10**9, allow_nan=False, places=2).map(float),
    st.integers(-(10**4), 10**12).map(lambda n: n / 10**8),
    st.sampled_from([0.0, -0.0, 1e-12, 2147483647.0, 2147483648.0, -2147483648.0, 21474836.47, 0.1 + 0.2]),
)
ROWS = st.lists(st.tuples(*[NUMBERS] * 5), min_size=1, max_size=30)
STEPS = st.lists(st.sampled_from([60_000, 60_000, 60_000, 120_000]), min_size=30, max_size=30)


def table_of(rows: list[tuple[float, ...]], steps: list[int]) -> Columns:
    dates = np.cumsum([1_700_000_040_000, *steps])[: len(rows)]
    return Columns(dates, *np.array(rows, np.float64).T)


def bits(numbers: object) -> list[bytes]:
    return [struct.pack("<d", number) for number in np.asarray(numbers).tolist()]


@given(ROWS, STEPS, st.data())
@example([(0.1, 0.2, 0.3, 0.7, 1e-7)] * 3, [60_000] * 30, None)
def test_packing_changes_no_bit_of_any_number(
    rows: list[tuple[float, ...]], steps: list[int], data: st.DataObject | None
) -> None:
    table = table_of(rows, steps)
    packed = packed_columns.decode(packed_columns.encode(packed_columns.pack(table)))
    first = data.draw(st.integers(0, len(rows) - 1)) if data else 0
    end = data.draw(st.integers(first + 1, len(rows))) if data else len(rows)
    part = packed.part(first, end)
    assert part.ends == (table.dates[first], table.dates[end - 1])
    found = part.unpacked()
    assert found.dates.tolist() == table.dates[first:end].tolist()
    assert [bits(each) for each in found[1:]] == [bits(each[first:end]) for each in table[1:]]


@given(ROWS, STEPS, st.booleans())
def test_a_frame_of_compact_messages_has_every_bit_of_the_rows(
    rows: list[tuple[float, ...]], steps: list[int], compact: bool
) -> None:
    table = table_of(rows, steps)
    # The second message in another form than the first, as a parsed rest is.
    later = Columns(table.dates + 10**9, *table[1:])
    sent = replies.as_columns(KEY, [packed_columns.pack(table), packed_columns.plain(later)], compact=compact)
    frame = history._frame([msgspec.msgpack.decode(each, type=CandleColumns) for each in sent])
    assert [stamp.value // 10**6 for stamp in frame.index] == [*table.dates.tolist(), *later.dates.tolist()]
    assert [bits(frame[name]) for name in history.COLUMNS] == [bits(each) * 2 for each in table[1:]]


def test_a_frame_without_messages_has_its_columns_and_their_types() -> None:
    frame = history._frame([])
    assert frame.dtypes.astype(str).tolist() == ["float64"] * 5
    assert str(frame.index.dtype) == "datetime64[ns, UTC]"


def test_prices_and_evenly_spaced_times_take_less_than_half_of_their_bytes() -> None:
    price = np.round(np.linspace(60_000, 61_000, 10_000), 2)
    table = table_of([(p, p + 5, p - 5, p, 1 / 3) for p in price.tolist()], [60_000] * 10_000)
    packed = packed_columns.pack(table)
    assert packed.decimals[4] == packed_columns.PLAIN
    assert len(packed_columns.encode(packed)) < 10_000 * 48 * 0.51
    assert math.isclose(packed.unpacked().volumes[5], 1 / 3, rel_tol=0)


def test_replies_that_are_not_compact_have_plain_columns_alone() -> None:
    table = table_of([(1.5, 2.0, 0.5, 1.25, 10.0)] * 3, [60_000] * 30)
    (sent,) = replies.as_columns(KEY, [packed_columns.pack(table)])
    fields = msgspec.msgpack.decode(sent)
    assert struct.unpack("<3q", fields["dates"]) == (1_700_000_040_000, 1_700_000_100_000, 1_700_000_160_000)
    assert struct.unpack("<3d", fields["opens"]) == (1.5, 1.5, 1.5)
    # As a client of an earlier version knows it.
    assert not {"step", "decimals"} & fields.keys()
