"""Candles as DataFrames: missing ones are fetched first, and ranges that stay missing are reported.

| subject | what |
|---|---|
| `fetcher.fetch`, `md.job.<id>` | a job for each key, and its progress |
| `cache.get`, `cache.coverage` | the candles, and the coverage of a key that is not fetched |
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import warnings
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tickwire.bus.connection import Bus
from tickwire.client import fetch_jobs
from tickwire.client.columns import requested
from tickwire.errors import BrokerUnavailable, NoSuchService, NotCached, TickwireError, from_code
from tickwire.model.messages import CandleColumns, CandlesRequest, Coverage, Job, KeyRequest, VolumeUnit
from tickwire.model.ranges import Range, subtract
from tickwire.model.subjects import Key
from tickwire.process import lifecycle
from tickwire.process.gathering import gathered
from tickwire.task_group import TaskGroup
from tickwire.venues.registry import grid_of, profile_of

if TYPE_CHECKING:
    from pandas import DataFrame

_PACKAGE = Path(__file__).parent
_OF_ALL = (NoSuchService, BrokerUnavailable)
"""Errors that are those of every key, not of one."""
AT_ONCE = 16
"""Keys whose coverage is requested at the same time."""
COLUMNS = ("open", "high", "low", "close", "volume")
Progress = bool | Callable[[Job], object] | None
"""True shows bars, None does on a terminal or in a notebook, False shows nothing; a callable gets each `Job`."""


class IncompleteCandles(UserWarning):
    """Part of a range is missing; see the DataFrame's `attrs["missing"]`."""


class CandlesFailed(TickwireError):
    """Some of several keys failed: `errors` by key, and the `frames` of the others."""

    code = "candles_failed"
    status = 502

    def __init__(self, errors: dict[Key, TickwireError], frames: dict[Key, DataFrame]) -> None:
        key, error = next(iter(errors.items()))
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        super().__init__(f"{key}: {error}{more}", "see .errors; the frames of the other keys are in .frames")
        self.errors = errors
        self.frames = frames


@dataclass(frozen=True)
class Span:
    """A range `[since, until)` (ms) of a key; the ranges `missing` of it are not known.

    `volume_unit` is that of the key, None where it was not requested yet.
    """

    since: int
    until: int
    missing: list[Range] = field(default_factory=list)
    volume_unit: VolumeUnit | None = None


class Frames(NamedTuple):
    """DataFrames of several keys, and the errors of the others."""

    frames: dict[Key, DataFrame]
    errors: dict[Key, TickwireError]


def begin_of_last(key: Key, candles: int, until: int | None, now: int) -> int:
    """Where the last `candles` before `until` begin; without `until`, before those not final at `now` (all ms)."""
    grid = grid_of(key.exchange, key.timeframe)
    revised_ms = profile_of(key.exchange).candles.settled_after_ms
    end = grid.open_of(now - revised_ms) if until is None else grid.ceil_open(until)
    return max(0, grid.advance(end, -candles))


async def fetched(
    bus: Bus, keys: Sequence[Key], since: int, until: int | None, progress: Progress
) -> dict[Key, Span | TickwireError]:
    """Fetch what is missing of each key; its span, or its error. Raises NoSuchService when no fetcher runs."""
    ids = {key: fetch_jobs.new_id() for key in keys}
    async with fetch_jobs.followed(bus, ids.values()) as following:
        async with lifecycle.unwrapped(), TaskGroup() as group:
            ordering = [
                group.create_task(fetch_jobs.order(bus, key, each, since, until, False)) for key, each in ids.items()
            ]
        orders = [each.result() for each in ordering]
        accepted = [order for order in orders if order.error is None]
        with _shown([order.key for order in accepted], progress) as show:
            await following.until_ended([order.id for order in accepted], show, asyncio.Event())
    found: dict[Key, Span | TickwireError] = {}
    for order in orders:
        if order.error is not None:
            found[order.key] = order.error
        elif (job := following.ended[order.id]).error is not None:
            found[order.key] = from_code(job.error.code, job.error.message, job.error.remedy)
        else:
            found[order.key] = Span(job.since, job.until, job.missing)
    return found


async def known(bus: Bus, key: Key, since: int | None, until: int | None, now: int) -> Span:
    """What the cache knows of a key from `since` to `until`, else to the candle that is open at `now` (all ms).

    Without `since` it begins with the first cached candle; raises NotCached when there is none. Raises NoSuchService
    when no cache runs.
    """
    bounds = (since, until) if since is not None else (None, None)
    request = KeyRequest(**key._asdict(), since=bounds[0], until=bounds[1])
    try:
        found = await bus.service_wait.call(lambda: bus.request("cache.coverage", request, Coverage))
    except NotCached:
        found = Coverage(**key._asdict())
    verified = found.verified
    if since is None:
        if not verified:
            raise NotCached(f"nothing is cached of {key}", "give `since`, and it is fetched")
        since = verified[0].since
        until = verified[-1].until if until is None else until
    if until is None:
        # The grid is the venue's own, as far as the cache knows it.
        until = max(since, grid_of(key.exchange, key.timeframe, found.opens_at).open_of(now))
    missing = subtract(Range(since, until), verified) if since < until else []
    return Span(since, until, missing, found.volume_unit)


async def known_of(
    bus: Bus, keys: Sequence[Key], since: int | None, until: int | None, now: int
) -> dict[Key, Span | TickwireError]:
    """As `known`, for several keys: the span of each, or its error."""

    async def of_key(key: Key) -> Span | TickwireError:
        try:
            return await known(bus, key, since, until, now)
        except _OF_ALL:
            raise
        except TickwireError as error:
            return error

    return dict(zip(keys, await gathered(keys, of_key, AT_ONCE), strict=True))


async def cached(bus: Bus, key: Key, span: Span, *, compact: bool = False) -> AsyncGenerator[CandleColumns, None]:
    """Chunks of the cached candles of a key in a span; `compact` as in CandlesRequest."""
    since, until = span.since, span.until
    request = CandlesRequest(**key._asdict(), since=since, until=until, format="columns", compact=compact)
    try:
        async with aclosing(requested(bus, request)) as parts:
            async for part in parts:
                yield part
    except NotCached:
        # Expected when nothing of the span is known.
        if subtract(Range(span.since, span.until), span.missing):
            raise


async def frame(bus: Bus, key: Key, span: Span) -> DataFrame:
    """A DataFrame of the cached candles of a key in a span."""
    found = _frame([chunk async for chunk in cached(bus, key, span, compact=True)])
    missing = [tuple(each) for each in span.missing]
    found.attrs |= key._asdict()
    found.attrs |= {"since": span.since, "until": span.until, "complete": not missing, "missing": missing}
    found.attrs["volume_unit"] = span.volume_unit or await _volume_unit(bus, key)
    return found


async def _volume_unit(bus: Bus, key: Key) -> VolumeUnit | None:
    """The unit of a key's volumes; None when it is not known."""
    try:
        request = KeyRequest(**key._asdict())
        return (await bus.service_wait.call(lambda: bus.request("cache.coverage", request, Coverage))).volume_unit
    except NotCached:
        return None


async def frames(bus: Bus, found: Mapping[Key, Span | TickwireError]) -> Frames:
    """DataFrames of the cached candles of several keys. Raises NoSuchService and BrokerUnavailable."""
    read = Frames({}, {})
    for key, span in found.items():
        if isinstance(span, TickwireError):
            read.errors[key] = span
            continue
        try:
            read.frames[key] = await frame(bus, key, span)
        except _OF_ALL:
            raise
        except TickwireError as error:
            read.errors[key] = error
    return read


def all_or_failed(found: Frames) -> dict[Key, DataFrame]:
    """The DataFrames, after a warning of each missing range at the caller's line. Raises CandlesFailed."""
    for each in found.frames.values():
        warned(each)
    if found.errors:
        raise CandlesFailed(found.errors, found.frames)
    return found.frames


def warned(found: DataFrame) -> DataFrame:
    """The same DataFrame, after an IncompleteCandles warning at the caller's line when a range is missing."""
    if found.attrs["missing"]:
        key = Key(*(found.attrs[name] for name in Key._fields))
        warn(key, found.attrs["missing"], "see attrs['missing']")
    return found


def warn(key: Key, missing: Sequence[tuple[int, int]], remedy: str) -> None:
    """Issue an IncompleteCandles warning for the missing ranges of a key."""
    absent = sum(grid_of(key.exchange, key.timeframe).count(since, until) for since, until in missing)
    ranges = f"{len(missing)} range{'s' if len(missing) > 1 else ''}"
    text = f"{key}: {absent:,} candle{'s' if absent != 1 else ''} in {ranges} are missing, {remedy}"
    warnings.warn(text, IncompleteCandles, stacklevel=outside())


def outside() -> int:
    """The `stacklevel` of the first frame outside this package."""
    # Python 3.12 has `skip_file_prefixes` for this.
    level, here = 1, inspect.currentframe()
    at = here.f_back if here is not None else None
    while at is not None and Path(at.f_code.co_filename).parent == _PACKAGE:
        level, at = level + 1, at.f_back
    return level


def _frame(found: Sequence[CandleColumns]) -> DataFrame:
    # Imported late: pandas takes most of a second to import.
    import numpy
    import pandas

    rows = sum(chunk.count for chunk in found)
    dates = numpy.empty(rows, numpy.int64)
    # One block, as pandas makes of separate columns, and nothing is copied twice.
    block = numpy.empty((len(COLUMNS), rows))
    at = 0
    for chunk in found:
        part = slice(at, at + chunk.count)
        dates[part] = numpy.frombuffer(chunk.dates, "<i8")
        if chunk.step:
            dates[part] += chunk.step * numpy.arange(chunk.count)
        for column, name, decimals in zip(block, COLUMNS, chunk.decimals, strict=True):
            data = getattr(chunk, f"{name}s")
            if decimals < 0:
                column[part] = numpy.frombuffer(data, "<f8")
            else:
                # Exact: both are the float that is nearest to the decimal number.
                numpy.divide(numpy.frombuffer(data, "<i4"), 10.0**decimals, out=column[part])
        at += chunk.count
    index = pandas.DatetimeIndex(dates.astype("datetime64[ms]").astype("datetime64[ns]"), tz="UTC", name="timestamp")
    return pandas.DataFrame(block.T, index=index, columns=list(COLUMNS), copy=False)


@contextmanager
def _shown(keys: list[Key], progress: Progress) -> Iterator[fetch_jobs.ShowJob]:
    if callable(progress):
        yield progress
    elif progress is not False and _in_notebook():
        from tickwire.client.notebook_progress import NotebookProgress

        yield NotebookProgress(keys)
    elif progress or (progress is None and sys.stderr.isatty()):
        from tickwire.client.progress import shown

        with shown(keys) as show:
            yield show
    else:
        yield _nothing


def _nothing(job: Job) -> None:
    """Show nothing."""


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"
