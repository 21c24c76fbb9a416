"""The simulated venues: REST endpoints and socket dialect of each, by the venue of a host (`hosts.py`).

A further venue has a folder of its own, an entry in both tables here, and its hosts in `hosts.py`.
"""

from __future__ import annotations

from functools import partial

from tickwire.simulator.binance import coin_m, streams, usd_m
from tickwire.simulator.binance import endpoints as binance_endpoints
from tickwire.simulator.binance.sockets import Binance
from tickwire.simulator.endpoints import Endpoints
from tickwire.simulator.market.exchange import Exchange
from tickwire.simulator.okx.rest import OkxEndpoints
from tickwire.simulator.okx.sockets import Okx
from tickwire.simulator.sockets.dialect import Dialect


def endpoints(exchange: Exchange) -> dict[str, Endpoints]:
    """Return the REST endpoints of each venue."""
    binance = binance_endpoints.of_exchange(exchange)
    return {"spot": binance, "linear": binance, "inverse": binance, "okx": OkxEndpoints(exchange)}


def dialects(exchange: Exchange) -> dict[str, Dialect]:
    """Return the socket dialect of each venue."""
    return {
        "spot": Binance(partial(streams.source, exchange)),
        "linear": Binance(partial(usd_m.source, exchange)),
        "inverse": Binance(partial(coin_m.source, exchange)),
        "okx": Okx(exchange),
    }


def recorded_dialect() -> Dialect:
    """Return the socket dialect of a recording, whose messages come from its playback."""
    return Binance(lambda name: None)
