"""What the buttons of the page do: each is a request of a program."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import msgspec
from msgspec import Struct

from tickwire.client import Client
from tickwire.errors import BadRequest
from tickwire.model.feeds import feed
from tickwire.model.subjects import Exchange, Symbol, Timeframe
from tickwire.model.times import Time

SUBSCRIBER = "page"
"""The subscriber of the feeds that the page starts. All tabs are one: any of them stops what another one started."""

Q = TypeVar("Q", bound=Struct)


class Done(Struct, frozen=True):
    """What was done, in words."""

    text: str


class Fetch(Struct, frozen=True, kw_only=True):
    """Fetch what is missing in `[since, until)` (ms); trades where there is no timeframe."""

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe | None = None
    since: Time
    until: Time | None = None


class Cancel(Struct, frozen=True, kw_only=True):
    """Cancel a job."""

    id: str


class OfFeed(Struct, frozen=True, kw_only=True):
    """A feed to start or to stop."""

    kind: str
    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe | None = None


async def _fetch(client: Client, wanted: Fetch) -> Done:
    job = await client.order_fetch(wanted.exchange, wanted.symbol, wanted.timeframe, wanted.since, wanted.until)
    return Done(f"job {job} fetches it")


async def _cancel(client: Client, wanted: Cancel) -> Done:
    job = await client.cancel_job(wanted.id)
    return Done(f"job {job.id} has ended" if job.ended else f"job {job.id} ends with its current page")


async def _start(client: Client, wanted: OfFeed) -> Done:
    named = feed(wanted.kind, wanted.exchange, wanted.symbol, wanted.timeframe)
    report = await client.start_feed(named, SUBSCRIBER)
    return Done(f"{named} is {report.state}")


async def _stop(client: Client, wanted: OfFeed) -> Done:
    named = feed(wanted.kind, wanted.exchange, wanted.symbol, wanted.timeframe)
    report = await client.stop_feed(named, SUBSCRIBER)
    if report.subscribers:
        others = "1 other subscriber" if report.subscribers == 1 else f"{report.subscribers} other subscribers"
        return Done(f"{named} runs on for {others}")
    return Done(f"{named} stops")


async def _decoded(kind: type[Q], act: Callable[[Client, Q], Awaitable[Done]], client: Client, body: bytes) -> Done:
    try:
        wanted = msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"the request does not decode: {str(error)[:200]}", "reload the page") from error
    return await act(client, wanted)


ACTIONS: dict[str, Callable[[Client, bytes], Awaitable[Done]]] = {
    "fetch": partial(_decoded, Fetch, _fetch),
    "cancel": partial(_decoded, Cancel, _cancel),
    "start": partial(_decoded, OfFeed, _start),
    "stop": partial(_decoded, OfFeed, _stop),
}
"""By the last part of the path."""
