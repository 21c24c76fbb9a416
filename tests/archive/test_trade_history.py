"""History of trades in the archive: fetched by REST where the tape lacks them; the truth is the exchange's own list."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import Any

import pytest

from archive.archive_process import PARTITIONS
from archive.test_archive_outages import archiving
from fetch.fetched import DAY, HOUR, NOW, fetch
from support.processes import SimulatorProcess, running_simulator
from support.serving import serving
from support.web import exchange_at
from tickwire.archive_files import days, layout
from tickwire.archive_files.layout import ArchivedFeed
from tickwire.archive_files.root import FolderRoot
from tickwire.bus import streams
from tickwire.bus.connection import Bus, connect
from tickwire.cli.archive import fetch as cli
from tickwire.cli.archive.fetch import FetchOptions
from tickwire.client import connect as connect_client
from tickwire.errors import BadRequest, UnsupportedKind
from tickwire.fetcher import service as fetcher_service
from tickwire.model import messages
from tickwire.model.feeds import Feed, Gap, Trade, Trades
from tickwire.model.feeds.layout import TapeLayout
from tickwire.model.messages import Job
from tickwire.model.messages.archive import Certificate
from tickwire.observe.metrics import Metrics
from tickwire.settings import FetcherSettings, NatsSettings, Settings, TapeSettings

pytestmark = pytest.mark.faults

TODAY = NOW // DAY * DAY
SINCE, UNTIL = TODAY - DAY - 6 * HOUR, TODAY
OUTAGE = (TODAY - 18 * HOUR, TODAY - 15 * HOUR)


@dataclass
class Venue:
    """A venue of the simulated exchange: what its tape and its REST API should have."""

    bus: Bus
    simulator: SimulatorProcess
    root: Path
    feed: Feed
    metrics: Metrics

    async def truth(self, since: int, until: int) -> list[dict[str, Any]]:
        """Every trade of a range (ms)."""
        of = {"exchange": self.feed.exchange, "symbol": self.feed.symbol}
        rows: list[dict[str, Any]] = await self.simulator.truth("trades", **of, since=since, until=until)
        return rows

    async def live(self, since: int, until: int) -> list[Trade]:
        """The trades of a range as the venue's socket has them: joined, on binance with other ids."""
        found: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for each in await self.truth(since, until):
            found[each["agg"]].append(each)
        return [
            Trade(
                id=str(agg if self.feed.exchange == "binance" else rows[-1]["id"]),
                timestamp=rows[0]["timestamp"],
                side=rows[0]["side"],
                price=rows[0]["price"],
                amount=sum(row["amount"] for row in rows),
            )
            for agg, rows in found.items()
        ]

    async def tape(self) -> None:
        """Put a day with an outage on the tape, watched from begin to end."""
        before, after = await self.live(TODAY - DAY, OUTAGE[0]), await self.live(OUTAGE[1], TODAY)
        gap = Gap(
            since=before[-1].timestamp,
            until=after[0].timestamp,
            after_id=before[-1].id,
            before_id=after[0].id,
            reason="cut",
        )
        last = 0
        for trades, until, gap_before in (
            ([], TODAY - DAY - 1, None),
            (before, before[-1].timestamp, None),
            (after, TODAY - 1, gap),
            ([], TODAY + HOUR, None),
        ):
            message = Trades(
                exchange=self.feed.exchange,
                symbol=self.feed.symbol,
                trades=trades,
                received=NOW,
                until=until,
                gap=gap_before,
            )
            subject = TapeLayout(PARTITIONS).place_of(self.feed).subject
            headers = {"Nats-Expected-Last-Subject-Sequence": str(last)}
            last = (await self.bus.jetstream.publish(subject, messages.encode(message), headers=headers)).seq

    async def fetch(self, **changes: Any) -> Job:
        request: dict[str, Any] = {"exchange": self.feed.exchange, "symbol": self.feed.symbol, "timeframe": ""}
        request.update(kind="trade", since=SINCE, until=UNTIL)
        request.update(changes)
        return await fetch(self.bus, **request)

    def certificates(self) -> list[Certificate]:
        return days.days(FolderRoot(self.root), ArchivedFeed(*self.feed[:3]), SINCE, UNTIL)

    def rows(self) -> list[dict[str, Any]]:
        feed = ArchivedFeed(*self.feed[:3])
        found = [
            row for batch in days.read_rows(FolderRoot(self.root), feed, SINCE, UNTIL) for row in batch.to_pylist()
        ]
        return [row | {"timestamp": round(row["timestamp"].timestamp() * 1000)} for row in found]

    async def until_certified(self, condition: str) -> None:
        """Wait until the day before today has a certificate; folders announce nothing."""
        async with asyncio.timeout(100):
            while self.certificates()[-1].condition != condition:
                await asyncio.sleep(0.1)

    async def asked(self) -> int:
        """How many requests for trades the exchange had."""
        return len([each for each in await self.simulator.log() if "rades" in each["path"]])


@asynccontextmanager
async def venue(
    broker: str, folder: Path, exchange: str, symbol: str = "BTC/USDT", **archive: Any
) -> AsyncIterator[Venue]:
    """An archive, a fetcher and an exchange with a few hundred trades an hour."""
    arguments = ("--now", str(NOW), "--symbol", "BTC/USDT", "--history-rate", "5", "--listed", str(SINCE - DAY))
    async with running_simulator(*arguments) as simulator, connect(NatsSettings(url=broker), name="test") as bus:
        settings = Settings(
            nats=NatsSettings(url=broker),
            tape=TapeSettings(partitions=PARTITIONS),
            fetcher=FetcherSettings(attempts=3, backoff_s=0.02, max_backoff_s=0.1),
            exchange={exchange: exchange_at(simulator.url, 5_000)},
        )
        await streams.declare_for(bus.jetstream, settings)
        root = folder / "archive"
        metrics = Metrics()
        async with (
            archiving(broker, root, metrics=metrics, **archive),
            serving(bus, fetcher_service.serve_fetcher, settings, "fetcher-one"),
        ):
            yield Venue(bus, simulator, root, Feed("trade", exchange, symbol), metrics)


async def test_history_and_a_tape_with_an_outage_are_every_trade_of_binance(
    broker: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with venue(broker, tmp_path, "binance") as binance:
        await binance.tape()
        await binance.until_certified("gaps")
        before = binance.certificates()[-1]
        job = await binance.fetch()
        assert (job.state, job.complete, job.missing, job.error, job.refused) == ("done", True, [], None, [])
        first, second = binance.certificates()
        assert (first.condition, first.watched) == ("partial", [(SINCE, TODAY - DAY)])
        assert (second.condition, second.version, second.gaps) == ("complete", before.version + 1, [])
        assert first.history == first.rows
        assert second.rows == second.live + second.history
        # Those of the milliseconds beside the gap were sent, too, and left out.
        sent = binance.metrics.registry.get_sample_value("tickwire_archive_added_rows_total", {"source": "history"})
        assert sent is not None
        assert first.history + second.history <= sent == job.rows_fetched
        truth, rows = await binance.live(SINCE, UNTIL), binance.rows()
        assert [(row["id"], row["timestamp"], row["side"], row["price"]) for row in rows] == [
            (each.id, each.timestamp, each.side, each.price) for each in truth
        ]
        assert all(isclose(row["amount"], each.amount) for row, each in zip(rows, truth, strict=True))
        assert {row["source"] for row in rows if OUTAGE[0] <= row["timestamp"] < OUTAGE[1]} == {"history"}
        assert {row["source"] for row in rows if row["timestamp"] >= OUTAGE[1]} == {"live"}
        # Nothing is missing: nothing is requested.
        asked = await binance.asked()
        again = await binance.fetch()
        assert (again.complete, again.rows_fetched, again.pages) == (True, 0, 0)
        assert await binance.asked() == asked
        async with connect_client(broker) as client:
            assert await client.fetch_trades("binance", "BTC/USDT", SINCE, UNTIL, progress=False) == []
            frame = await client.trades_frame("binance", "BTC/USDT", SINCE, UNTIL)
        assert (frame.attrs["complete"], frame["id"].tolist()) == (True, [each.id for each in truth])
        config = tmp_path / "tickwire.toml"
        config.write_text(f'[nats]\nurl = "{broker}"\n')
        options = FetchOptions("binance", "BTC/USDT", str(SINCE), str(UNTIL))
        assert await cli.fetch(asyncio.Event(), config, options, json=False) == 0
        assert capsys.readouterr().out.splitlines()[-1].split()[:3] == ["binance", "BTC/USDT", "trades"]
        with pytest.raises(UnsupportedKind, match="no ids that are known"):
            await cli.fetch(asyncio.Event(), config, options._replace(exchanges="kraken"), json=False)
        assert binance.certificates() == [first, second]


async def test_history_of_okx_has_no_parts_of_trades_that_its_tape_has_joined(broker: str, tmp_path: Path) -> None:
    async with venue(broker, tmp_path, "okx") as okx:
        await okx.tape()
        await okx.until_certified("gaps")
        job = await okx.fetch()
        assert (job.state, job.complete, job.missing, job.error) == ("done", True, [], None)
        assert [each.condition for each in okx.certificates()] == ["partial", "complete"]
        # A joined trade is there as one row with its last id and its whole amount, or as its single trades.
        joined: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for each in await okx.truth(SINCE, UNTIL):
            joined[each["agg"]].append(each)
        left = okx.rows()
        for parts in joined.values():
            whole = len(left) and isclose(left[0]["amount"], sum(part["amount"] for part in parts))
            for part in parts[-1:] if whole else parts:
                row = left.pop(0)
                assert (row["id"], row["side"], row["price"]) == (str(part["id"]), part["side"], part["price"])
                assert row["timestamp"] == part["timestamp"]
                assert whole or row["amount"] == part["amount"]
        assert not left


async def test_what_history_cannot_give_is_named(broker: str, tmp_path: Path) -> None:
    async with venue(broker, tmp_path, "okx") as okx:
        listed = SINCE - DAY
        job = await okx.fetch(since=listed - HOUR, until=listed + HOUR)
        assert (job.state, job.complete) == ("done", False)
        [missing] = job.missing
        assert (missing.since, missing.until <= listed + 60_000) == (listed - HOUR, True)
        assert [each.message for each in job.refused] == ["the exchange has no earlier trades"]
        open_ = await okx.fetch(since=TODAY - HOUR, until=TODAY + HOUR)
        assert (open_.complete, open_.missing) == (False, [(TODAY, TODAY + HOUR)])
        assert [each.message for each in open_.refused] == ["the day has not ended"]
        ahead = await okx.fetch(since=TODAY + 1, until=None)
        assert ahead.error is not None
        assert (ahead.error.code, "has not ended" in ahead.error.message) == ("bad_request", True)
        with pytest.raises(UnsupportedKind, match="no ids that are known to be the same"):
            await okx.fetch(exchange="kraken")
        with pytest.raises(UnsupportedKind, match="gives no history of trades"):
            await okx.fetch(exchange="hyperliquid")
        with pytest.raises(BadRequest, match="are for candles"):
            await okx.fetch(timeframe="1m")
        assert not list((okx.root / "trade").glob("exchange=kraken*"))
        assert layout.date_of(TODAY).isoformat() not in {each.date for each in okx.certificates()}


async def test_history_of_a_venue_that_pages_by_time_is_every_trade(broker: str, tmp_path: Path) -> None:
    """Deribit: a page has the oldest trades from a time on; they go back a day, which is declared."""
    async with venue(broker, tmp_path, "deribit", symbol="BTC/USD:BTC") as deribit:
        since = TODAY - 10 * HOUR
        job = await deribit.fetch(since=since)
        assert (job.state, job.complete, job.missing, job.error, job.refused) == ("done", True, [], None, [])
        truth = await deribit.truth(since, UNTIL)
        assert len(truth) > 1000
        assert job.pages >= 2
        # Its ids count the trades of a currency: those of one market rise, with holes.
        ids = [str(3 * each["id"] + each["id"] ** 2 % 3) for each in truth]
        assert [(row["id"], row["timestamp"], row["side"], row["price"]) for row in deribit.rows()] == [
            (id_, each["timestamp"], each["side"], each["price"]) for id_, each in zip(ids, truth, strict=True)
        ]
        again = await deribit.fetch(since=since)
        assert (again.complete, again.rows_fetched, again.pages) == (True, 0, 0)
        earlier = await deribit.fetch()
        assert (earlier.state, earlier.complete) == ("done", False)
        [missing] = earlier.missing
        # The exchange's clock goes on meanwhile.
        assert (missing.since, TODAY - 12 * HOUR <= missing.until < since) == (SINCE, True)
        assert [each.message for each in earlier.refused] == ["the exchange gives no earlier trades"]
