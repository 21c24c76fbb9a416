"""MEXC: spot and futures."""

from __future__ import annotations

from tickwire.venues.profile import Condition, Profile, TradeFacts

PROFILE = Profile(
    exchanges=("mexc",),
    # Live spot trades have no id; of those by REST ccxt 4.5.90 makes one up (`create_ccxt_trade_id`). `fetch_trades` of
    # spot refuses `since` without `until`.
    trades=TradeFacts(ids_shared=False, needs_until=True),
    # ccxt 4.5.90, `decode_proto_msg`: frames of spot are protobuf.
    conditions=(Condition(markets=("spot",), package="google.protobuf", install="protobuf==5.29.5"),),
)
