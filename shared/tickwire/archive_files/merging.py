"""Merges the rows of the tape with those that history and files add: each trade once, in bounded memory.

The order is that of the tape; an added row is before the first row of the tape that is later, by time, and within a
millisecond by number where ids are numbers. A row of the tape wins over an added one with its id. Where the tape has
proven to be whole, nothing is added. So the result depends on the rows alone, not on what was merged before.

Some venues join trades live that they list singly by REST (docs/decisions/0020): an added row that is part of such a
trade of the tape is left out, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tickwire.archive_files.reading import DayFile, file_batches, open_parquet, row_group_times
from tickwire.archive_files.root import Root
from tickwire.archive_files.schema import ROW_GROUP
from tickwire.model.ranges import Range

BATCH_ROWS = 65_536
TAPE_SOURCES = pa.array(["live", "rest"])
EXACT = 1e-9
"""Sums of amounts that differ by less, relatively, are the same."""


def merged_rows(
    root: Root, files: Sequence[DayFile], added: Sequence[DayFile], proven: Sequence[Range], schema: Any
) -> Iterator[Any]:
    """The rows of a day in tables, in order: those of `files` and of `added` files.

    `proven` are ascending, disjoint ranges (ms) of which the tape has every row.
    """
    tape = _Stream(batch for file in files for batch in _batches(root, file, schema, of_tape=True))
    # The day's file has added rows, too, from earlier merges; parts have none.
    with_added = [*(each for each in files if not each.is_part), *added]
    sources = [(file.times.since, file) for file in with_added if file.times]
    waiting = sorted(sources, key=lambda each: each[0])
    running: list[_Stream] = []
    for cut in [*_cuts(root, [*files, *added]), None]:
        while waiting and (cut is None or waiting[0][0] < cut):
            running.append(_Stream(_batches(root, waiting.pop(0)[1], schema, of_tape=False)))
        window = [batch for stream in running for batch in stream.take(cut)]
        running = [stream for stream in running if not stream.is_over]
        table = _merged(_table(tape.take(cut), schema), _table(window, schema), proven)
        if table.num_rows:
            yield table


def _batches(root: Root, file: DayFile, schema: Any, *, of_tape: bool) -> Iterator[Any]:
    for _, batch in file_batches(root, file.path, BATCH_ROWS):
        mask = pc.is_in(batch.column("source").cast(pa.string()), value_set=TAPE_SOURCES)
        found = batch.filter(mask if of_tape else pc.invert(mask))
        if found.num_rows:
            yield found.cast(schema)


def _cuts(root: Root, files: Sequence[DayFile]) -> list[int]:
    """Times (ms) between which there are about as many rows as a row group has."""
    groups: list[tuple[int, int]] = []
    for file in files:
        with open_parquet(root, file.path) as opened:
            for index in range(opened.num_row_groups):
                if (times := row_group_times(opened, index)) is not None:
                    groups.append((times.since, opened.metadata.row_group(index).num_rows))
    cuts, rows = [], 0
    for since, count in sorted(groups):
        if rows >= ROW_GROUP:
            cuts.append(since)
            rows = 0
        rows += count
    return cuts


class _Stream:
    """Rows in their order, taken by time; one whose time is before that of its predecessor goes with it."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches
        self._left: tuple[Any, Any] | None = None
        self._latest = np.iinfo(np.int64).min
        self.is_over = False

    def take(self, before: int | None) -> list[Any]:
        """The next rows, those before a time (ms); all that are left for None."""
        found = list[Any]()
        while True:
            if self._left is None:
                batch = next(self._batches, None)
                if batch is None:
                    self.is_over = True
                    return found
                keys = np.maximum(np.maximum.accumulate(_times(batch)), self._latest)
                self._latest = keys[-1]
                self._left = (batch, keys)
            batch, keys = self._left
            count = len(keys) if before is None else int(np.searchsorted(keys, before, "left"))
            if count:
                found.append(batch.slice(0, count))
            if count < len(keys):
                self._left = (batch.slice(count), keys[count:])
                return found
            self._left = None


def _times(rows: Any) -> Any:
    column = rows.column("timestamp").cast(pa.int64())
    return np.asarray(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)


def _table(batches: Sequence[Any], schema: Any) -> Any:
    return pa.Table.from_batches(batches, schema).unify_dictionaries()


def _merged(tape: Any, added: Any, proven: Sequence[Range]) -> Any:
    """The rows of both within a window of time, which has all rows of each of its milliseconds."""
    added = _ordered(added.filter(pa.array(~_within(_times(added), proven))))
    if not added.num_rows:
        return tape
    added = added.filter(pa.array(_needed(tape, added)))
    both = pa.concat_tables([tape, added]).unify_dictionaries().combine_chunks()
    keys = np.concatenate([np.maximum.accumulate(_times(tape)) if tape.num_rows else _times(tape), _times(added)])
    numbers = np.concatenate([_rising(_numbers(tape), keys[: tape.num_rows]), _numbers(added)])
    return both.take(pa.array(np.lexsort((numbers, keys))))


def _within(times: Any, ranges: Sequence[Range]) -> Any:
    """Whether each time is in one of some ascending, disjoint ranges."""
    if not ranges:
        return np.zeros(len(times), bool)
    bounds = np.array([bound for each in ranges for bound in each])
    return np.searchsorted(bounds, times, "right") % 2 == 1


def _ordered(added: Any) -> Any:
    """Each id once, by time, then by number; in the given order where ids are no numbers."""
    firsts = {id_: index for index, id_ in reversed(list(enumerate(added["id"].to_pylist())))}
    added = added.take(pa.array(sorted(firsts.values()), pa.int64()))
    return added.take(pa.array(np.lexsort((_numbers(added), _times(added)))))


def _numbers(rows: Any) -> Any:
    """The ids as numbers; all 0 if one is none."""
    try:
        return np.array([int(each) for each in rows["id"].to_pylist()], np.int64)
    except (TypeError, ValueError, OverflowError):
        return np.zeros(rows.num_rows, np.int64)


def _rising(numbers: Any, keys: Any) -> Any:
    """The numbers, each no less than that of the row before it with the same key."""
    found = numbers.copy()
    for index in np.flatnonzero((keys[1:] == keys[:-1]) & (numbers[1:] < numbers[:-1])) + 1 if len(keys) else []:
        while index < len(keys) and keys[index] == keys[index - 1] and found[index] < found[index - 1]:
            found[index] = found[index - 1]
            index += 1
    return found


def _needed(tape: Any, added: Any) -> Any:
    """Which of the added rows are no trade that is there, and no part of one."""
    ids = added["id"].to_pylist()
    amounts = dict(zip(tape["id"].to_pylist(), tape["amount"].to_pylist(), strict=True))
    needed, own = np.ones(len(ids), bool), added["amount"].to_pylist()
    joined = []
    for index, id_ in enumerate(ids):
        if (on_tape := amounts.get(id_)) is not None:
            needed[index] = False
            if own[index] < on_tape * (1 - EXACT):
                joined.append((index, on_tape))
    if joined:
        alike = list(zip(_times(added).tolist(), added["side"].to_pylist(), added["price"].to_pylist(), strict=True))
        for index, whole in joined:
            total, at = own[index], index - 1
            while at >= 0 and needed[at] and alike[at] == alike[index] and total < whole * (1 - EXACT):
                total += own[at]
                needed[at] = False
                at -= 1
    return needed
