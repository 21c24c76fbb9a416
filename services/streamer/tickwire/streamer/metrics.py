"""Metrics of the feeds and of the tape's partitions that this instance owns, read at each scrape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, get_args

from tickwire.model.feeds import State
from tickwire.observe.metrics import SECONDS, Text
from tickwire.observe.prometheus import family, histogram, labels
from tickwire.streamer.control.feed_status import Counters, FeedStatus
from tickwire.tape.partition_writer import PartitionWriter

OF_A_TAPE = {
    "items": "Trades, changes of books, ticker updates or candles that are on the tape",
    "messages": "Messages on the tape",
    "conflated": "Updates that were not published by themselves",
}
OF_A_FEED = {
    "reconnects": "Connections to the exchange after the first",
    "gaps": "Gaps that could not be filled, or that a book had",
    "repaired": "Trades fetched after interruptions; books that were put right",
    "duplicates": "Items that the exchange repeated",
    "rejected": "Messages of the exchange that could not be used",
}
"""Counters `tickwire_feed_<name>_total`: attributes of Counters, and of FeedStatus."""

_Lag = tuple[Sequence[int], float]


class _Tape(NamedTuple):
    labels: str
    counts: tuple[int, ...]
    last_message: int | None


class _Feed(NamedTuple):
    labels: str
    counts: tuple[int, ...]
    waiting: int
    lags: tuple[_Lag, _Lag] | None


def of_feeds(statuses: Iterable[FeedStatus]) -> Text:
    """Read every number of these feeds now (a few ms for a thousand); format them when the result is called."""
    feeds: list[_Feed] = []
    tapes: list[_Tape] = []
    states = dict.fromkeys(get_args(State), 0)
    for status in statuses:
        feed = status.feed
        named = labels(kind=feed.kind, exchange=feed.exchange, symbol=feed.symbol)
        states["failed" if status.troubles else status.state] += 1
        # Candles are built from trades at their own pace: their times of receipt mean nothing.
        lags = None if feed.kind == "candle" else (status.receipt_lag.read(), status.publish_lag.read())
        feeds.append(_Feed(named, tuple(getattr(status, name) for name in OF_A_FEED), status.waiting(), lags))
        rows_of_tapes: dict[str, Counters] = {named: status}
        if feed.kind == "candle":
            rows_of_tapes = {
                f"{named},{labels(timeframe=each)}": counters for each, counters in status.of_timeframe.items()
            }
        for own, counters in rows_of_tapes.items():
            tapes.append(_Tape(own, tuple(getattr(counters, name) for name in OF_A_TAPE), counters.last_message))

    return lambda: _written(feeds, tapes, states)


def of_partitions(writers: Iterable[PartitionWriter]) -> Text:
    """Read every number of these writers now; format them when the result is called."""
    found = [(labels(stream=each.stream), each.in_flight, each.resent) for each in writers]
    return lambda: (
        family(
            "tickwire_tape_in_flight",
            "gauge",
            "Messages of a partition that are not known to be stored",
            [(stream, in_flight) for stream, in_flight, _ in found],
        ),
        family(
            "tickwire_tape_resent_total",
            "counter",
            "Messages of a partition that were sent again after a doubt",
            [(stream, resent) for stream, _, resent in found],
        ),
    )


def _written(feeds: Sequence[_Feed], tapes: Sequence[_Tape], states: dict[str, int]) -> Iterator[str]:
    rows: Sequence[_Feed | _Tape]
    for rows, counters in ((tapes, OF_A_TAPE), (feeds, OF_A_FEED)):
        for place, (name, text) in enumerate(counters.items()):
            series = [(row.labels, row.counts[place]) for row in rows]
            yield family(f"tickwire_feed_{name}_total", "counter", text, series)
    yield family(
        "tickwire_feed_waiting",
        "gauge",
        "Items that wait for the broker or a repair",
        [(feed.labels, feed.waiting) for feed in feeds],
    )
    yield family(
        "tickwire_feed_last_message_timestamp_seconds",
        "gauge",
        "When the last message was put on the tape",
        [(tape.labels, tape.last_message / 1000) for tape in tapes if tape.last_message is not None],
    )
    yield family(
        "tickwire_feeds",
        "gauge",
        "Feeds that this instance owns, by state",
        [(labels(state=state), count) for state, count in states.items()],
    )
    for place, (name, text) in enumerate(
        (
            ("receipt", "From the exchange's time of a message to its receipt"),
            ("publish", "From the receipt of a message to its confirmation on the tape"),
        )
    ):
        lags = [(feed.labels, *feed.lags[place]) for feed in feeds if feed.lags is not None]
        yield histogram(f"tickwire_feed_{name}_lag_seconds", text, SECONDS, lags)
