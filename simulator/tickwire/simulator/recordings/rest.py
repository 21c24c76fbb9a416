"""REST endpoints of a recorded exchange: recorded answers, and what the messages played so far imply."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from tickwire.simulator.answers import Query, Refused
from tickwire.simulator.recordings.playback import Playback
from tickwire.simulator.venues.binance.parameters import integer, limit

_TRADE_FIELDS = ("a", "p", "q", "f", "l", "T", "m", "M")
_KLINE_FIELDS = ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B")


class _Symbol(msgspec.Struct, frozen=True):
    symbol: str


class _Info(msgspec.Struct, frozen=True):
    symbols: tuple[_Symbol, ...]


class RecordedAnswers:
    """The REST endpoints of one recording."""

    def __init__(self, playback: Playback) -> None:
        self._playback = playback
        self._symbols: frozenset[str] = frozenset()
        self._depths: dict[str, msgspec.Raw] = {}
        self._info: Any = {"symbols": []}
        for asked, value in playback.recording.answers.items():
            endpoint, symbol = _endpoint(asked.partition("?")[0]), re.search(r"[?&]symbol=(\w+)", asked)
            if endpoint == "exchangeInfo":
                self._info = value
                self._symbols = frozenset(each.symbol for each in msgspec.json.decode(value, type=_Info).symbols)
            elif endpoint == "depth" and symbol:
                self._depths[symbol[1]] = value

    def answer(self, path: str, query: Query) -> tuple[Any, int] | None:
        """Return (JSON value, request weight) for a path such as `api/v3/depth`; None where there is no such endpoint.

        Raises Refused.
        """
        endpoints: dict[str, Callable[[Query], Any]] = {
            "ping": lambda query: {},
            "time": lambda query: {"serverTime": self._playback.now()},
            "exchangeInfo": lambda query: self._info,
            "depth": self._depth,
            "aggTrades": self._aggregates,
            "trades": self._nothing,
            "historicalTrades": self._nothing,
            "klines": self._klines,
            "ticker/24hr": self._tickers,
            "ticker/price": self._tickers,
            "ticker/bookTicker": self._tickers,
        }
        handler = endpoints.get(_endpoint(f"/{path}"))
        return None if handler is None else (handler(query), 1)

    def _symbol(self, query: Query) -> str:
        symbol = query.get("symbol", "")
        if not symbol:
            raise Refused(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        if symbol not in self._symbols:
            raise Refused(-1121, "Invalid symbol.")
        return symbol

    def _nothing(self, query: Query) -> Any:
        """Return no trades: single trades were not recorded."""
        self._symbol(query)
        return []

    def _depth(self, query: Query) -> Any:
        symbol, most = self._symbol(query), limit(query, 100, 5000)
        if symbol not in self._depths:
            return {"lastUpdateId": 0, "bids": [], "asks": []}
        book = msgspec.json.decode(self._depths[symbol])
        return book | {"bids": book["bids"][:most], "asks": book["asks"][:most]}

    def _aggregates(self, query: Query) -> Any:
        symbol, most = self._symbol(query), limit(query, 500, 1000)
        first, start, end = (integer(query, name) for name in ("fromId", "startTime", "endTime"))
        found = [
            {name: event[name] for name in _TRADE_FIELDS if name in event}
            for event in self._playback.aggregates[symbol]
            if (first is None or event["a"] >= first)
            and (start is None or event["T"] >= start)
            and (end is None or event["T"] <= end)
        ]
        return found[-most:] if first is None and start is None else found[:most]

    def _klines(self, query: Query) -> Any:
        symbol, most = self._symbol(query), limit(query, 500, 1500)
        start, end = integer(query, "startTime"), integer(query, "endTime")
        rows = [
            [candle[name] for name in _KLINE_FIELDS]
            for opened, candle in sorted(self._playback.candles[symbol, query.get("interval", "")].items())
            if (start is None or opened >= start) and (end is None or opened <= end)
        ]
        return rows[-most:] if start is None else rows[:most]

    def _tickers(self, query: Query) -> Any:
        if "symbol" in query:
            return self._ticker(self._symbol(query))
        return [self._ticker(symbol) for symbol in sorted({*self._playback.aggregates, *self._playback.best})]

    def _ticker(self, symbol: str) -> dict[str, Any]:
        """Return the known part of a ticker: best prices and the last trade."""
        best = self._playback.best.get(symbol, {})
        trades = self._playback.aggregates[symbol]
        last = trades[-1]["p"] if trades else "0"
        return {"symbol": symbol, "price": last, "lastPrice": last, "bidPrice": best.get("b", "0"),
                "bidQty": best.get("B", "0"), "askPrice": best.get("a", "0"), "askQty": best.get("A", "0"),
                "closeTime": self._playback.now()}  # fmt: skip


def _endpoint(path: str) -> str:
    """`/api/v3/ticker/price` -> `ticker/price`."""
    return path.rpartition("/v")[2].partition("/")[2]
