"""Long histories of Bitget's candles, by the fetcher's pager and real ccxt: pages of contracts are at most 90 days."""

from __future__ import annotations

import pytest

from simulator.asking import get
from support.simulated import simulated
from support.venues import settings
from tickwire.fetcher import candle_source
from tickwire.fetcher.calls import ignore_retry
from tickwire.fetcher.metrics import FetcherMetrics
from tickwire.fetcher.pager import Pager
from tickwire.model import timeframes
from tickwire.model.ranges import Range
from tickwire.observe.metrics import Metrics

pytestmark = pytest.mark.actors

NOW = 1_750_000_030_500
DAY = 86_400_000


@pytest.mark.parametrize("symbol", ["BTC/USDT", "BTC/USDT:USDT"])
@pytest.mark.parametrize(
    ("timeframe", "days", "back"),
    [("1m", 1, 29), ("1h", 40, 70), ("4h", 150, 300), ("12h", 200, 200), ("1d", 500, 500), ("3d", 700, 700),
     ("1w", 800, 800), ("1M", 880, 880)],
)  # fmt: skip
async def test_a_long_range_is_fetched_whole_over_both_endpoints(
    symbol: str, timeframe: str, days: int, back: int
) -> None:
    async with (
        simulated(now=NOW, history_rate=1) as running,
        candle_source.open_candle_source(
            "bitget", settings(running.url, "bitget", ("spot", "swap")), FetcherMetrics(Metrics().registry)
        ) as source,
    ):
        await source.now(ignore_retry)
        grid = timeframes.grid(timeframe)
        closed = timeframes.open_of(timeframe, NOW)
        since = timeframes.open_of(timeframe, NOW - back * DAY)
        wanted = Range(since, min(closed, timeframes.open_of(timeframe, since + days * DAY)))
        pager = Pager(grid, wanted, closed, await source.paging_facts(symbol, timeframe, ignore_retry))
        rows, requests = [], 0
        while (request := pager.ask) is not None:
            requests += 1
            for page in pager.take(await source.fetch(request, symbol, grid, ignore_retry)):
                rows += page.rows
        market = {"exchange": "bitget", "symbol": symbol, "timeframe": timeframe}
        true = await get(running, "_sim/truth/candles", **market, since=wanted.since, until=wanted.until)
    assert pager.missing == []
    assert pager.refused == []
    assert len(true) > 20
    assert sorted(rows) == [pytest.approx(row) for row in true]
    assert requests <= len(true) // 3 + 3
