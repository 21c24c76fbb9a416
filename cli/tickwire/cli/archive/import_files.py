"""`tickwire archive import`: daily files that a venue publishes, from folders of this machine into the archive.

Each file is checked, read to its end, and then read again and sent: nothing of a damaged one is archived.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tickwire.archive_files.layout import DAY_MS, begin_of
from tickwire.archive_files.proven_pages import PageBuffer, Proven
from tickwire.archive_requests.writer import ArchiveWriter, lacking
from tickwire.bus.connection import Bus
from tickwire.cli.connection import connected, settings_of
from tickwire.cli.output import render
from tickwire.errors import BadRequest, ExchangeFailed, NoSuchService, TickwireError, UnknownSymbol
from tickwire.exchange import opening
from tickwire.exchange.guarded_call import guarded_call
from tickwire.model.feeds import Feed, Trade
from tickwire.model.messages.archive_writing import PAGE_TRADES, TradePage
from tickwire.model.ranges import Range
from tickwire.model.times import now_ms
from tickwire.process import lifecycle
from tickwire.process.lifecycle import Exit
from tickwire.settings import Settings
from tickwire.venues.binance_files import (
    CHECKSUM,
    EXCHANGE,
    PublishedFile,
    checksum_of,
    is_header,
    published_file,
    published_trade,
)
from tickwire.venues.registry import profile_of
from tickwire.venues.units import kind_of, stated_in_trades, units_of

_READ = 1 << 20


class ImportOptions(NamedTuple):
    """What `archive import` is to import, as typed."""

    paths: Sequence[Path]
    exchange: str | None
    market: str


@dataclass
class Imported:
    """What became of the files."""

    files: int = 0
    rows: int = 0
    archived: int = 0
    """Files of days that the archive had already."""
    failed: int = 0
    incomplete: int = 0
    """Files in which trades are missing."""
    markets: dict[str, Any] = field(default_factory=dict)
    """By the venue's id, as ccxt describes them."""


async def import_files(stop: asyncio.Event, config: Path | None, options: ImportOptions, json: bool) -> int:
    """Import files, name those that cannot be, and print what was done. Raises NoSuchService without an archive."""
    settings = settings_of(config)
    files = found_files(options.paths)
    done = Imported()
    exchange = options.exchange or EXCHANGE
    single = _has_single_trades(settings, exchange)
    async with connected(settings, stop) as bus:
        done.markets = await _markets(settings, exchange, options.market)
        for path in files:
            if stop.is_set():
                break
            try:
                # The archive closes a day itself that got only some of its pages.
                await lifecycle.until_stopped(stop, _import(bus, path, exchange, done, single=single))
            except NoSuchService:
                # Each other file would wait for the archive, too.
                raise
            except (TickwireError, OSError) as error:
                done.failed += 1
                render.remark(f"{path}: {error}")
    if json:
        render.as_json({name: getattr(done, name) for name in ("files", "rows", "archived", "failed", "incomplete")})
    render.remark(
        f"{render.plural(done.files, 'file')} imported with {render.plural(done.rows, 'trade')}; "
        f"{done.archived} archived already, {done.failed} failed"
    )
    if stop.is_set():
        return Exit.INTERRUPTED
    return Exit.FAILED if done.failed else Exit.INCOMPLETE if done.incomplete else Exit.OK


def found_files(paths: Sequence[Path]) -> list[Path]:
    """The files that are named, and those in named folders, but for checksums and hidden ones. Raises BadRequest."""
    found = []
    for path in paths:
        if not path.exists():
            raise BadRequest(f"there is no {path}", "name a file or a folder")
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [each for each in inside if each.is_file() and not each.name.startswith(".")]
    return [each for each in dict.fromkeys(found) if each.suffix != CHECKSUM]


async def _import(bus: Bus, path: Path, exchange: str, done: Imported, *, single: bool) -> None:
    file = published_file(path.name)
    market = done.markets.get(file.market)
    if market is None:
        remedy = "name the exchange and the kind of market (--exchange, --market) that the file is of"
        raise UnknownSymbol(f"there is no market {file.market} of this kind at {exchange}", remedy)
    if single != (file.content == "trades"):
        kind, other = ("single", "aggTrades") if file.content == "trades" else ("aggregate", "trades")
        remedy = f"import the file -{other}-, or set options.watchTrades.name of the exchange's ccxt table"
        raise BadRequest(f"it has {kind} trades, and the feed {market['symbol']} has the others", remedy)
    archive = ArchiveWriter(bus, Feed("trade", exchange, market["symbol"]))
    begin = begin_of(file.date)
    span = Range(begin, begin + DAY_MS)
    if not lacking(await archive.days(*span), span):
        done.archived += 1
        return
    await asyncio.to_thread(_check, path, file)
    buffer, gaps = PageBuffer(), list[str]()
    stated = stated_in_trades(units_of(profile_of(exchange), market))
    received = now_ms()

    async def send(found: Iterator[Proven]) -> None:
        for since, until, trades in found:
            page = TradePage(
                exchange=exchange,
                symbol=market["symbol"],
                source="file",
                since=since,
                until=until,
                received=received,
                trades=trades,
                **stated,
            )
            done.rows += await archive.write(page)

    parts = proven_parts(_trades(path, file), span, gaps)
    while (part := await asyncio.to_thread(next, parts, None)) is not None:
        await send(buffer.add(part))
    await send(buffer.rest())
    await archive.close(file.date.isoformat())
    done.files += 1
    done.incomplete += bool(gaps)
    for each in gaps[:1]:
        more = f", and {len(gaps) - 1} more" if len(gaps) > 1 else ""
        render.remark(f"{path}: {each}{more}")


def _check(path: Path, file: PublishedFile) -> None:
    """Check the checksum and every row. Raises BadRequest."""
    try:
        expected = checksum_of(path.with_name(path.name + CHECKSUM).read_text(errors="replace"), path.name)
    except FileNotFoundError as error:
        raise BadRequest(f"it has no {path.name}{CHECKSUM} beside it", "download that, too") from error
    hashed = hashlib.sha256()
    with path.open("rb") as opened:
        while data := opened.read(_READ):
            hashed.update(data)
    if hashed.hexdigest() != expected:
        raise BadRequest("it does not have the checksum that its venue publishes", "download it again")
    begin, before = begin_of(file.date), -1
    for trade in _trades(path, file):
        if not begin <= trade.timestamp < begin + DAY_MS:
            raise BadRequest(f"trade {trade.id} is of another day", "download the file again")
        if int(trade.id or 0) <= before:
            raise BadRequest(f"trade {trade.id} is not in order", "download the file again")
        before = int(trade.id or 0)
    if before < 0:
        raise BadRequest("it has no trades", "download it again")


def _trades(path: Path, file: PublishedFile) -> Iterator[Trade]:
    """The trades of a file. Raises BadRequest."""
    number = 0
    try:
        with zipfile.ZipFile(path) as archive, archive.open(file.member) as member:
            for number, row in enumerate(csv.reader(io.TextIOWrapper(member, "utf-8", newline="")), 1):
                if row and not (number == 1 and is_header(row)):
                    yield published_trade(file, row)
    except KeyError as error:
        raise BadRequest(f"it has no {file.member}", "download it again") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, csv.Error, RuntimeError) as error:
        # RuntimeError: the member is encrypted.
        raise BadRequest(f"it is damaged: {error}", "download it again") from error
    except ValueError as error:
        raise BadRequest(f"line {number}: {error}", "download it again") from error


def proven_parts(trades: Iterator[Trade], span: Range, gaps: list[str]) -> Iterator[Proven]:
    """The trades of a whole day in parts, in order; where an id is missing nothing is proven, which `gaps` names."""
    at, held, before = span.since, list[Trade](), -1
    for trade in trades:
        number = int(trade.id or 0)
        if held and number != before + 1:
            gaps.append(f"trades {before + 1} to {number - 1} are not in it")
            yield Proven(at, max(at, held[-1].timestamp), held)
            at, held = trade.timestamp + 1, []
        elif len(held) >= PAGE_TRADES and trade.timestamp > max(at, held[-1].timestamp):
            yield Proven(at, trade.timestamp, held)
            at, held = trade.timestamp, []
        held.append(trade)
        before = number
    yield Proven(at, max(at, span.until), held)


async def _markets(settings: Settings, exchange: str, kind: str) -> dict[str, Any]:
    """The markets of the chosen kind by the venue's ids. Raises UnknownExchange, ExchangeFailed."""
    own = settings.of_exchange(exchange)
    async with opening.open_exchange(exchange, own) as opened:
        try:
            markets = await guarded_call(opened.load_markets)
        except Exception as error:
            from ccxt.base.errors import BaseError

            if not isinstance(error, BaseError):
                raise
            raise ExchangeFailed(f"{exchange} does not list its markets: {error}", "try again later") from error
    return {str(each["id"]): each for each in markets.values() if kind_of(each) == kind}


def _has_single_trades(settings: Settings, exchange: str) -> bool:
    """Whether the feeds of an exchange have single trades where they could have aggregate ones."""
    options = settings.of_exchange(exchange).ccxt.get("options") or {}
    return (options.get("watchTrades") or {}).get("name") == "trade"
