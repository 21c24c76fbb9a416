"""OKX and its regional sites."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from tickwire.model.feeds import Trade
from tickwire.venues.dialect import Dialect
from tickwire.venues.profile import CandleFacts, Older, Profile, SocketFacts, TradeFacts

PROFILE = Profile(
    exchanges=("okx", "okxus", "myokx"),
    # API v5: "Get trades" gives the newest 500, "Get trades history" 100 before an id, three months back; the channel
    # `trades` joins what one taker order did at one price ("Trades channel").
    # Sizes of derivatives are in contracts of `ctVal`, which ccxt takes for `contractSize`.
    trades=TradeFacts(
        ids="opaque",
        ids_shared=True,
        method="newest",
        older=Older(before="after", page=100, params={"method": "publicGetMarketHistoryTrades"}),
        page=500,
        resolution_ms=1,
        amount={"spot": "base", "linear": "contracts", "inverse": "contracts"},
    ),
    # ccxt 4.5.90 `fetch_ohlcv` sends `before` and `after` one page apart; a minute without a trade has a row. Of
    # derivatives `parse_ohlcv` takes index 6, `volCcy`: "the value is the number of base currency"; live it does, too.
    candles=CandleFacts(
        since="honoured",
        windowed=True,
        # "Get candlesticks": `confirm`, "1: K line is completed".
        settle_ms=0,
        quiet="rows",
        volume={"spot": "base", "linear": "base", "inverse": "base"},
        live_volume={"spot": "base", "linear": "base", "inverse": "base"},
    ),
    # API v5, "WebSocket, Subscribe": each channel is answered by `"event":"subscribe"` with its `arg`.
    sockets=SocketFacts(acknowledges=True),
)

_ROUNDING = 1e-9
"""Share of an amount below which nothing of it is missing."""


def drop_aggregated(
    keys: list[Hashable], trades: Sequence[Trade], known: Iterable[tuple[Hashable, Trade]]
) -> tuple[list[Hashable], Sequence[Trade]]:
    """See `Dialect.drop_aggregated`.

    The channel `trades` joins the fills of one taker order at one price into one trade, with the id of its last fill
    and the whole amount; REST lists each fill (API v5, "Trades channel"). The fills are in one millisecond. Where the
    amount of a known trade is larger than that of REST, the trades just before it make up the difference.
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
