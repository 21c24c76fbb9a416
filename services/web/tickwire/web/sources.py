"""What a tab may watch: names as of a URL, and how each thing is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct

from tickwire.client import Client, Key, NotArchived
from tickwire.errors import BadRequest, TickwireError
from tickwire.model.feeds import feed
from tickwire.model.messages import Coverage
from tickwire.model.ranges import Range
from tickwire.model.timeframes import duration_ms
from tickwire.model.times import now_ms
from tickwire.settings import Settings
from tickwire.web.board import Read, Source
from tickwire.web.coverage import DAY_MS, CoverageView, Row, first_day, row_of_feed, row_of_key
from tickwire.web.ended_jobs import EndedJobs
from tickwire.web.market_readers import ChartReader, MarketReader
from tickwire.web.overview import Overview, overview
from tickwire.web.quiet_days import QuietDays
from tickwire.web.search import SearchReader

NAME = 512
"""Characters of a name."""
OVERVIEW_S = 1.0
COVERAGE_S = 1.5
DAYS = (1, 120)
"""Days that a heat map may show."""
ROWS = 500
"""Rows of a heat map."""
COUNTS = 200
"""Requests of one reading for the quiet days of keys; what they leave open comes with the next."""
FEEDS = 100
"""Markets whose archived days are asked for."""
MARKET_S = 0.3
CHART_S = 1.0
SEARCH_S = 1.0
MARKETS = 500
"""Markets in use that are shown."""


class Markets(Struct, frozen=True):
    """Markets as (exchange, symbol), and why some may be lacking."""

    markets: list[tuple[str, str]]
    remark: str = ""


@dataclass
class Asked:
    """How many requests of a kind one reading has sent."""

    requests: int = 0


@dataclass(frozen=True)
class Sources:
    """Finds the source of a name."""

    client: Client
    settings: Settings
    ended: EndedJobs
    quiet: QuietDays
    used: set[str] = field(default_factory=set)
    """Exchanges of which something was kept or running when it was last looked."""

    def find(self, name: str) -> Source:
        """Return how a thing is read. Raises BadRequest for an unknown name."""
        parts = urlsplit(name[:NAME])
        query = dict(parse_qsl(parts.query))
        match parts.path:
            case "overview":
                return Source(partial(reading, self.overview), OVERVIEW_S)
            case "coverage":
                return Source(partial(reading, partial(self.coverage, *_days(query))), COVERAGE_S)
            case "markets":
                return Source(partial(reading, self.markets), COVERAGE_S)
            case "search":
                venues = {*self.settings.exchange, *self.used}
                return Source(SearchReader(self.client, query.get("q", ""), venues).opened, SEARCH_S)
            case "market":
                return Source(MarketReader(self.client, *_market(query)).opened, MARKET_S)
            case "chart":
                exchange, symbol = _market(query)
                key = Key(exchange, symbol, query.get("timeframe", "1m"))
                duration_ms(key.timeframe)
                return Source(ChartReader(self.client, key).opened, CHART_S)
        raise BadRequest(f"there is no {name[:100]!r} to watch", "reload the page")

    async def overview(self) -> Overview:
        """What runs."""
        status = await self.client.status(cached=False)
        return overview(status, self.ended.newest, self.settings.optional_services)

    async def coverage(self, days: int, until: date | None) -> CoverageView:
        """What is kept of each key and feed."""
        now = now_ms()
        since = first_day(until, days, now)
        keys, damaged = await self.client.coverage()
        archived, remark = await self._archived(keys, since, days)
        asked = Asked()
        rows = [*[await self._row_of_key(each, since, days, now, asked) for each in keys[:ROWS]], *archived]
        more = max(0, len(keys) - ROWS) + max(0, len(rows) - ROWS)
        return CoverageView(
            at=now,
            since=since,
            days=days,
            rows=rows[:ROWS],
            more=more,
            damaged=damaged,
            remark=remark,
        )

    async def _row_of_key(self, found: Coverage, since: int, days: int, now: int, asked: Asked) -> Row:
        part = Range(since, since + days * DAY_MS)
        quiet, took = await self.quiet.of(found, part, ask=asked.requests < COUNTS)
        asked.requests += took
        return row_of_key(found, since, days, now, quiet)

    async def markets(self) -> Markets:
        """The markets of which something is kept or running; a service that is away hides those of its own alone."""
        found: set[tuple[str, str]] = set()
        remarks = []
        try:
            found |= {(each.exchange, each.symbol) for each in await self.client.feeds()}
        except TickwireError as error:
            remarks.append(str(error))
        try:
            found |= {(each.exchange, each.symbol) for each in (await self.client.coverage())[0]}
        except TickwireError as error:
            remarks.append(str(error))
        self.used.update(exchange for exchange, _ in found)
        return Markets(markets=sorted(found)[:MARKETS], remark="; ".join(remarks))

    async def _archived(self, keys: Sequence[Coverage], since: int, days: int) -> tuple[list[Row], str]:
        """The rows of feeds of trades, if an archive runs, and what to say of them: its failure hides no candles."""
        status = await self.client.status(cached=False)
        if not any(each.service == "archive" for each in status.services):
            return [], "no archive runs: trades are not shown"
        running = {(each.exchange, each.symbol) for each in status.feeds or [] if each.kind == "trade"}
        # Feeds that were archived once and run no more are found where candles of their market are kept.
        markets = sorted(running | {(each.exchange, each.symbol) for each in keys})
        rows: list[Row] = []
        for exchange, symbol in markets[:FEEDS]:
            try:
                found = await self.client.archived_days(exchange, symbol, since, since + days * DAY_MS)
            except NotArchived:
                found = []
            except TickwireError as error:
                return rows, f"the archive does not say what it has: {error}"
            if found or (exchange, symbol) in running:
                rows.append(row_of_feed(exchange, symbol, found, since, days))
        more = len(markets) - FEEDS
        return rows, f"the archived days of {more} more markets are not shown" if more > 0 else ""


def _market(query: Mapping[str, str]) -> tuple[str, str]:
    try:
        named = feed("trade", query["exchange"], query["symbol"])
    except KeyError as error:
        raise BadRequest(f"no {error} is named", "choose an exchange and a symbol") from error
    return named.exchange, named.symbol


@asynccontextmanager
async def reading(read: Read) -> AsyncIterator[Read]:
    """A source that needs nothing open."""
    yield read


def _days(query: Mapping[str, str]) -> tuple[int, date | None]:
    try:
        days = int(query.get("days", "30"))
        until = date.fromisoformat(query["until"]) if query.get("until") else None
    except ValueError as error:
        raise BadRequest(f"these are no days: {str(error)[:200]}", "give days=30 and until=2026-03-27") from error
    if not DAYS[0] <= days <= DAYS[1]:
        raise BadRequest(f"{days} days are not shown", f"choose {DAYS[0]} to {DAYS[1]}")
    return days, until
