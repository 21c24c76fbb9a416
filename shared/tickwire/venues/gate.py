"""Gate: spot and futures."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Profile, TradeFacts

PROFILE = Profile(
    exchanges=("gate", "gateeu"),
    # API v4, "Futures Trading History": `size` is in contracts of `quanto_multiplier`, or of 1 USD if that is 0
    # (inverse). ccxt 4.5.90 `parse_contract_market` makes `contractSize` of it.
    # ccxt 4.5.90 reads `id` live and by REST with the same parser, and requests at most 1,000 trades.
    trades=TradeFacts(
        ids="opaque", ids_shared=True, page=1000, amount={"spot": "base", "linear": "contracts", "inverse": "contracts"}
    ),
    candles=CandleFacts(
        # ccxt 4.5.90 sends `from` and `to`, the time of one page apart; all "points in the time range" are returned.
        # Requests for candles before the newest 10,000 are rejected.
        since="honoured",
        windowed=True,
        # Spot, "Market K-line chart": ccxt reads column 6, base volume. Futures: `v` is "size volume", in contracts.
        volume={"spot": "base", "linear": "contracts", "inverse": "contracts"},
        # Live, ccxt reads `v`: quote currency for spot (base volume is `a`), contracts for futures.
        live_volume={"spot": "quote", "linear": "contracts", "inverse": "contracts"},
    ),
)
