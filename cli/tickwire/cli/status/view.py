"""Draws the state of a broker: a summary, then tables, cut to the height of a terminal if there is one. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text

from tickwire.cli.output import render, tables
from tickwire.cli.output.fitting_table import FittingTable, ShorteningTable
from tickwire.client.survey import LeaseStatus, Status, StreamStatus
from tickwire.model.feeds import Feed

LEASES_SHOWN = 4
"""The most leases of a holder that are named."""


class Size(NamedTuple):
    """The size of a terminal, in characters."""

    width: int
    height: int


class _Part(NamedTuple):
    """A table: its number of rows, and a function that draws the first of them."""

    rows: int
    draw: Callable[[int], RenderableType]


def draw(
    found: Status, now: int, rates: Mapping[Feed, float] | None = None, size: Size | None = None
) -> RenderableType:
    """Draw the state at `now` (ms). With `size`, rows that do not fit are counted: `and 12 more`."""
    lines: list[RenderableType] = [*_head(found), *_troubles(found, size)]
    if not found.services:
        lines += ["no service is running; start all with `tickwire up`"]
    parts = [part for part in _parts(found, now, rates, size) if part.rows]
    if size is None:
        for part in parts:
            lines += ["", part.draw(part.rows)]
        return Group(*lines)
    free = size.height - len(lines) - len(parts)
    # Blank lines between the tables are left out first.
    spaced = sum(part.rows for part in parts) + len(parts) <= free
    for part, given in zip(parts, shares([part.rows for part in parts], free), strict=True):
        shown = part.rows if given >= part.rows else given - 1
        lines += [*([""] if spaced else []), part.draw(shown)]
        if shown < part.rows:
            lines.append(f"and {part.rows - shown:,} more")
    return Group(*lines)


def shares(rows: Sequence[int], lines: int) -> list[int]:
    """Return how many of `lines` each table gets: small ones all their rows, large ones equal parts of the rest.

    Each gets at least one, which may add up to more than `lines`.
    """
    given = [0] * len(rows)
    for left, place in zip(range(len(rows), 0, -1), sorted(range(len(rows)), key=rows.__getitem__), strict=True):
        given[place] = min(rows[place], max(1, lines // left))
        lines -= given[place]
    return given


def _head(found: Status) -> list[str]:
    cached = "no cache answers; start one with `tickwire up` or `tickwire service cache`"
    if found.keys is not None:
        cached = f"{render.plural(found.keys, 'key')}, {render.plural(found.rows or 0, 'candle')}"
    return [
        f"broker  {found.nats_url}",
        f"cache   {cached}",
        f"jobs    {found.jobs_waiting:,} waiting or running",
        f"feeds   {'no streamer answers' if found.feeds is None else f'{len(found.feeds):,}'}",
    ]


def _troubles(found: Status, size: Size | None) -> list[Text]:
    """A line for each service that is not ready; cut where lines are counted."""
    said = [f"{each.service} {each.instance} is not ready: {each.trouble}" for each in found.services if each.trouble]
    return [Text(each, style="bold red", no_wrap=size is not None, overflow="ellipsis") for each in said]


def _parts(found: Status, now: int, rates: Mapping[Feed, float] | None, size: Size | None) -> list[_Part]:
    holders: dict[tuple[str, str], list[LeaseStatus]] = {}
    for lease in sorted(found.leases, key=lambda each: (each.service, each.holder)):
        holders.setdefault((lease.service, lease.holder), []).append(lease)
    across = 1 if size is None else _across(found.streams, size.width)
    feeds = found.feeds or []
    return [
        _Part(len(found.services), lambda rows: _services(found, rows)),
        _Part(len(holders), lambda rows: _leases(list(holders.values())[:rows])),
        _Part(len(found.jobs), lambda rows: tables.jobs_table(found.jobs[:rows])),
        _Part(-(-len(found.streams) // across), lambda rows: _streams(found.streams[: rows * across], across)),
        _Part(len(feeds), lambda rows: tables.feed_table(feeds[:rows], now, rates)),
    ]


def _services(found: Status, rows: int) -> FittingTable:
    held = Counter(lease.holder for lease in found.leases)
    numbers = ("leases", "requests", "errors")
    columns = ("service", "instance", "started", *numbers)
    table = FittingTable("", columns, right=numbers, least=("requests", "started", "errors", "leases"))
    for each in found.services[:rows]:
        started = each.started.replace("T", " ")[:19]
        counts = (held[each.instance], each.requests, each.errors)
        table.add_row(each.service, each.instance, started, *(f"{number:,}" for number in counts))
    return table


def _leases(holders: Sequence[Sequence[LeaseStatus]]) -> ShorteningTable:
    return ShorteningTable(*(_leases_naming(holders, names) for names in range(LEASES_SHOWN, 0, -1)))


def _leases_naming(holders: Sequence[Sequence[LeaseStatus]], most: int) -> FittingTable:
    """Draw the leases of each holder; name at most `most` of them."""
    columns = ("leases of", "holder", "number", "since", "which")
    table = FittingTable("", columns, right=("number",), least=("since", "which"))
    for own in holders:
        since = render.moment(max(each.since for each in own) // 1000 * 1000)
        names = ", ".join(each.lease for each in own[:most])
        rest = f" and {len(own) - most} more" if len(own) > most else ""
        table.add_row(own[0].service, own[0].holder, f"{len(own):,}", since, names + rest)
    return table


def _streams(streams: Sequence[StreamStatus], across: int) -> FittingTable:
    columns, numbers = ("stream", "messages", "size"), ("messages", "size")
    table = FittingTable("", columns * across, right=numbers, least=("size",))
    for first in range(0, len(streams), across):
        table.add_row(*(cell for each in streams[first : first + across] for cell in _cells(each)))
    return table


def _cells(stream: StreamStatus) -> tuple[str, str, str]:
    return stream.stream, f"{stream.messages:,}", render.size(stream.bytes)


def _across(streams: Sequence[StreamStatus], width: int) -> int:
    """Return how many streams fit side by side."""
    titles = [("stream", "messages", "size")]
    columns = zip(*titles, *(_cells(each) for each in streams), strict=True)
    return max(1, width // sum(max(map(len, column)) + 2 for column in columns))
