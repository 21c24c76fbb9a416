"""DataFrames and Arrow tables of archived trades, and bars of them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from tickwire.bus.connection import Bus
from tickwire.client import archived
from tickwire.client.history import outside
from tickwire.client.missing import Missing, missing, with_removed
from tickwire.errors import BadRequest, ConfigError
from tickwire.model.feeds import Trades
from tickwire.model.messages.archived_trades import ArchivedTrades
from tickwire.model.ranges import Range
from tickwire.venues.units import BASE, measure_of

if TYPE_CHECKING:
    from pandas import DataFrame

    from tickwire.bars import Bars, Rule


Form = Literal["pandas", "arrow", "polars"]
FORMS: tuple[Form, ...] = get_args(Form)


class IncompleteTrades(UserWarning):
    """Trades of a requested range may be missing in the archive; `attrs["missing"]` says of which times."""


@dataclass
class Archived:
    """What a request is about, and what is missing of it."""

    feed: archived.AnyFeed
    span: Range
    missing: list[Missing]

    @property
    def attrs(self) -> dict[str, Any]:
        """As they are attached to a result."""
        return {
            "exchange": self.feed.exchange,
            "symbol": self.feed.symbol,
            "since": self.span.since,
            "until": self.span.until,
            "complete": not self.missing,
            "missing": [(each.since, each.until) for each in self.missing],
            "reasons": [each.reason for each in self.missing],
        }

    def removed(self, chunk: ArchivedTrades) -> None:
        """Note the days that a chunk says were removed, since it was asked what is missing."""
        self.missing = with_removed(self.missing, chunk.removed)

    def warn(self) -> None:
        """Issue a warning if something is missing."""
        if self.missing:
            ranges = f"{len(self.missing)} range{'s' if len(self.missing) > 1 else ''}"
            what = "trades" if self.feed.kind == "trade" else "rows"
            text = f"{self.feed}: {what} in {ranges} may be missing ({self.missing[0].reason}), see attrs['missing']"
            warnings.warn(text, IncompleteTrades, stacklevel=outside())


async def known(bus: Bus, feed: archived.AnyFeed, span: Range) -> Archived:
    """What is missing of a range (ms). Raises NotArchived, NoSuchService, StorageError."""
    return Archived(feed, span, missing(await archived.days(bus, feed, *span), span))


async def table(bus: Bus, found: Archived) -> Any:
    """The rows as a `pyarrow.Table`; key `tickwire` of its metadata has the attributes as JSON."""
    import pyarrow as pa

    from tickwire.archive_files.schema import schema_of

    parts, unit = [], dict[str, Any]()
    async with aclosing(archived.chunks(bus, found.feed, *found.span)) as chunks:
        async for chunk in chunks:
            found.removed(chunk)
            if chunk.rows:
                parts.append(archived.table_of(chunk))
                unit |= _unit(chunk)
    rows = pa.concat_tables(parts).unify_dictionaries() if parts else schema_of(found.feed.kind).empty_table()
    return rows.replace_schema_metadata({"tickwire": json.dumps(found.attrs | unit)})


async def made(bus: Bus, found: Archived, form: Form, by: str | None = None) -> Any:
    """The trades, or bars of them `by` a rule, in a form. Raises ConfigError where its package is not installed."""
    if form not in FORMS:
        raise BadRequest(f"form {form!r} is not known", f"it is one of {', '.join(FORMS)}")
    # Before anything is read.
    from_arrow = _from_arrow() if form == "polars" else None
    if by is None:
        rows = await (frame if form == "pandas" else table)(bus, found)
    else:
        rows = await bars(bus, found, by)
        rows = rows if form == "pandas" else _arrow_of(rows)
    return rows if from_arrow is None else from_arrow(rows)


def _from_arrow() -> Callable[[Any], Any]:
    try:
        import polars
    except ImportError as error:
        raise ConfigError("polars is not installed", "run `pip install polars`, or choose another form") from error
    return polars.from_arrow


def _arrow_of(whole: DataFrame) -> Any:
    """A DataFrame as a `pyarrow.Table`, its index as the first column; its attributes as JSON in the metadata."""
    import pyarrow as pa

    rows = pa.Table.from_pandas(whole.reset_index(), preserve_index=False)
    return rows.replace_schema_metadata({"tickwire": json.dumps(whole.attrs)})


async def frame(bus: Bus, found: Archived) -> DataFrame:
    """The trades as a DataFrame."""
    rows = await table(bus, found)
    whole: DataFrame = rows.to_pandas().set_index("timestamp")
    whole.index = whole.index.as_unit("ns")  # type: ignore[attr-defined]
    whole.attrs |= json.loads(rows.schema.metadata[b"tickwire"])
    whole.attrs["missing"] = [tuple(each) for each in whole.attrs["missing"]]
    return whole


async def bars(bus: Bus, found: Archived, by: str) -> DataFrame:
    """Bars of the trades, by a rule such as `5m` or `volume:100`, as a DataFrame."""
    # Imported late: pandas takes most of a second to import.
    import pandas

    from tickwire.bars import Fold, rule_of

    rule = rule_of(found.feed.exchange, by)
    fold, known_units = Fold(rule), True
    async with aclosing(archived.chunks(bus, found.feed, *found.span)) as chunks:
        async for chunk in chunks:
            found.removed(chunk)
            if not chunk.rows:
                continue
            unit = measure_of(_described(chunk))
            known_units = known_units and unit is not None
            fold.measure = unit or BASE
            rows = archived.table_of(chunk)
            times = rows.column("timestamp").cast("int64").to_numpy()
            fold.take(times, rows.column("price").to_numpy(), rows.column("amount").to_numpy())
    result = fold.result()
    index = pandas.DatetimeIndex(_moments(result.timestamp), tz="UTC", name="timestamp")
    columns = {name: getattr(result, name) for name in ("open", "high", "low", "close", "volume", "quote_volume")}
    columns |= {"trades": result.trades, "last": pandas.DatetimeIndex(_moments(result.last), tz="UTC")}
    made = pandas.DataFrame(columns | {"complete": complete(result, rule, found)}, index=index)
    made.attrs |= found.attrs | {"bars": by, "volume_unit": "base" if known_units else "unknown"}
    return made


def complete(bars: Bars, rule: Rule, found: Archived) -> Any:
    """Whether each bar has all of its trades: an array of booleans. Pure."""
    import numpy

    from tickwire.bars import TimeRule

    begins = bars.timestamp
    if isinstance(rule, TimeRule):
        step, next_open = rule.grid.step, rule.grid.next_open
        ends = begins + step if step else numpy.array([next_open(each) for each in begins.tolist()], numpy.int64)
        # The range may begin or end within an interval.
        whole = (begins >= found.span.since) & (ends <= found.span.until)
    else:
        # A bar lasts until the next one begins.
        ends = numpy.append(begins[1:], found.span.until)[: len(begins)]
        whole = numpy.ones(len(begins), bool)
        whole[-1:] = not bars.is_open
    for each in found.missing:
        whole &= (ends <= each.since) | (begins >= each.until)
    return whole


def _moments(times: Any) -> Any:
    return times.astype("datetime64[ms]").astype("datetime64[ns]")


def _unit(chunk: ArchivedTrades) -> dict[str, Any]:
    """The fields of a chunk about its amounts, where it is of a contract market."""
    stated = {"multiplier": chunk.multiplier, "inverse": chunk.inverse}
    return {name: value for name, value in stated.items() if value is not msgspec.UNSET}


def _described(chunk: ArchivedTrades) -> Trades:
    """A message with the unit of a chunk."""
    return Trades(
        exchange=chunk.exchange,
        symbol=chunk.symbol,
        trades=[],
        received=0,
        multiplier=chunk.multiplier,
        inverse=chunk.inverse,
    )
