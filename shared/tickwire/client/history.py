"""Candles as DataFrames: what is missing is fetched first, and what stays missing is said.

| subject | what |
|---|---|
| `fetcher.fetch`, `md.job.<id>` | a job for each key, and its progress |
| `cache.get`, `cache.coverage` | the candles, and what is known of a key that is not to be fetched |
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tickwire import jobs, timeframes
from tickwire.bus import Bus
from tickwire.columns import chunks
from tickwire.errors import NotCached, TickwireError, from_code
from tickwire.messages import CandleColumns, Coverage, Job, KeyRequest
from tickwire.ranges import Range, subtract
from tickwire.subjects import Key

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = ("open", "high", "low", "close", "volume")
Progress = bool | Callable[[Job], object] | None
"""True and None show bars (None only on a terminal or in a notebook), False nothing; a callable gets each word."""


class IncompleteCandles(UserWarning):
    """A range is partly missing; the DataFrame's `attrs["missing"]` says what."""


class CandlesFailed(TickwireError):
    """Some of several keys could not be had: `errors` by key, and the `frames` of the others."""

    code = "candles_failed"
    status = 502

    def __init__(self, errors: dict[Key, TickwireError], frames: dict[Key, DataFrame]) -> None:
        key, error = next(iter(errors.items()))
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        super().__init__(f"{key}: {error}{more}", "see .errors; what could be had is in .frames")
        self.errors = errors
        self.frames = frames


@dataclass(frozen=True)
class Span:
    """What is known of a key between `since` and `until` (ms): `missing` is not."""

    since: int | None
    until: int | None
    missing: list[Range] = field(default_factory=list)


async def fetched(
    bus: Bus, keys: Sequence[Key], since: int, until: int | None, progress: Progress
) -> dict[Key, Span | TickwireError]:
    """Have what is missing of each key fetched; what came of it. Raises NoSuchService when no fetcher runs."""
    ids = {key: jobs.new_id() for key in keys}
    async with jobs.followed(bus, ids.values()) as following:
        orders = await asyncio.gather(*(jobs.order(bus, key, each, since, until, False) for key, each in ids.items()))
        accepted = [order for order in orders if order.error is None]
        with _shown([order.key for order in accepted], progress) as show:
            await following.until_ended([order.id for order in accepted], show, asyncio.Event())
    found: dict[Key, Span | TickwireError] = {order.key: order.error for order in orders if order.error is not None}
    for order in accepted:
        job = following.ended[order.id]
        if job.error is not None:
            found[order.key] = from_code(job.error.code, job.error.message, job.error.remedy)
        else:
            found[order.key] = Span(job.since, job.until, job.missing)
    return found


async def known(bus: Bus, key: Key, since: int | None, until: int | None) -> Span:
    """What the cache knows of a key. Raises NoSuchService when no cache runs."""
    request = KeyRequest(exchange=key.exchange, symbol=key.symbol, timeframe=key.timeframe, since=since, until=until)
    try:
        coverage = await bus.request("cache.coverage", request, Coverage)
    except NotCached:
        coverage = Coverage(exchange=key.exchange, symbol=key.symbol, timeframe=key.timeframe)
    if since is None or until is None:
        ends = [coverage.verified[0].since, coverage.verified[-1].until] if coverage.verified else [0, 0]
        since, until = ends[0] if since is None else since, ends[1] if until is None else until
    return Span(since, until, subtract(Range(since, until), coverage.verified) if since < until else [])


async def frame(bus: Bus, key: Key, span: Span) -> DataFrame:
    """The cached candles of a key in a span. Warns of what is missing (IncompleteCandles)."""
    columns = [chunk async for chunk in chunks(bus, key, span.since, span.until, None)]
    found = _frame(columns)
    missing = [tuple(each) for each in span.missing]
    found.attrs |= key._asdict()
    found.attrs |= {"since": span.since, "until": span.until, "complete": not missing, "missing": missing}
    if missing:
        absent = sum(timeframes.count(key.timeframe, since, until) for since, until in missing)
        warnings.warn(
            f"{key}: {absent:,} candles in {len(missing)} ranges are missing, see attrs['missing']",
            IncompleteCandles,
            stacklevel=3,
        )
    return found


def _frame(columns: Sequence[CandleColumns]) -> DataFrame:
    # pandas takes most of a second to import, which only those who want a DataFrame should wait for.
    import numpy
    import pandas

    def joined(name: str, kind: str) -> Any:
        parts = [numpy.frombuffer(getattr(chunk, name), dtype=kind) for chunk in columns]
        return numpy.concatenate(parts) if parts else numpy.empty(0, dtype=kind)

    dates = joined("dates", "<i8").astype("datetime64[ms]").astype("datetime64[ns]")
    index = pandas.DatetimeIndex(dates, tz="UTC", name="timestamp")
    data = {name: joined(f"{name}s", "<f8") for name in COLUMNS}
    return pandas.DataFrame(data, index=index)


@contextmanager
def _shown(keys: list[Key], progress: Progress) -> Iterator[jobs.Show]:
    if callable(progress):
        yield progress
    elif progress or (progress is None and (sys.stderr.isatty() or _in_notebook())):
        from tickwire.progress import shown

        with shown(keys) as show:
            yield show
    else:
        yield _nothing


def _nothing(job: Job) -> None:
    """Nobody looks."""


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"
