"""Which days of the archive are removed, by age and by bytes. Pure.

Only a day that is certified, and whose feed has a later certified day: the next day of a feed continues the one before.
What was removed already adds no day to a plan, so the owners of different feeds may each remove theirs of it, at any
time. It may take days out of the plan: if a large one of another feed went first, the bytes of an older one fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import NamedTuple

from tickwire.archive_files.layout import CERTIFICATE, DATA, FeedDay, date_of_folder, feed_of_folder, is_unmerged
from tickwire.errors import BadRequest


class Limits(NamedTuple):
    """How much of a kind is kept; None is all.

    `days` are those before the newest day of the kind, `bytes` those of all its files.
    """

    days: int | None = None
    bytes: int | None = None


@dataclass
class StoredDay:
    """The files of a day."""

    day: FeedDay
    bytes: int = 0
    has_data: bool = False
    has_certificate: bool = False
    has_parts: bool = False

    @property
    def is_certified(self) -> bool:
        """Whether its certificate speaks of all that it has."""
        return self.has_certificate and not self.has_parts

    @property
    def order(self) -> tuple[date, str, str]:
        """The oldest day is the least."""
        return self.day.date, self.day.exchange, self.day.symbol


def stored_days(files: Iterable[tuple[str, int]]) -> list[StoredDay]:
    """The days of files, given by path and bytes, in the order in which they are removed. Other files are ignored."""
    found: dict[str, StoredDay] = {}
    for path, size in files:
        folder, _, name = path.rpartition("/")
        if name not in (DATA, CERTIFICATE) and not is_unmerged(name):
            continue
        stored = found.get(folder)
        if stored is None:
            day = _day_of(folder)
            if day is None:
                continue
            stored = found[folder] = StoredDay(day)
        stored.bytes += size
        stored.has_data |= name == DATA
        stored.has_certificate |= name == CERTIFICATE
        stored.has_parts |= name not in (DATA, CERTIFICATE)
    return sorted(found.values(), key=lambda each: each.order)


def to_remove(stored: Sequence[StoredDay], limits: Limits, today: date) -> list[StoredDay]:
    """The days to remove, oldest first, of all days of a kind as `stored_days` has them.

    Age is counted from `today`, but not from a day after the one that follows the newest stored one: a clock that is
    wrong removes nothing.
    """
    if not stored:
        return []
    today = min(today, stored[-1].day.date + timedelta(days=1))
    # Dates before it are too old. A number of days beyond the calendar keeps all.
    oldest = today - timedelta(days=min(limits.days, today.toordinal() - 1)) if limits.days is not None else date.min
    excess = sum(each.bytes for each in stored) - limits.bytes if limits.bytes is not None else 0
    removed = []
    for each in _removable(stored):
        if each.day.date < oldest or excess > 0:
            removed.append(each)
            excess -= each.bytes
    return removed


def _removable(stored: Sequence[StoredDay]) -> list[StoredDay]:
    """Certified days whose feed has a certified day next."""
    feeds: dict[tuple[str, str], list[StoredDay]] = {}
    for each in stored:
        feeds.setdefault((each.day.exchange, each.day.symbol), []).append(each)
    found = [
        each
        for days in feeds.values()
        for each, following in pairwise(days)
        if each.is_certified and following.is_certified
    ]
    return sorted(found, key=lambda each: each.order)


def _day_of(folder: str) -> FeedDay | None:
    feed, _, name = folder.rpartition("/")
    day = date_of_folder(name)
    try:
        return feed_of_folder(feed).on(day) if day is not None else None
    except BadRequest:
        # A folder of somebody else's.
        return None
