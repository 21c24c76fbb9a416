"""Lists the markets that have trades on the tape.

| subject | direction | what |
|---|---|---|
| `$JS.API.DIRECT.GET.<stream>` | requests | the newest message of each market, of which the subject names it |
"""

from __future__ import annotations

import nats.errors
from nats.aio.msg import Msg

from tickwire.bus.connection import Bus
from tickwire.bus.requests import direct_get
from tickwire.errors import BadRequest
from tickwire.model.feeds.layout import PARTITIONED
from tickwire.model.nearest import Market
from tickwire.model.subjects import exchange_name, symbol_of
from tickwire.observe import logs
from tickwire.process.gathering import gathered
from tickwire.tape.layout import layout_of

log = logs.get(__name__)

KIND = "trade"
ANSWER_S = 2.0
MOST = 1000
"""Markets of a stream; more than 1,024 subjects are refused (`maxAllowedResponses` of nats-server)."""
MOST_BYTES = 4 << 20
AT_ONCE = 16
"""Streams that are asked at the same time."""


async def taped_markets(bus: Bus, exchange: str) -> set[Market]:
    """The markets with trades on the tape; of a stream that has too many only those of the exchange.

    To name them in an error: of streams that do not answer, there are none.
    """

    async def of_stream(number: int) -> list[Msg]:
        stream, every = f"{PARTITIONED[KIND]}-{number}", f"tape.{KIND}.{number}"
        try:
            try:
                return await _newest(bus, stream, f"{every}.*.*")
            except nats.errors.Error:
                return await _newest(bus, stream, f"{every}.{exchange_name(exchange)}.*")
        except (nats.errors.Error, TimeoutError) as error:
            log.debug("a stream does not say what it has", stream=stream, error=repr(error))
            return []

    answers = await gathered(range((await layout_of(bus)).partitions), of_stream, AT_ONCE)
    return {market for messages in answers for each in messages if (market := _market(each))}


async def _newest(bus: Bus, stream: str, subjects: str) -> list[Msg]:
    request = {"multi_last": [subjects], "batch": MOST, "max_bytes": MOST_BYTES}
    return await direct_get(bus.client, stream, request, ANSWER_S)


def _market(message: Msg) -> Market | None:
    path = (message.headers or {}).get("Nats-Subject", "").split(".")
    try:
        return exchange_name(path[-2]), symbol_of(path[-1])
    except (BadRequest, IndexError):
        # A subject that another program has published on.
        return None
