"""Control over HTTP, under `/_sim/`: faults, rules of sockets, the log, the clock, rates and bursts."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct

from tickwire.errors import BadRequest, TickwireError
from tickwire.simulator import faults as orders
from tickwire.simulator.faults import Faults
from tickwire.simulator.journal import Journal
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.rules import RulesInForce
from tickwire.simulator.sockets.feed import Feed

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[Any]]


class ClockOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """Set the clock, advance it (ms), or change its speed. A clock that is set stands still unless `speed` is given."""

    now: int | None = None
    advance: int = 0
    speed: float | None = None


class RateOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """Trade at `rate` per second from now on."""

    symbol: str
    rate: float


class BurstOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """Trade `count` times, evenly, within the next `ms` of the exchange's time; each is an aggregate trade."""

    symbol: str
    count: int
    ms: int = 1_000


class ListingOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """List a symbol, or take it off the list: then no endpoint has it."""

    symbol: str
    listed: bool = True


class RulesOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """Change fields of `rules.Rules` for some venues (absent: all), such as `{"lifetime_s": 5}`."""

    rules: dict[str, Any]
    venues: list[str] | None = None


class Control:
    """The handlers. Each returns a JSON value, or raises a TickwireError that becomes status 400."""

    def __init__(self, exchange: Exchange, faults: Faults, journal: Journal, feed: Feed, rules: RulesInForce) -> None:
        self._exchange = exchange
        self._faults = faults
        self._journal = journal
        self._feed = feed
        self._rules = rules

    async def order_fault(self, request: web.Request) -> Any:
        """POST /_sim/faults"""
        fault = orders.parse(await request.read())
        if fault.kind not in orders.MOMENTARY:
            self._faults.order(fault)
        self._feed.ordered(fault)
        return self._faults.listed()

    async def list_faults(self, request: web.Request) -> Any:
        """GET /_sim/faults"""
        return self._faults.listed()

    async def clear_faults(self, request: web.Request) -> Any:
        """DELETE /_sim/faults"""
        self._faults.clear()
        return []

    async def log(self, request: web.Request) -> Any:
        """GET /_sim/log?since_index=N"""
        return self._journal.since(integer(request, "since_index", 0))

    async def clear_log(self, request: web.Request) -> Any:
        """DELETE /_sim/log"""
        self._journal.clear()
        return []

    async def list_sockets(self, request: web.Request) -> Any:
        """GET /_sim/sockets: the open ones, each with the streams it has subscribed to."""
        return self._feed.listed()

    async def list_rules(self, request: web.Request) -> Any:
        """GET /_sim/rules: those in force for each venue."""
        return self._rules.listed()

    async def change_rules(self, request: web.Request) -> Any:
        """POST /_sim/rules"""
        order = decoded(await request.read(), RulesOrder)
        self._rules.change(self._rules.listed() if order.venues is None else order.venues, order.rules)
        self._feed.rules_changed()
        return self._rules.listed()

    async def clock(self, request: web.Request) -> Any:
        """GET /_sim/clock"""
        return {"now": self._exchange.clock.now(), "speed": self._exchange.clock.speed}

    async def set_clock(self, request: web.Request) -> Any:
        """POST /_sim/clock"""
        order = decoded(await request.read(), ClockOrder)
        clock = self._exchange.clock
        speed = order.speed if order.speed is not None else (None if order.now is None else 0.0)
        clock.set((clock.now() if order.now is None else order.now) + order.advance, speed)
        return await self.clock(request)

    async def set_rate(self, request: web.Request) -> Any:
        """POST /_sim/rate"""
        order = decoded(await request.read(), RateOrder)
        if not 0.01 <= order.rate <= 20_000:
            raise BadRequest(f"rate {order.rate} is not between 0.01 and 20000 trades a second")
        try:
            return {"since": self._exchange.set_rate(self._instrument(order.symbol), order.rate)}
        except ValueError as error:
            raise BadRequest(str(error)) from error

    async def set_listing(self, request: web.Request) -> Any:
        """POST /_sim/listing"""
        order = decoded(await request.read(), ListingOrder)
        if not self._exchange.list_(order.symbol, listed=order.listed):
            raise BadRequest(f"there is no {order.symbol}")
        return {"symbol": order.symbol, "listed": order.listed}

    async def burst(self, request: web.Request) -> Any:
        """POST /_sim/burst: its time (ms, half-open), and the first and last ids of its trades and aggregates."""
        order = decoded(await request.read(), BurstOrder)
        if not (1 <= order.count <= 1_000_000 and 1 <= order.ms <= 3_600_000):
            raise BadRequest("a burst has 1 to 1000000 trades in 1 to 3600000 ms")
        try:
            trades = self._exchange.burst(self._instrument(order.symbol), order.count, order.ms)
        except ValueError as error:
            raise BadRequest(str(error)) from error
        since = int(trades.timestamp[0])
        ends = {f"{end}_{name}": int(ids[place]) for name, ids in (("id", trades.id), ("aggregate", trades.agg))
                for end, place in (("first", 0), ("last", -1))}  # fmt: skip
        return {"since": since, "until": since + order.ms} | ends

    def _instrument(self, symbol: str) -> Instrument:
        found = self._exchange.instrument(symbol)
        if found is None:
            known = ", ".join(f"{each.base}/{each.quote}" for each in self._exchange.instruments.values())
            raise BadRequest(f"no such symbol {symbol!r}", f"there are {known}")
        return found


def integer(request: web.Request, name: str, default: int) -> int:
    """Return a parameter of the query that is a whole number. Raises BadRequest."""
    value = request.query.get(name, "")
    if not value:
        return default
    if not re.fullmatch(r"-?[0-9]{1,18}", value):
        raise BadRequest(f"{name} {value!r} is not a whole number")
    return int(value)


def decoded(body: bytes, type_: type[T]) -> T:
    """Decode a request's body. Raises BadRequest with one line."""
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"invalid request: {error}") from error


def add_routes(router: web.UrlDispatcher, control: Control) -> None:
    """Add the routes of the control API."""
    for method, path, handler in (
        ("POST", "faults", control.order_fault),
        ("GET", "faults", control.list_faults),
        ("DELETE", "faults", control.clear_faults),
        ("GET", "log", control.log),
        ("DELETE", "log", control.clear_log),
        ("GET", "sockets", control.list_sockets),
        ("GET", "rules", control.list_rules),
        ("POST", "rules", control.change_rules),
        ("GET", "clock", control.clock),
        ("POST", "clock", control.set_clock),
        ("POST", "listing", control.set_listing),
        ("POST", "rate", control.set_rate),
        ("POST", "burst", control.burst),
    ):
        router.add_route(method, f"/_sim/{path}", json_handler(handler))


def json_handler(handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Wrap a handler: its value becomes JSON, a TickwireError becomes status 400."""

    async def answer(request: web.Request) -> web.Response:
        try:
            body, status = msgspec.json.encode(await handler(request)), 200
        except TickwireError as error:
            body, status = msgspec.json.encode({"error": str(error)}), 400
        return web.Response(body=body, status=status, content_type="application/json")

    return answer
