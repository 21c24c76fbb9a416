"""What is written for Prometheus, read by its own parser."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tickwire.observe import prometheus

pytestmark = pytest.mark.pure


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (each.name, tuple(sorted(each.labels.items()))): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


def test_a_counter_and_a_gauge_are_read_as_they_were_written() -> None:
    one, two = (prometheus.labels(kind="trade", symbol=symbol) for symbol in ("BTC/USDT", "ETH/USDT:USDT"))
    (found,) = text_string_to_metric_families(prometheus.family("cats_total", "counter", "Cats", [(one, 3), (two, 0)]))
    assert (found.name, found.type, found.documentation) == ("cats", "counter", "Cats")
    assert [(each.name, each.labels["symbol"], each.value) for each in found.samples] == [
        ("cats_total", "BTC/USDT", 3),
        ("cats_total", "ETH/USDT:USDT", 0),
    ]
    text = prometheus.family("since_seconds", "gauge", "When", [(one, 1_700_000_000.125)])
    assert list(samples(text).values()) == [1_700_000_000.125]


def test_labels_may_hold_any_text() -> None:
    odd = 'a"b\\c\nd%d{}\\n€'
    text = prometheus.histogram("x", "X", (1.0,), [(prometheus.labels(symbol=odd), (1, 2), 0.5)])
    assert samples(text) == {
        ("x_bucket", (("le", "1.0"), ("symbol", odd))): 1,
        ("x_bucket", (("le", "+Inf"), ("symbol", odd))): 3,
        ("x_count", (("symbol", odd),)): 3,
        ("x_sum", (("symbol", odd),)): 0.5,
    }


def test_the_buckets_of_a_histogram_count_up_and_its_series_stay_apart() -> None:
    series = [(f'n="{n}"', (n, 1, 0, 2), -1.5 * n) for n in (0, 1)]
    found = samples(prometheus.histogram("x", "X", (0.5, 1.0, 2.5), series))
    for n in (0, 1):
        counted = [found["x_bucket", (("le", le), ("n", str(n)))] for le in ("0.5", "1.0", "2.5", "+Inf")]
        assert counted == [n, n + 1, n + 1, n + 3]
        assert found["x_count", (("n", str(n)),)] == n + 3
        assert found["x_sum", (("n", str(n)),)] == -1.5 * n


def test_a_metric_without_series_is_there_all_the_same() -> None:
    (found,) = text_string_to_metric_families(prometheus.histogram("x", "X", (1.0,), []))
    assert (found.name, found.type, found.samples) == ("x", "histogram", [])
