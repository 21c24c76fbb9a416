"""Formats metrics with thousands of series for Prometheus: a histogram is one formatted text, not eighteen samples.

Source: "Exposition formats" of Prometheus' documentation, the text-based format 0.0.4. Pure, so it can run in a thread
beside the event loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Literal

_HERE = "\0"
"""The place of the labels; occurs in no text."""


def labels(**named: str) -> str:
    """Labels as they are written in a series."""
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in named.items())


def family(name: str, kind: Literal["counter", "gauge"], text: str, series: Iterable[tuple[str, float]]) -> str:
    """A metric with some series of labels and value. The name of a counter ends in `_total`."""
    return _head(name, kind, text) + "".join([f"{name}{{{labelled}}} {value}\n" for labelled, value in series])


def histogram(name: str, text: str, bounds: Sequence[float], series: Iterable[tuple[str, Sequence[int], float]]) -> str:
    """A histogram with some series: labels, counts between the upper `bounds` and beyond the last, and the sum."""
    lines = [f'{name}_bucket{{{_HERE},le="{bound}"}} %d\n' for bound in (*bounds, "+Inf")]
    one = "".join([*lines, f"{name}_count{{{_HERE}}} %d\n", f"{name}_sum{{{_HERE}}} %r\n"])
    written = []
    for labelled, counts, total in series:
        below = tuple(accumulate(counts))
        written.append((one % (*below, below[-1], total)).replace(_HERE, labelled))
    return _head(name, "histogram", text) + "".join(written)


def _head(name: str, kind: str, text: str) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
