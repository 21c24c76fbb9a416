"""The streams of account EXPORT: copies of the tape, for connectors of others (deploy/nats/accounts.conf).

The broker copies them from account TICKWIRE by consumers of its own. `API` and `DELIVER` are where EXPORT imports what
these need; only the broker may publish there.
"""

from __future__ import annotations

from nats.js.api import DiscardPolicy, ExternalStream, StorageType, StreamConfig, StreamSource, SubjectTransform

from tickwire.bus import tape_streams
from tickwire.settings import TapeSettings

TRADES = "EXPORT_TRADES"
CANDLES = "EXPORT_CANDLES"
API = "tickwire.api"
"""In EXPORT, the API of account TICKWIRE: that which creates consumers of the copied streams."""
DELIVER = "tickwire.export"
"""Where those consumers deliver, in both accounts."""


def configs(tape: TapeSettings, replicas: int) -> list[StreamConfig]:
    """Trades and candles under their public subjects, md.trade.> and md.candle.>, as long as the tape keeps trades."""
    trades = [
        _source(f"{tape_streams.TRADES}-{number}", f"tape.trade.{number}", "md.trade", 2)
        for number in range(tape.partitions)
    ]
    candles = [_source(tape_streams.CANDLES, "tape.candle", "md.candle", 3)]
    return [
        _stream(TRADES, trades, tape.trades_age_s, tape.trades_bytes, replicas),
        _stream(CANDLES, candles, tape.trades_age_s, tape.candles_bytes, replicas),
    ]


def _source(name: str, subject: str, to: str, tokens: int) -> StreamSource:
    """A copied stream, without what is not of a feed, such as hand-overs."""
    wildcards = "".join(f".{{{{wildcard({number})}}}}" for number in range(1, tokens + 1))
    transform = SubjectTransform(src=subject + ".*" * tokens, dest=to + wildcards)
    external = ExternalStream(api=API, deliver=f"{DELIVER}.{name}")
    return StreamSource(name=name, external=external, subject_transforms=[transform])


def _stream(name: str, sources: list[StreamSource], age_s: float, size: int, replicas: int) -> StreamConfig:
    return StreamConfig(
        name=name,
        sources=sources,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_age=age_s,
        max_bytes=size,
        num_replicas=replicas,
        allow_direct=True,
    )
