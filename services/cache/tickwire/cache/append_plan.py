"""Decides for pages of one key which are appended, which wait for a splice, and which are rejected. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from tickwire.cache import volume_units
from tickwire.cache.candle_rows import format_rows, proves
from tickwire.cache.key_facts import KeyFacts, grid_mismatch, grid_of
from tickwire.cache.key_files import KeyFiles
from tickwire.cache.key_state import KeyState
from tickwire.cache.pending_splice import PendingSplice, replaced
from tickwire.errors import TickwireError
from tickwire.model.messages import CandlePage, Row, Stored, VolumeUnit


class Rejection(NamedTuple):
    """A page that cannot be stored, and why."""

    seq: int
    page: CandlePage
    error: TickwireError


class CommitResult(NamedTuple):
    """What is durable now, and what was rejected for good."""

    stored: list[Stored]
    rejected: list[Rejection]


class CheckedPage(NamedTuple):
    """A page that is valid by itself, with its rows ascending."""

    seq: int
    page: CandlePage
    rows: list[Row]


class AppendPlan:
    """The decisions for some pages of one key, in this order. `state` is that of the file, None without one."""

    def __init__(
        self,
        file: KeyFiles,
        state: KeyState | None,
        pages: Sequence[CheckedPage],
        unit: VolumeUnit | None,
        pending: PendingSplice | None,
    ) -> None:
        self.lines: list[bytes] = []
        self.rows: list[Row] = []
        """The rows to append, ascending, of which `lines` are the text."""
        self.appended: list[CandlePage] = []
        """The pages that are durable once `rows` are."""
        self.proven = True
        """Whether the rows alone prove the ranges of all these pages, so that the meta file may be written later."""
        self.rejected: list[Rejection] = []
        self.pending = pending
        """The pages that wait for a splice, with those from before."""
        self.facts = state.facts if state else KeyFacts()
        if state is None or not state.rows:
            # The candles of a key open where those of its first page do.
            self.facts = msgspec.structs.replace(self.facts, opens_at=pages[0].page.opens_at)
        before = state.volumes.unit if state else unit
        self.unit = volume_units.most_informative([unit, before])
        self._proves_unit = state is not None and self.unit == before
        self._file = file
        self._last = state.last if state else None
        grid = self.facts.grid(file.key)
        for each in pages:
            if grid_of(each.page) != grid:
                self.rejected.append(Rejection(each.seq, each.page, grid_mismatch(each.page, grid)))
            elif volume_units.unit_of(each.page) != self.unit:
                error = volume_units.unit_mismatch(each.page, self.unit)
                self.rejected.append(Rejection(each.seq, each.page, error))
            else:
                self._add(each)

    def _add(self, checked: CheckedPage) -> None:
        seq, page, rows = checked
        known = [each for each in (self._last, self.pending.last if self.pending else None) if each is not None]
        newest = max(known, default=None)
        older = [row for row in rows if newest is not None and row[0] <= newest]
        newer = rows[len(older) :]
        waits = bool(older) and (self.pending or self.lines or not self._file.holds(older, format_rows(older)))
        if waits or self._leaves_out(page, rows, newest):
            self.pending = self.pending or PendingSplice(unit=self.unit)
            self.pending.add(seq, page, rows)
            return
        self.lines.append(format_rows(newer))
        self.rows += newer
        self._last = newer[-1][0] if newer else self._last
        self.appended.append(page)
        self.proven = self.proven and self._proves_unit and proves(rows, page)

    def _leaves_out(self, page: CandlePage, rows: Sequence[Row], newest: int | None) -> bool:
        """Whether the file may have rows that are to be removed, because an audited page does not have them."""
        whole = replaced(page)
        if whole is None or newest is None or whole.since > newest:
            return False
        return bool(self.pending or self.lines) or not {row[0] for row in rows}.issuperset(self._file.dates(whole))


def stored(page: CandlePage, total_rows: int) -> Stored:
    """The announcement of a page that is durable in a file of so many rows."""
    return Stored(
        exchange=page.exchange,
        symbol=page.symbol,
        timeframe=page.timeframe,
        since=page.since,
        until=page.until,
        rows=len(page.rows),
        total_rows=total_rows,
    )
