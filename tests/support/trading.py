"""A market of one symbol for tests of the trade feed: its trades, and its REST as a scripted exchange of ccxt's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from tickwire.exchange.admission import Admission
from tickwire.exchange.ccxt_types import CcxtOrderBook
from tickwire.exchange.gate import Gate
from tickwire.model.feeds import Trade
from tickwire.model.times import now_ms

START = 1_700_000_000_000
ANY_TIME = Admission(lambda: 10**15)
"""Takes whatever is not before 2009."""


def trade(number: int, *, timestamp: int | None = None, named: bool = True, amount: float = 1.0) -> Trade:
    """Trade `number`, ten a second unless said otherwise."""
    return Trade(
        id=str(number) if named else None,
        timestamp=START + number * 100 if timestamp is None else timestamp,
        side="buy" if number % 2 else "sell",
        price=100.0 + number % 7,
        amount=amount,
    )


def trades(first: int, end: int) -> list[Trade]:
    """Trades `first` to `end - 1`."""
    return [trade(number) for number in range(first, end)]


def row(of: Trade) -> dict[str, Any]:
    """A trade as ccxt's fetch_trades gives it."""
    return {
        "id": of.id,
        "timestamp": of.timestamp,
        "side": of.side,
        "price": of.price,
        "amount": of.amount,
        "info": {},
        "symbol": "BTC/USDT",
    }


def by_id(happened: Sequence[Trade], first: int, limit: int) -> list[Trade]:
    """What an exchange answers that is asked by id."""
    return [each for each in happened if int(each.id or 0) >= first][:limit]


def by_time(happened: Sequence[Trade], since: int, limit: int) -> list[Trade]:
    """What an exchange answers that is asked by time."""
    return [each for each in happened if each.timestamp >= since][:limit]


class Rest:
    """An opened exchange whose `fetch_trades` answers what `happened`, unless `script` has something else to say.

    Each entry of `script` serves one call: an exception to raise, rows to answer, or a coroutine function of the
    call's arguments.
    """

    def __init__(self, happened: list[Trade] | None = None, *, page: int = 1000) -> None:
        self.happened: list[Trade] = [] if happened is None else happened
        self.id, self.milliseconds, self.page, self.gate = "scripted", now_ms, page, Gate()
        self.features, self.markets, self.has, self.options = None, None, {"fetchTrades": True}, dict[str, Any]()
        self.script: list[BaseException | list[Any] | Callable[..., Awaitable[Any]]] = []
        self.always: BaseException | None = None
        self.calls: list[dict[str, Any]] = []
        self.answers: asyncio.Queue[dict[str, Any] | BaseException] = asyncio.Queue()
        """What `fetch_order_book` answers, in order; an exception is raised."""
        self.asked: list[tuple[str, int | None]] = []
        """Symbol and limit of each call of `fetch_order_book`."""
        self.asking = asyncio.Event()

    async def fetch_trades(
        self, symbol: str, since: int | None = None, limit: int | None = None, params: Any = None
    ) -> Any:
        """As ccxt's."""
        params = params or {}
        self.calls.append({"symbol": symbol, "since": since, "limit": limit, **params})
        if self.script:
            said = self.script.pop(0)
            if isinstance(said, BaseException):
                raise said
            return said if isinstance(said, list) else await said(symbol, since, limit, params)
        if self.always is not None:
            raise self.always
        size = min(limit or self.page, self.page)
        if "fromId" in params:
            return [row(each) for each in by_id(self.happened, params["fromId"], size)]
        return [row(each) for each in by_time(self.happened, since or 0, size)]

    async def fetch_order_book(self, symbol: str, limit: int | None = None) -> CcxtOrderBook:
        """As ccxt's."""
        self.asked.append((symbol, limit))
        self.asking.set()
        answer = await self.answers.get()
        if isinstance(answer, BaseException):
            raise answer
        return cast(CcxtOrderBook, answer)
