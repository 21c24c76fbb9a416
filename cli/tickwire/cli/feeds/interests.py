"""`tickwire start`, `stop` and `ps`: which feeds run, and on whose behalf."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
from rich.live import Live

from tickwire.bus.connection import Bus
from tickwire.cli import arguments
from tickwire.cli.connection import connected, settings_of
from tickwire.cli.feeds.rates import Paces
from tickwire.cli.output import render
from tickwire.client import interest
from tickwire.client.interest import START_TIMEOUT_S
from tickwire.errors import BadRequest, NoSuchService, TickwireError
from tickwire.model import messages
from tickwire.model.feeds import Feed, FeedList, FeedReport, FeedsRequest, StartRequest
from tickwire.model.times import now_ms
from tickwire.process.lifecycle import Exit, until_stopped

WATCH_S = 1.0
"""The pause between two looks."""


async def start(
    stop: asyncio.Event,
    config: Path | None,
    kind: str,
    exchanges: str,
    symbols: str,
    timeframes: str | None,
    subscriber: str,
    ttl: int | None,
    depth: int | None,
    cadence: int | None,
    deltas: bool,
    json: bool,
) -> int:
    """Register an interest in every combination, and say where to listen and how to stop it."""
    feeds = arguments.feeds(kind, exchanges, symbols, timeframes)
    if kind != "book" and (depth is not None or cadence is not None or deltas):
        raise BadRequest(f"a {kind} feed has no --depth, --cadence or --deltas", "they are for books; leave them out")
    requests = {
        feed: StartRequest(
            kind=feed.kind,
            exchange=feed.exchange,
            symbol=feed.symbol,
            timeframe=feed.timeframe,
            subscriber=subscriber,
            ttl_s=ttl,
            depth=depth,
            cadence_ms=cadence,
            deltas=deltas,
        )
        for feed in feeds
    }
    async with connected(settings_of(config), stop) as bus:
        done, refused = await _each(feeds, lambda feed: interest.start(bus, requests[feed]))
    _print(done, json)
    if done and not json:
        names = " ".join(filter(None, (kind, exchanges, symbols, timeframes)))
        option = "" if subscriber == interest.SUBSCRIBER else f" --subscriber {subscriber}"
        until = "until stopped" if ttl is None else f"for {ttl} s unless started again"
        render.say(f"kept for subscriber {subscriber} {until}; stop with `tickwire stop {names}{option}`")
    return _ended(refused)


async def stop(
    stop: asyncio.Event,
    config: Path | None,
    kind: str,
    exchanges: str,
    symbols: str,
    timeframes: str | None,
    subscriber: str,
    json: bool,
) -> int:
    """Withdraw a subscriber's interest in every combination."""
    feeds = arguments.feeds(kind, exchanges, symbols, timeframes)
    async with connected(settings_of(config), stop) as bus:
        done, refused = await _each(feeds, lambda feed: _stopped(bus, feed, subscriber))
    _print(done, json)
    kept = [each for each in done if each.subscribers]
    if kept and not json:
        others = render.plural(sum(each.subscribers for each in kept), "other subscriber")
        render.say(f"{subscriber} has left; {others} still there, so the feed goes on (see `tickwire ps`)")
    return _ended(refused)


async def _stopped(bus: Bus, feed: Feed, subscriber: str) -> FeedReport:
    return await bus.service_wait.call(lambda: interest.stop(bus, feed, subscriber, START_TIMEOUT_S))


async def _each(feeds: Sequence[Feed], ask: Callable[[Feed], Any]) -> tuple[list[FeedReport], list[TickwireError]]:
    """All at once: the replies and the refusals. Raises the refusal where all are the same."""

    async def one(feed: Feed) -> FeedReport | TickwireError:
        try:
            answer: FeedReport = await ask(feed)
        except NoSuchService:
            raise
        except TickwireError as error:
            return error
        return answer

    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(one(feed)) for feed in feeds]
    answers = [each.result() for each in asked]
    done = [each for each in answers if isinstance(each, FeedReport)]
    refused = [each for each in answers if isinstance(each, TickwireError)]
    if not done and len({str(each) for each in refused}) == 1:
        raise refused[0]
    return done, refused


def _print(done: Sequence[FeedReport], json: bool) -> None:
    if json:
        render.as_json([msgspec.to_builtins(each) | {"subject": each.feed.public} for each in done])
    elif done:
        render.out().print(render.started_table(done))


def _ended(refused: Sequence[TickwireError]) -> int:
    for line in dict.fromkeys(map(str, refused)):
        render.say(line)
    return Exit.FAILED if refused else Exit.OK


async def listed(bus: Bus, exchange: str | None = None) -> tuple[list[FeedReport], list[str]]:
    """Every feed by name, and the instances that did not answer. Raises NoSuchService."""
    found: list[FeedReport] = []
    silent: list[str] = []
    async for part in bus.request_chunks(
        "streamer.list", FeedsRequest(exchange=exchange), lambda data: messages.decode(data, FeedList)
    ):
        found += part.feeds
        silent += part.silent
    return sorted(found, key=lambda each: (each.exchange, each.symbol, each.kind, each.timeframe or "")), silent


async def ps(stop: asyncio.Event, config: Path | None, exchange: str | None, watching: bool, json: bool) -> int:
    """Print the feeds, once or each second."""
    async with connected(settings_of(config), stop) as bus:
        if watching:
            await until_stopped(stop, _watch(bus, exchange, json))
            return Exit.OK
        found, silent = await listed(bus, exchange)
    if json:
        render.as_json({"feeds": found, "silent": silent})
    elif found:
        render.out().print(render.feed_table(found, now_ms()))
    else:
        render.say("no feed runs; start one, such as `tickwire start trade binance BTC/USDT`")
    for each in silent:
        render.say(f"streamer {each} did not answer in time")
    return Exit.OK


async def _watch(bus: Bus, exchange: str | None, json: bool) -> None:
    """The feeds and their pace each second, until cancelled."""
    console = render.out()
    paces = Paces()
    on_terminal = console.is_terminal and not json
    with Live(console=console, auto_refresh=False) if on_terminal else nullcontext() as live:
        while True:
            found, silent = await listed(bus, exchange)
            pace = paces.counted(found, now_ms())
            if json:
                render.as_json_line(msgspec.json.encode({"feeds": found, "silent": silent}))
            elif live is not None:
                live.update(render.feed_table(found, now_ms(), pace), refresh=True)
            else:
                console.print(render.feed_table(found, now_ms(), pace))
            await asyncio.sleep(WATCH_S)
