"""Compares candles with those rebuilt from archived trades, of the keys whose partitions this instance owns.

| subject | here | what |
|---|---|---|
| `md.archived.trade.<exchange>.<token>` | subscribed | days that were certified |
| `archive.days`, `archive.bars` | requested | see archive_comparison.py |
| `fetcher.fetch` | requested | audits of rows that differ and were not audited |

A day is compared once it is certified as complete, and what the cache has of it has settled and was audited if it was
built from the tape. What was compared is in the key's meta file, so nothing is compared twice, also after a restart.
Days that were certified again while nobody listened are found when the days of a feed are listed for the first time.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from nats.aio.msg import Msg

from tickwire.bus.connection import Bus
from tickwire.cache import archive_comparison, rebuilt_rows
from tickwire.cache.audit_index import AuditIndexes, KnownKey
from tickwire.cache.audit_windows import HOUR_MS
from tickwire.cache.metrics import CacheMetrics
from tickwire.cache.partition import Partition
from tickwire.errors import (
    BrokerUnavailable,
    Busy,
    CacheFileError,
    Fenced,
    NoSuchService,
    NotArchived,
    NotCached,
    RequestTimeout,
    StorageError,
    TickwireError,
)
from tickwire.model import messages
from tickwire.model.messages import Certificate, FetchAccepted, FetchRequest
from tickwire.model.ranges import Range, common, merge, remove
from tickwire.model.subjects import Key
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.observe.episodes import QUIET_S, Episode
from tickwire.process import lifecycle
from tickwire.process.loop_yield import LoopYield

log = logs.get(__name__)

SCAN_S = 300.0
"""How often the keys are looked through, unless a day is announced."""
PACE_S = 1.0
"""Between two requests of the archive."""
LISTING_MS = 24 * HOUR_MS
"""How long the list of a feed's days is used again: announcements tell what is new, but one may be missed."""
MOST_PARTS = 20
"""Ranges of days that are listed one by one: days that were compared need not be."""
MOST_DOUBLINGS = 7
"""A window is compared again after an hour, after two more, four, and so on: at last every five days."""
_Feed = tuple[str, str]


_PASSING = (NoSuchService, RequestTimeout, BrokerUnavailable, Busy, StorageError)
"""Errors that concern all keys, and that may be over with the next look."""


class Postponed(NamedTuple):
    """A window that is not compared before `until` (ms), unless the rows that differed were audited meanwhile."""

    until: int
    attempts: int
    unaudited: list[Range]

    @classmethod
    def after(cls, before: Postponed | None, now: int, unaudited: list[Range]) -> Postponed:
        """After another attempt at `now` (ms): ever longer, as an exchange may not have these candles any more."""
        attempts = 0 if before is None else before.attempts + 1
        return cls(now + (HOUR_MS << min(attempts, MOST_DOUBLINGS)), attempts, unaudited)

    def is_over(self, now: int, audited: list[Range]) -> bool:
        """Whether to compare it now."""
        return now >= self.until or (bool(self.unaudited) and common(self.unaudited, audited) == self.unaudited)


class ArchiveAudit:
    """The comparisons of one instance. `run` until `stop` is set."""

    def __init__(
        self,
        bus: Bus,
        partitions: Sequence[Partition],
        indexes: AuditIndexes,
        metrics: CacheMetrics,
        stop: asyncio.Event,
    ) -> None:
        self._bus = bus
        self._partitions = partitions
        self._indexes = indexes
        self._metrics = metrics
        self._stop = stop
        self._days: dict[_Feed, list[Range]] = {}
        """Days that are certified as complete."""
        self._listed: dict[_Feed, int] = {}
        """When (ms) the days of a feed were listed last."""
        self._as_of: dict[Key, int] = {}
        """Of the keys whose compared days were listed: up to when (ms) the archive's certificates are known."""
        self._recertified: list[tuple[_Feed, Range]] = []
        """Days that late trades opened again, and that are complete again."""
        self._postponed: dict[tuple[Key, Range], Postponed] = {}
        self._announced = asyncio.Event()
        self._failed = Episode(log, "candles cannot be compared with archived trades", quiet_s=QUIET_S)

    async def run(self) -> None:
        """Look through the keys again and again."""
        # A request of the archive may take minutes.
        await lifecycle.until_stopped(self._stop, self._run())

    async def _run(self) -> None:
        async with self._bus.subscribed("md.archived.trade.*.*", self._take):
            while not self._stop.is_set():
                self._announced.clear()
                try:
                    await self._compare_again()
                    for listing in (False, True):
                        fresh = await self._unlisted() if listing else {}
                        for partition in self._partitions:
                            await self._scan(partition, fresh if listing else None)
                except NoSuchService as error:
                    log.debug("no archive, or no fetcher, answers", error=str(error))
                except _PASSING as error:
                    self._failed.occurs(reason=str(error))
                else:
                    self._failed.ends()
                await lifecycle.first_of(SCAN_S, self._announced.wait(), self._stop.wait())

    async def _take(self, message: Msg) -> None:
        """Note what is announced of a day. Raises BadRequest."""
        told = messages.decode(message.data, Certificate)
        feed, day = (told.exchange, told.symbol), archive_comparison.day_of(told.date)
        known = remove(self._days.get(feed, []), day)
        if told.condition == "complete":
            known = merge([*known, day])
            if told.version > 1:
                self._recertified.append((feed, day))
            self._announced.set()
        self._days[feed] = known

    async def _compare_again(self) -> None:
        """Forget that days were compared of which the archive has other trades now."""
        while self._recertified:
            feed, day = self._recertified[0]
            for partition in self._partitions:
                index = await self._indexes.of(partition)
                for key in [] if index is None else [each for each in index.keys if (each[0], each[1]) == feed]:
                    with suppress(Fenced, NotCached, CacheFileError):
                        await archive_comparison.forget(partition, key, day)
            del self._recertified[0]

    async def _unlisted(self) -> dict[_Feed, list[Range]]:
        """The feeds whose days were not listed lately, and what is to be compared of their keys here."""
        found: dict[_Feed, list[Range]] = {}
        loop_yield, now = LoopYield(), now_ms()
        for partition in self._partitions:
            index = await self._indexes.of(partition)
            for key, known in [] if index is None else list(index.keys.items()):
                await loop_yield.after_step()
                feed = (key.exchange, key.symbol)
                if _is_comparable(key, known) and self._is_due(feed, key, now):
                    found.setdefault(feed, []).extend(known.uncompared)
                    if key not in self._as_of:
                        found[feed].extend(known.facts.provenance.archived)
        return found

    async def _scan(self, partition: Partition, unlisted: dict[_Feed, list[Range]] | None) -> None:
        """Compare what is due of a partition: of feeds whose days are known; with `unlisted`, of these once listed."""
        index = await self._indexes.of(partition)
        if index is None:
            return
        loop_yield = LoopYield()
        for key, known in list(index.keys.items()):
            await loop_yield.after_step()
            if self._stop.is_set() or partition.store is not index.store:
                return
            feed = (key.exchange, key.symbol)
            if not _is_comparable(key, known) or feed not in (self._days if unlisted is None else unlisted):
                continue
            if unlisted is not None:
                # What is announced does not wait until the days of all feeds are listed.
                if self._announced.is_set():
                    return
                await self._list(feed, key, unlisted[feed])
            try:
                await self._compare(partition, key, known)
            except Fenced:
                return
            except _PASSING:
                raise
            except TickwireError as error:
                self._failed.occurs(**key._asdict(), reason=str(error))

    def _is_due(self, feed: _Feed, key: Key, now: int) -> bool:
        """Whether the days of a key's feed are to be listed (again)."""
        if feed not in self._days or key not in self._as_of:
            return True
        return now - self._listed.get(feed, -LISTING_MS) >= LISTING_MS

    async def _list(self, feed: _Feed, key: Key, wanted: list[Range]) -> None:
        """Have the days of these ranges listed, unless they were."""
        if not self._is_due(feed, key, now_ms()):
            return
        parts = merge(wanted)
        if len(parts) > MOST_PARTS:
            parts = [Range(parts[0].since, parts[-1].until)]
        # What is announced meanwhile may not be in the reply.
        self._days.pop(feed, None)
        try:
            found = [each for part in parts for each in await archive_comparison.certified_days(self._bus, *feed, part)]
        except NotArchived:
            found = []
        self._days[feed] = merge([*self._days.get(feed, []), *archive_comparison.days_of(found)])
        await self._reopen(feed, parts, found)
        now = self._listed[feed] = now_ms()
        self._postponed = {each: later for each, later in self._postponed.items() if later.until + LISTING_MS > now}
        await lifecycle.pause(self._stop, PACE_S)

    async def _reopen(self, feed: _Feed, listed: list[Range], found: Sequence[Certificate]) -> None:
        """Forget comparisons with days that were certified again since, of keys for which that was not known.

        `found` are the certificates of the days of `listed`.
        """
        as_of = max((each.made for each in found), default=0)
        for partition in self._partitions:
            index = await self._indexes.of(partition)
            for key, known in [] if index is None else list(index.keys.items()):
                compared = known.facts.provenance.archived
                if (key.exchange, key.symbol) != feed or key in self._as_of or common(compared, listed) != compared:
                    continue
                for each in found:
                    day = archive_comparison.day_of(each.date)
                    is_other = each.version > 1 and each.made > known.facts.compared_as_of
                    if is_other and common([day], compared):
                        with suppress(Fenced, NotCached, CacheFileError):
                            await archive_comparison.forget(partition, key, day)
                            # They are compared with the next look, which is not waited for.
                            self._announced.set()
                self._as_of[key] = as_of

    async def _compare(self, partition: Partition, key: Key, known: KnownKey) -> None:
        grid, audited = known.facts.grid(key), known.facts.provenance.audited
        days = self._days[key.exchange, key.symbol]
        due = common(known.uncompared, rebuilt_rows.whole_candles(grid, days))
        for window in archive_comparison.windows(key, grid, due):
            now = now_ms()
            later = self._postponed.get((key, window))
            if self._stop.is_set():
                return
            if later is not None and not later.is_over(now, audited):
                continue
            # Also if it fails.
            self._postponed[key, window] = Postponed.after(later, now, [])
            found = await archive_comparison.compare(partition, key, grid, window, self._as_of.get(key, 0))
            if found.unaudited:
                self._postponed[key, window] = Postponed.after(later, now, found.unaudited)
                await self._order(key, Range(found.unaudited[0].since, found.unaudited[-1].until))
            elif found.ranges:
                del self._postponed[key, window]
            await lifecycle.pause(self._stop, PACE_S)

    async def _order(self, key: Key, span: Range) -> None:
        """Request an audit of rows that differ, so that the exchange's own decide."""
        digest = hashlib.blake2b("\n".join(key).encode(), digest_size=8).hexdigest()
        request = FetchRequest(
            **key._asdict(),
            since=span.since,
            until=span.until,
            refresh=True,
            audit=True,
            background=True,
            id=f"archived-{digest}-{span.since}-{now_ms() // HOUR_MS}",
        )
        await self._bus.request("fetcher.fetch", request, FetchAccepted)
        self._metrics.audits.inc()


def _is_comparable(key: Key, known: KnownKey) -> bool:
    known_once = known.uncompared or known.facts.provenance.archived
    return bool(known_once) and archive_comparison.made_of_trades(key) is not False
