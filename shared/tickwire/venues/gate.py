"""Gate: spot and futures."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Profile, TradeFacts

PROFILE = Profile(
    exchanges=("gate", "gateeu"),
    # API v4, "Futures Trading History": `size` is in contracts of `quanto_multiplier`, 1 USD where that is 0 (inverse),
    # which ccxt 4.5.90 `parse_contract_market` takes for `contractSize`.
    # ccxt 4.5.90 reads `id` live and by REST by one parser, and asks for 1,000 at most.
    trades=TradeFacts(
        ids="opaque", ids_shared=True, page=1000, amount={"spot": "base", "linear": "contracts", "inverse": "contracts"}
    ),
    candles=CandleFacts(
        # ccxt 4.5.90 sends `from` and `to`, one page apart; "points in the time range" are all returned. What is older
        # than the newest 10,000 is refused.
        since="honoured",
        windowed=True,
        # Spot, "Market K-line chart": ccxt takes column 6, base volume. Futures: `v` is "size volume", in contracts.
        volume={"spot": "base", "linear": "contracts", "inverse": "contracts"},
        # Live, ccxt takes `v`: of spot that is quote currency (base is `a`), of futures contracts.
        live_volume={"spot": "quote", "linear": "contracts", "inverse": "contracts"},
    ),
)
