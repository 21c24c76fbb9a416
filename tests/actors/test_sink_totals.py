"""The sink's totals in the broker, and an entry that is none."""

from __future__ import annotations

import asyncio
from pathlib import Path

from support.influx_api import Server, serving
from support.processes import environment, running_service
from tickwire import broker, messages, streams
from tickwire.bus import connect
from tickwire.config import NatsSettings, SinkSettings
from tickwire.feeds import Trade, Trades

TRADE = Trade(id="1", timestamp=1_700_000_000_000, side="buy", price=1.0, amount=1.0)


async def test_totals_that_cannot_be_read_end_the_sink_with_one_line_and_nothing_is_counted_anew(
    tmp_path: Path,
) -> None:
    made = Server("Token t", "/api/v2/write", {"org": "desk", "bucket": "tickwire", "precision": "ns"})
    async with (
        serving(made) as influx,
        broker.embedded(tmp_path / "nats") as url,
        connect(NatsSettings(url=url), name="test") as bus,
    ):
        await streams.declare(bus.jetstream, 8, 1.0)
        await streams.declare_sink(bus.jetstream, SinkSettings())
        await bus.jetstream.publish("$KV.SINK.trade.binance.BTC-USDT", b"no totals")
        said = Trades(exchange="binance", symbol="BTC/USDT", trades=[TRADE], received=1)
        await bus.jetstream.publish("tape.trade.binance.BTC-USDT", messages.encode(said))
        to = {"TICKWIRE_SINK_URL": influx.url, "TICKWIRE_SINK_ORG": "desk", "TICKWIRE_SINK_TOKEN": "t"}
        env = environment(tmp_path, TICKWIRE_NATS_URL=url, **to)
        async with running_service("sink", env, log=tmp_path / "sink.log") as sink, asyncio.timeout(100):
            assert await sink.wait() == 1
        lines = [each for each in (tmp_path / "sink.log").read_text().splitlines() if not each.startswith("{")]
        assert len(lines) == 1
        assert lines[0].startswith("tickwire: the totals of trade.binance.BTC-USDT in $KV.SINK.trade.binance.BTC-USDT")
        assert influx.taken == {}
