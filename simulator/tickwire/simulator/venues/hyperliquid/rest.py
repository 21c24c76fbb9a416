"""Hyperliquid's public REST requests: one endpoint, `POST info`, each request named by its body's `type`. No I/O.

Source of requests, fields and weights: Hyperliquid's API documentation, "Info endpoint" and "Rate limits", as of 2025;
of the answers to unknown coins and unreadable bodies (`null`, 500, 422): the API reference of @nktkas/hyperliquid, a
client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tickwire.model import timeframes
from tickwire.simulator.answers import Answer, Refused
from tickwire.simulator.market.book import FRAME_MS, book_at, frame_of
from tickwire.simulator.market.candle_pages import candle_page
from tickwire.simulator.market.rows import newest, top
from tickwire.simulator.venue import Endpoint, Request
from tickwire.simulator.venues.hyperliquid import rows as hyperliquid_rows
from tickwire.simulator.venues.hyperliquid.rows import Asset

NEWEST = 5_000
"""Candles that are kept of each interval."""
_LIGHT, _HEAVY, _ROWS_A_POINT = 2, 20, 60


def _unreadable() -> Refused:
    return Refused(422, "Failed to deserialize the JSON body into the target type", status=422)


def _asked(request: Request, body: Any) -> Asset | None:
    coin = body.get("coin") if isinstance(body, dict) else None
    if not isinstance(coin, str):
        raise _unreadable()
    return hyperliquid_rows.asset(request.exchange, coin)


def _status(request: Request) -> Answer:
    return Answer({"time": request.now, "specialStatuses": None}, weight=_LIGHT)


def _dexs(request: Request) -> Answer:
    # The first is the one that belongs to Hyperliquid; there are no others.
    return Answer([None], weight=_HEAVY)


def _meta(request: Request) -> Answer:
    _own_dex(request)
    return Answer(hyperliquid_rows.perp_meta(request.exchange), weight=_HEAVY)


def _meta_and_contexts(request: Request) -> Answer:
    _own_dex(request)
    contexts = [hyperliquid_rows.context(each, request.now)
                for each in hyperliquid_rows.assets(request.exchange, spot=False)]  # fmt: skip
    value = [hyperliquid_rows.perp_meta(request.exchange), contexts]
    return Answer(value, lambda rows: rows, weight=_HEAVY)


def _own_dex(request: Request) -> None:
    if request.body.get("dex", ""):
        raise Refused(500, "", status=500)


def _spot_meta(request: Request) -> Answer:
    return Answer(hyperliquid_rows.spot_meta(request.exchange), weight=_HEAVY)


def _spot_meta_and_contexts(request: Request) -> Answer:
    contexts = [hyperliquid_rows.context(each, request.now)
                for each in hyperliquid_rows.assets(request.exchange, spot=True)]  # fmt: skip
    return Answer([hyperliquid_rows.spot_meta(request.exchange), contexts], weight=_HEAVY)


def _mids(request: Request) -> Answer:
    found = [each for spot in (False, True) for each in hyperliquid_rows.assets(request.exchange, spot=spot)]
    return Answer({each.coin: hyperliquid_rows.mid(each, request.now) for each in found}, weight=_LIGHT)


def _candles(request: Request) -> Answer:
    """The candles that open from `startTime` to `endTime`, both included, of the newest 5,000, oldest first."""
    asked, now = request.body.get("req"), request.now
    asset = _asked(request, asked)
    interval, start, end = asked.get("interval"), asked.get("startTime"), asked.get("endTime", now)
    if interval not in hyperliquid_rows.INTERVALS or not (isinstance(start, int) and isinstance(end, int)):
        raise _unreadable()
    if asset is None or interval not in asset.found.intervals:
        raise Refused(500, "", status=500)
    style = hyperliquid_rows.style(interval)
    opened = timeframes.open_of(interval, now - style.opens_at) + style.opens_at
    oldest = timeframes.advance(interval, opened, 1 - NEWEST)
    bounds = max(start, oldest), end
    found = candle_page(asset.found, interval, bounds, NEWEST, now, style) if end >= oldest else []
    return Answer(
        found,
        lambda rows: [hyperliquid_rows.candle(asset, interval, row) for row in rows],
        weight=_HEAVY + len(found) // _ROWS_A_POINT,
        interval=interval,
        until=end + 1,
    )


def _book(request: Request) -> Answer:
    asset, frame = _asked(request, request.body), frame_of(request.now)
    if asset is None:
        return Answer(None, weight=_LIGHT)
    found = top(book_at(asset.found, frame), hyperliquid_rows.LEVELS)
    return Answer(hyperliquid_rows.book(asset, found, frame * FRAME_MS), weight=_LIGHT)


def _recent_trades(request: Request) -> Answer:
    """The newest alone, newest first."""
    asset = _asked(request, request.body)
    if asset is None:
        raise Refused(500, "", status=500)
    history = asset.found.history
    assert history is not None
    end, holes = history.id_at(request.now + 1), request.holes(asset.found)
    found = newest(history.by_id, history.first_id, end, hyperliquid_rows.RECENT, holes)
    return Answer(hyperliquid_rows.trades(asset, found)[::-1], weight=_HEAVY)


def _fills(request: Request) -> Answer:
    """The trades of one wallet: nobody trades here by an order of a client."""
    if not isinstance(request.body.get("user"), str):
        raise _unreadable()
    return Answer([], weight=_HEAVY)


REQUESTS: dict[str, Callable[[Request], Answer]] = {
    "exchangeStatus": _status,
    "perpDexs": _dexs,
    "meta": _meta,
    "metaAndAssetCtxs": _meta_and_contexts,
    "spotMeta": _spot_meta,
    "spotMetaAndAssetCtxs": _spot_meta_and_contexts,
    "allMids": _mids,
    "candleSnapshot": _candles,
    "l2Book": _book,
    "recentTrades": _recent_trades,
    "userFills": _fills,
    "userFillsByTime": _fills,
}


def info(request: Request) -> Answer:
    """POST /info"""
    found = REQUESTS.get(str(request.body.get("type"))) if isinstance(request.body, dict) else None
    if found is None:
        raise _unreadable()
    return found(request)


ENDPOINTS: dict[str, Endpoint] = {"POST info": info}
