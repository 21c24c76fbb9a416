"""MEXC: spot and futures."""

from __future__ import annotations

from tickwire.venues.profile import Condition, Profile, TradeFacts

PROFILE = Profile(
    exchanges=("mexc",),
    # Live spot trades have no id. For trades by REST ccxt 4.5.90 generates one (`create_ccxt_trade_id`). `fetch_trades`
    # rejects `since` without `until` for spot.
    trades=TradeFacts(ids_shared=False, needs_until=True),
    # Spot frames are protobuf (ccxt 4.5.90 `decode_proto_msg`).
    conditions=(Condition(markets=("spot",), package="google.protobuf", install="protobuf==5.29.5"),),
)
