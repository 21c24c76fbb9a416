"""Binance's REST endpoints: spot, USD-M and COIN-M by the first segment of the path. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tickwire.simulator.binance import coin_m, rest, usd_m
from tickwire.simulator.binance.forgotten_trades import remembered
from tickwire.simulator.endpoints import Answer, Holes
from tickwire.simulator.market.exchange import Exchange
from tickwire.simulator.refusals import Query, Refused

_MARKETS: dict[str, Callable[[Exchange, str, Query], Answer]] = {"fapi": usd_m.answer, "dapi": coin_m.answer}


class BinanceEndpoints:
    """REST endpoints in Binance's form; `ask(path, query)` answers from an exchange or a recording."""

    refusal_status = 400

    def __init__(self, ask: Callable[[str, Query], Answer]) -> None:
        self._ask = ask

    def answer(self, path: str, query: Query, holes: Holes) -> Answer:
        """See Endpoints.answer."""
        return remembered(partial(self._ask, path), path.rpartition("/")[2], query, holes(query.get("symbol", "")))

    def body(self, value: Any) -> Any:
        """See Endpoints.body."""
        return value

    def refusal(self, refused: Refused) -> Any:
        """See Endpoints.refusal."""
        return {"code": refused.code, "msg": refused.message}

    def too_many_requests(self, limit: int) -> Refused:
        """See Endpoints.too_many_requests."""
        return Refused(-1003, f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE.")


def of_exchange(exchange: Exchange) -> BinanceEndpoints:
    """Return the endpoints of all markets of an exchange."""

    def ask(path: str, query: Query) -> Answer:
        return _MARKETS.get(path.partition("/")[0], rest.answer)(exchange, path, query)

    return BinanceEndpoints(ask)
