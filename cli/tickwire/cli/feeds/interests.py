"""`tickwire start` and `tickwire stop`: register and withdraw a subscriber's interest in feeds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tickwire.bus.connection import Bus
from tickwire.cli import arguments
from tickwire.cli.arguments import FeedNames
from tickwire.cli.connection import connected, settings_of
from tickwire.cli.output import consoles, render, tables
from tickwire.client import interest
from tickwire.client.feed_list import list_feeds
from tickwire.client.interest import START_TIMEOUT_S
from tickwire.errors import BadRequest, TickwireError
from tickwire.model.feeds import Feed, FeedReport, StartRequest
from tickwire.model.nearest import listed, markets_like
from tickwire.process.lifecycle import Exit
from tickwire.task_group import TaskGroup


@dataclass(frozen=True)
class StartOptions:
    """Which feeds to start, for which subscriber, and the parameters of books."""

    names: FeedNames
    subscriber: str
    ttl: int | None = None
    depth: int | None = None
    cadence: int | None = None
    deltas: bool = False

    def request(self, feed: Feed) -> StartRequest:
        """Return the request that starts a feed."""
        return StartRequest(
            kind=feed.kind,
            exchange=feed.exchange,
            symbol=feed.symbol,
            timeframe=feed.timeframe,
            subscriber=self.subscriber,
            ttl_s=self.ttl,
            depth=self.depth,
            cadence_ms=self.cadence,
            deltas=self.deltas,
        )


async def start(stop: asyncio.Event, config: Path | None, options: StartOptions, json: bool) -> int:
    """Register an interest in every feed; print their subjects and how to stop them."""
    names = options.names
    feeds = arguments.feeds(*names)
    if names.kind != "book" and (options.depth is not None or options.cadence is not None or options.deltas):
        raise BadRequest(
            f"a {names.kind} feed has no --depth, --cadence or --deltas", "they are for books; leave them out"
        )
    requests = {feed: options.request(feed) for feed in feeds}
    async with connected(settings_of(config), stop) as bus:
        done, refused = await _each(feeds, lambda feed: interest.start(bus, requests[feed]))
    _print(done, json)
    if done and not json:
        text = " ".join(filter(None, names))
        option = "" if options.subscriber == interest.SUBSCRIBER else f" --subscriber {options.subscriber}"
        until = "until stopped" if options.ttl is None else f"for {options.ttl} s unless started again"
        render.remark(f"kept for subscriber {options.subscriber} {until}; stop with `tickwire stop {text}{option}`")
    return _exit_code(refused)


async def stop(stop: asyncio.Event, config: Path | None, names: FeedNames | None, subscriber: str, json: bool) -> int:
    """Withdraw a subscriber's interest in every feed, or without names in all; exit code 1 where one does not run."""
    feeds = [] if names is None else arguments.feeds(*names)
    async with connected(settings_of(config), stop) as bus:
        running, silent = await bus.service_wait.call(lambda: list_feeds(bus))
        if names is None:
            feeds = [each.feed for each in running if _may_want(each, subscriber)]
        done, refused = await _each(feeds, lambda feed: _stop_one(bus, feed, subscriber))
    before = {each.feed: each for each in running}
    absent = [] if silent else [each for each in feeds if each not in before]
    _print([each for each in done if each.feed not in absent], json)
    known = [(each.exchange, each.symbol) for each in running if names is not None and each.kind == names.kind]
    for each in absent:
        like = markets_like(each.exchange, each.symbol, known)
        render.remark(f"{each} does not run; running are {like}" if like else f"{each} does not run")
    strange = [before[each.feed] for each in done if each.feed in before and _is_strange(before[each.feed], each)]
    kept = [each for each in done if each.subscribers and each.feed not in [other.feed for other in strange]]
    if strange and not json and names is not None:
        render.remark(f"{subscriber} was no subscriber of {listed([_with_names(each) for each in strange])}")
    if names is None and not json and len(strange) == len(done):
        render.remark(f"{subscriber} is no subscriber of any feed; `tickwire ps` prints who is")
    if kept and not json:
        others = render.plural(sum(each.subscribers for each in kept), "other subscriber")
        render.remark(f"{subscriber} is no longer a subscriber; the feed continues for {others} (see `tickwire ps`)")
    return Exit.FAILED if absent else _exit_code(refused)


def _may_want(report: FeedReport, subscriber: str) -> bool:
    """Return whether a feed may have a subscriber; a report of an earlier version, or of very many, lacks names."""
    some = len(report.subscriber_names) in (0, tables.MANY_NAMES)
    return subscriber in report.subscriber_names or (some and report.subscribers > len(report.subscriber_names))


def _is_strange(before: FeedReport, after: FeedReport) -> bool:
    """Return whether the subscriber that was withdrawn had not been one."""
    return bool(after.subscribers) and before.subscribers == after.subscribers


def _with_names(report: FeedReport) -> str:
    """Return a feed with its subscribers."""
    by = tables.wanted_by(report)
    return f"{report.feed} (wanted by {by})" if by else str(report.feed)


async def _stop_one(bus: Bus, feed: Feed, subscriber: str) -> FeedReport:
    return await bus.service_wait.call(lambda: interest.stop(bus, feed, subscriber, START_TIMEOUT_S))


async def _each(
    feeds: Sequence[Feed], request: Callable[[Feed], Coroutine[Any, Any, FeedReport]]
) -> tuple[list[FeedReport], list[TickwireError]]:
    """Send the requests of all feeds at once; return the replies and the refusals.

    Raises the refusal where every feed is refused for the same reason.
    """

    async def one(feed: Feed) -> FeedReport | TickwireError:
        try:
            return await request(feed)
        except TickwireError as error:
            return error

    async with TaskGroup() as group:
        tasks = [group.create_task(one(feed)) for feed in feeds]
    answers = [each.result() for each in tasks]
    done = [each for each in answers if isinstance(each, FeedReport)]
    refused = [each for each in answers if isinstance(each, TickwireError)]
    if not done and len({str(each) for each in refused}) == 1:
        raise refused[0]
    return done, refused


def _print(done: Sequence[FeedReport], json: bool) -> None:
    if json:
        render.as_json([msgspec.to_builtins(each) | {"subject": each.feed.public} for each in done])
    elif done:
        consoles.out().print(tables.started_table(done))


def _exit_code(refused: Sequence[TickwireError]) -> int:
    """Print the refusals; return the command's exit code."""
    for line in dict.fromkeys(map(str, refused)):
        render.remark(line)
    return Exit.FAILED if refused else Exit.OK
