"""Sums of a day while its rows pass by: for its certificate."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tickwire.archive_files.file_meta import Unit
from tickwire.archive_files.layout import FeedDay
from tickwire.model.messages.archive import EndRow, HourTotals

HOUR_MS = 3_600_000
HOURS = 24


class DayTotals:
    """Counts and sums of the rows of a day, added in the order of the file."""

    def __init__(self, day: FeedDay, unit: Unit) -> None:
        self.rows = 0
        self.by_source: Counter[str] = Counter()
        self.first: EndRow | None = None
        self.last: EndRow | None = None
        self._since = day.span.since
        # Neither the amounts of a book's levels nor states have sums.
        self._has_sums = day.kind == "trade"
        self._factors = unit.quote_factors() if self._has_sums else None
        self._hours = [(0, 0.0, 0.0)] * HOURS

    def add(self, table: Any) -> None:
        """Add rows: a pyarrow.Table."""
        if not table.num_rows:
            return
        self.rows += table.num_rows
        if "source" in table.column_names:
            for each in pc.value_counts(table["source"].cast(pa.string()).combine_chunks()).to_pylist():
                self.by_source[each["values"]] += each["counts"]
        self.first = self.first or _end_row(table, 0)
        self.last = _end_row(table, table.num_rows - 1)
        # Rows of a book may be of shortly before the day.
        since_begin = pc.max_element_wise(pc.subtract(table["timestamp"].cast(pa.int64()), self._since), 0)
        hours = pc.divide(since_begin, HOUR_MS)
        amounts = table["amount"] if self._has_sums else pc.multiply(hours.cast(pa.float64()), 0.0)
        factor, by_price = self._factors or (0.0, False)
        quote = pc.multiply(amounts, factor)
        quote = pc.multiply(quote, table["price"]) if by_price and self._has_sums else quote
        sums = pa.table({"hour": hours, "amount": amounts, "quote": quote})
        # In one thread: several add up floats in an order that differs from time to time.
        sums = sums.group_by("hour", use_threads=False)
        for each in sums.aggregate([("amount", "count"), ("amount", "sum"), ("quote", "sum")]).to_pylist():
            rows, amount, quote_amount = self._hours[each["hour"]]
            self._hours[each["hour"]] = (
                rows + each["amount_count"],
                amount + each["amount_sum"],
                quote_amount + each["quote_sum"],
            )

    @property
    def hours(self) -> list[HourTotals]:
        """The sums of the 24 hours."""
        known = self._factors is not None
        return [
            HourTotals(rows=rows, amount=amount, quote_amount=quote if known else None)
            for rows, amount, quote in self._hours
        ]


def _end_row(table: Any, index: int) -> EndRow:
    timestamp = table["timestamp"][index].value
    named = next((name for name in ("id", "update") if name in table.column_names), None)
    found = table[named][index].as_py() if named else None
    return EndRow(timestamp=timestamp, id=None if found is None else str(found))
