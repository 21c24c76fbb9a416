"""What running services log: a JSON object a line, with exchange, symbol and subject as fields."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from support import live
from support.pipeline import Pipeline, pipeline
from support.processes import SimulatorProcess
from tickwire.model.feeds import Feed
from tickwire.model.subjects import Key

pytestmark = pytest.mark.system

MINUTE = 60_000
SINCE = 1_700_000_000_000 // MINUTE * MINUTE
KEY = Key("binance", "BTC/USDT", "1m")
OF_KEY = {"exchange": "binance", "symbol": "BTC/USDT", "timeframe": "1m"}
OF_FEED = {"kind": "trade", "exchange": "binance", "symbol": "BTC/USDT"}

Line = dict[str, Any]


def lines(line: Pipeline, service: str) -> list[Line]:
    """All whole lines that a service has logged."""
    text = (line.folder / f"{service}-0.log").read_text()
    return [json.loads(each) for each in text.splitlines(keepends=True) if each.endswith("\n")]


async def logged(line: Pipeline, service: str, condition: Callable[[Line], bool]) -> Line:
    """The first line that meets a condition; the file is polled, as `tail -f` does."""
    async with asyncio.timeout(100):
        while not (found := [each for each in lines(line, service) if condition(each)]):
            await asyncio.sleep(0.05)
    return found[0]


def of(event: str, **fields: object) -> Callable[[Line], bool]:
    """Whether a line tells of this, with these fields among its own."""
    return lambda line: line["event"] == event and fields.items() <= line.items()


async def test_services_log_json_with_exchange_symbol_and_subject_as_fields(
    broker: str, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    services = ("cache", "fetcher", "streamer")
    async with pipeline(broker, simulator, tmp_path, ()) as line:
        for service in services:
            await line.start(service, 0, "--instance", f"{service}-0", TICKWIRE_LOG_LEVEL="debug")
        for service in services:
            await line.started(service)
        subject = "tape.ohlcv.binance.BTC-USDT.1m"
        ack = await line.bus.jetstream.publish(subject, b"no page")
        refused = await logged(line, "cache", of("undecodable messages are skipped", sequence=ack.seq))
        # The subject in the stream, where an operator looks the message up.
        stored = await line.bus.jetstream.get_msg("OHLCV", ack.seq)
        assert refused["subject"] == stored.subject
        assert refused["level"] == "warning"

        assert (await line.fetch(KEY, SINCE, SINCE + 10 * MINUTE)).complete
        await logged(line, "fetcher", of("lease held", lease="binance", exchange="binance"))
        await logged(line, "fetcher", of("job ended", state="done", fetched=10, **OF_KEY))

        feed = Feed("trade", "binance", "BTC/USDT")
        async with live.statuses(line.bus, feed) as heard:
            await live.start(line.bus, feed)
            await live.status(heard, "connected")
        # The partition of a market is the broker's own hash of its name.
        await logged(line, "streamer", of("lease held", lease="slot.3", slot=3))
        await logged(line, "streamer", of("feed starts", **OF_FEED))
        assert (await logged(line, "cache", of("lease held", partition=3)))["lease"] == "3"

        path = line.cache_dir / "binance_BTC-USDT_1m.csv"
        with path.open("ab") as file:
            file.write(b"17000")
        assert (await line.fetch(KEY, SINCE, SINCE + 20 * MINUTE)).complete
        cut = await logged(line, "cache", of("cut off the remains of an interrupted write", bytes=5, **OF_KEY))
        assert cut["path"] == str(path)

        for service in services:
            for each in lines(line, service):
                assert each["service"] == service
                assert each["instance"] == f"{service}-0"
                assert each["logger"].startswith("tickwire.")
                assert each["level"] in ("debug", "info", "warning", "error", "critical")
                assert datetime.fromisoformat(each["timestamp"]).utcoffset() is not None
                # What is a field is no part of the text.
                assert not any(name in each["event"] for name in ("binance", "BTC", "1m"))
