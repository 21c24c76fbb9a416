"""OKX and its regional sites."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from tickwire.model.feeds import Trade
from tickwire.venues.dialect import Dialect
from tickwire.venues.profile import CandleFacts, Older, Profile, SocketFacts, TradeFacts

PROFILE = Profile(
    exchanges=("okx", "okxus", "myokx"),
    # API v5: "Get trades" returns the newest 500 trades, "Get trades history" the 100 before an id, up to three months
    # back. The channel `trades` aggregates the fills of one taker order at one price ("Trades channel").
    # Amounts of derivatives are in contracts of `ctVal`, ccxt's `contractSize`.
    trades=TradeFacts(
        ids="opaque",
        ids_shared=True,
        method="newest",
        older=Older(before="after", page=100, params={"method": "publicGetMarketHistoryTrades"}),
        page=500,
        resolution_ms=1,
        amount={"spot": "base", "linear": "contracts", "inverse": "contracts"},
    ),
    # ccxt 4.5.90 `fetch_ohlcv` sends `before` and `after`, the time of one page apart; a minute without a trade has a
    # row. For derivatives ccxt reads index 6, `volCcy` ("the value is the number of base currency"), by REST and live.
    candles=CandleFacts(
        since="honoured",
        windowed=True,
        # "Get candlesticks": `confirm`, "1: K line is completed".
        settle_ms=0,
        quiet="rows",
        volume={"spot": "base", "linear": "base", "inverse": "base"},
        live_volume={"spot": "base", "linear": "base", "inverse": "base"},
    ),
    # API v5, "WebSocket, Subscribe": the reply to each channel is `"event":"subscribe"` with the channel's `arg`.
    sockets=SocketFacts(acknowledges=True),
)

_ROUNDING = 1e-9
"""A missing amount below this share of the whole is a rounding error."""


def drop_aggregated(
    keys: list[Hashable], trades: Sequence[Trade], known: Iterable[tuple[Hashable, Trade]]
) -> tuple[list[Hashable], Sequence[Trade]]:
    """See `Dialect.drop_aggregated`.

    The channel `trades` aggregates the fills of one taker order at one price into one trade with the id of the last
    fill and the total amount; REST lists each fill (API v5, "Trades channel"). All fills have the same time (ms). If
    the amount of a known trade is larger than by REST, the REST trades just before it are its other fills.
    """
    in_page = set(keys)
    wholes = {key: trade for key, trade in known if key in in_page}
    fills: set[int] = set()
    for place, (key, last) in enumerate(zip(keys, trades, strict=True)):
        whole = wholes.get(key)
        if whole is None:
            continue
        missing, like = whole.amount - last.amount, (last.timestamp, last.side, last.price)
        before = place - 1
        while before >= 0 and missing > whole.amount * _ROUNDING and keys[before] not in wholes:
            fill = trades[before]
            if (fill.timestamp, fill.side, fill.price) != like:
                break
            fills.add(before)
            missing -= fill.amount
            before -= 1
    if not fills:
        return keys, trades
    kept = [place for place in range(len(keys)) if place not in fills]
    return [keys[place] for place in kept], [trades[place] for place in kept]


DIALECT = Dialect(drop_aggregated=drop_aggregated)
