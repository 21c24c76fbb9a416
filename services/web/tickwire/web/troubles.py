"""What is wrong now, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct

from tickwire.client import Job
from tickwire.client.survey import ServiceStatus, Status
from tickwire.model.feeds import FeedReport

CORE = ("cache", "fetcher", "streamer")
"""Services without which nothing works."""
NEEDED_FOR = {
    "cache": "candles are neither stored nor read",
    "fetcher": "nothing is fetched",
    "streamer": "no feed runs",
    "sink": "the database is not written",
    "archive": "nothing is archived",
}
SILENT_MS = 300_000
"""A live feed is silent after this time: `streamer.feed_silence_s`, after which it is subscribed again."""
BACKLOG = 0.5
"""A queue is a backlog when so much of its stream is full."""
ROOM_BYTES, ROOM_SHARE = 1_000_000_000, 0.02
"""A folder with less free space, or a smaller share of it, is nearly full."""
QUEUES = {"OHLCV": "pages of candles wait for the cache", "JOBS": "jobs wait for a fetcher"}
LISTED = 5
"""Feeds of one trouble that are named; the others are counted."""
STATES = {
    "waiting": ("has no owner yet", "have no owner yet"),
    "disconnected": ("is disconnected from the exchange", "are disconnected from the exchange"),
    "failed": ("failed and is tried again", "failed and are tried again"),
    "resyncing": ("has no valid book at the moment", "have no valid book at the moment"),
    "repairing": ("is fetching trades that were missed", "are fetching trades that were missed"),
}
"""States of a feed that are not as they should be: what one does, and what several do."""


class Trouble(Struct, frozen=True, kw_only=True):
    """Something that is wrong: how bad, what, and what to do about it."""

    level: Literal["error", "warning"]
    text: str
    remedy: str = ""


def troubles(status: Status, ended: Sequence[Job], expected: frozenset[str]) -> list[Trouble]:
    """Return what is wrong, the worst first. `ended` are jobs of late, `expected` services beside the usual ones."""
    found = [
        *_absent(status, expected),
        *(
            Trouble(level="error", text=f"damaged file: {line}", remedy="tickwire candles repair")
            for line in status.damaged
        ),
        *_full(status.services),
        *_feeds(status.feeds or [], status.at),
        *_queues(status),
        *_jobs(status.jobs, ended),
    ]
    return sorted(found, key=lambda each: each.level != "error")


def _absent(status: Status, expected: frozenset[str]) -> Iterator[Trouble]:
    running = {each.service for each in status.services}
    for name in [*CORE, *sorted(expected)]:
        if name not in running:
            text = f"no {name} answers" + (f": {NEEDED_FOR[name]}" if name in NEEDED_FOR else "")
            yield Trouble(level="error", text=text, remedy=f"tickwire service {name}")
    for each in status.services:
        if each.trouble is not None:
            yield Trouble(level="error", text=f"{each.instance} is not ready: {each.trouble}")


def _full(services: Sequence[ServiceStatus]) -> Iterator[Trouble]:
    """Several instances may share a folder."""
    for space in {each.space.folder: each.space for each in services if each.space is not None}.values():
        if space.free < ROOM_BYTES or space.free < ROOM_SHARE * space.size:
            share = f"{space.free / space.size:.1%}" if space.size else "nothing"
            yield Trouble(
                level="warning",
                text=f"{space.folder} is nearly full: {space.free / 1e9:,.1f} GB ({share}) are free",
                remedy="free some space; what cannot be written is retried",
            )


def _feeds(feeds: Sequence[FeedReport], now: int) -> Iterator[Trouble]:
    for state, (one, many) in STATES.items():
        of_state = [each for each in feeds if each.state == state]
        if of_state:
            reasons = ", ".join(dict.fromkeys(each.reason for each in of_state if each.reason))
            yield Trouble(
                level="error" if state in ("failed", "disconnected") else "warning",
                text=f"{_counted(of_state)} {one if len(of_state) == 1 else many}"
                + (f": {reasons}" if reasons else ""),
            )
    silent = [each for each in feeds if each.state == "live" and now - (each.last_message or now) > SILENT_MS]
    if silent:
        minutes = min(now - (each.last_message or now) for each in silent) // 60_000
        yield Trouble(level="warning", text=f"{_counted(silent)} without a message for {minutes} minutes or longer")
    # Those of candles follow from the trades'.
    holed = [each for each in feeds if each.gaps and each.kind != "candle"]
    if holed:
        gaps = sum(each.gaps for each in holed)
        text = f"{_plural(gaps, 'gap')} that the exchange could not fill, in {_counted(holed)}"
        yield Trouble(level="warning", text=text)


def _queues(status: Status) -> Iterator[Trouble]:
    running = {each.service for each in status.services}
    for each in status.streams:
        if each.stream not in QUEUES or not each.messages:
            continue
        full = each.bytes / each.limit if each.limit else 0.0
        taker = "cache" if each.stream == "OHLCV" else "fetcher"
        if full >= BACKLOG or taker not in running:
            share = f"; the stream is {full:.0%} full" if each.limit else ""
            yield Trouble(level="warning", text=f"{each.messages:,} {QUEUES[each.stream]}{share}")


def _jobs(jobs: Sequence[Job], ended: Sequence[Job]) -> Iterator[Trouble]:
    for job in jobs:
        if job.last_error:
            yield Trouble(level="warning", text=f"job {job.id} is held up: {job.last_error}")
    for job in ended:
        if job.state == "failed" and job.error is not None and job.error.code != "cancelled":
            yield Trouble(level="warning", text=f"job {job.id} failed: {job.error.message}", remedy=job.error.remedy)


def _counted(feeds: Sequence[FeedReport]) -> str:
    """The first feeds by name, and how many more there are."""
    names = [str(each.feed) for each in feeds[:LISTED]]
    more = len(feeds) - LISTED
    text = ", ".join(names) + (f" and {more} more" if more > 0 else "")
    return f"{_plural(len(feeds), 'feed')} ({text})"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
