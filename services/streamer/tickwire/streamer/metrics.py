"""What Prometheus is told of the feeds that this instance owns: read from their boards when it asks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from tickwire.feeds import State
from tickwire.streamer.desk import Board

LABELS = ("kind", "exchange", "symbol")
COUNTERS = {
    "items": "Trades, changes of books, ticker updates or candles that are on the tape",
    "messages": "Messages on the tape",
    "reconnects": "Connections to the exchange after the first",
    "gaps": "Gaps that could not be filled, or that a book had",
    "repaired": "Trades fetched after interruptions; books that were put right",
    "duplicates": "Items that the exchange repeated",
    "rejected": "Messages of the exchange that could not be used",
    "conflated": "Updates that were not published by themselves",
}
"""Counts of a board, each a counter `tickwire_feed_<name>_total`."""


def of_feeds(boards: Iterable[Board]) -> Iterable[Metric]:
    """Every metric of these feeds."""
    counters = {
        name: CounterMetricFamily(f"tickwire_feed_{name}", text, labels=LABELS) for name, text in COUNTERS.items()
    }
    waiting = GaugeMetricFamily("tickwire_feed_waiting", "Items that wait for the broker or a repair", labels=LABELS)
    last = GaugeMetricFamily(
        "tickwire_feed_last_message_timestamp_seconds", "When the last message was put on the tape", labels=LABELS
    )
    states = GaugeMetricFamily("tickwire_feeds", "Feeds that this instance owns, by state", labels=["state"])
    receipt = HistogramMetricFamily(
        "tickwire_feed_receipt_lag_seconds", "From the exchange's time of a message to its receipt", labels=LABELS
    )
    publish = HistogramMetricFamily(
        "tickwire_feed_publish_lag_seconds",
        "From the receipt of a message to its confirmation on the tape",
        labels=LABELS,
    )
    found = list(boards)
    for board in found:
        labels = [board.feed.kind, board.feed.exchange, board.feed.symbol]
        for name, family in counters.items():
            family.add_metric(labels, getattr(board, name))
        waiting.add_metric(labels, board.waiting())
        if board.last_message is not None:
            last.add_metric(labels, board.last_message / 1000)
        board.receipt_lag.add_to(receipt, labels)
        board.publish_lag.add_to(publish, labels)
    for state in get_args(State):
        states.add_metric([state], sum(board.state == state for board in found))
    return [*counters.values(), waiting, last, states, receipt, publish]
