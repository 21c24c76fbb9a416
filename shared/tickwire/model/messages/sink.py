"""The report of a sink, and the entries that store how far it has written."""

from __future__ import annotations

from msgspec import Struct, field

from tickwire.model.subjects import Name
from tickwire.model.times import Count, Sequence, Time


class SinkRequest(Struct, frozen=True, kw_only=True):
    """`sink.report`."""


class SinkReport(Struct, frozen=True, kw_only=True):
    """The reply to `sink.report`: counts of this instance since it started.

    Only the `active` instance writes. `trades` were written and acknowledged; `points` counts the points of all
    measurements, of which the database rejected `rejected`. `failures` are writes that it did not accept at once.
    `missed` counts the gaps where messages expired on the tape before they could be written.
    """

    instance: Name
    active: bool
    trades: Count = 0
    points: Count = 0
    rejected: Count = 0
    failures: Count = 0
    missed: Count = 0


class SinkTotals(Struct, frozen=True, kw_only=True):
    """`$KV.SINK.trade.<exchange>.<token>`: totals of a feed up to the message at `sequence` of its trades.

    `stream` is when the stream of these trades was created (ms): in another one, sequences restart. `count` trades were
    written; `cvd` is the cumulative volume delta by size class: quote currency bought minus sold by takers, since the
    sink first saw the feed. `measured` is true on contract markets whose contract sizes are accounted for; earlier
    versions did not, so `cvd` restarted then.
    """

    sequence: Sequence = 0
    stream: Time = 0
    count: Count = 0
    cvd: dict[str, float] = field(default_factory=dict)
    measured: bool = False


class SinkPosition(Struct, frozen=True, kw_only=True):
    """`$KV.SINK.stream.SINK`: books and candles up to the message at `sequence` of SINK, of `time` (ms), are written.

    `sequence` is null until a sink has started. `stream` is when the stream of these trades was created (ms).
    """

    sequence: Sequence | None = None
    time: Time = 0
    stream: Time = 0
