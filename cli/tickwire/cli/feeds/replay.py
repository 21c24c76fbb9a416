"""`tickwire replay`: publishes the past again, until their end or Ctrl-C."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from pathlib import Path

from tickwire.bus.connection import Bus
from tickwire.cli import arguments
from tickwire.cli.connection import connected, settings_of
from tickwire.cli.output import render
from tickwire.client.replay_feeds import book_view
from tickwire.client.replay_publisher import Replay, publish_replay
from tickwire.errors import BadRequest
from tickwire.model import subjects
from tickwire.model.feeds import Feed
from tickwire.model.messages import ReplayStatus
from tickwire.model.times import now_ms
from tickwire.process.lifecycle import Exit, unless_stopped


@dataclass(frozen=True)
class ReplayOptions:
    """What to replay, and how fast."""

    name: str
    exchanges: str
    symbols: str
    since: str
    until: str | None
    speed: str
    kinds: str = "trade"
    timeframes: str | None = None
    depth: int | None = None
    cadence_ms: int | None = None

    def feeds(self) -> list[Feed]:
        """Every combination of the names, kind after kind. Raises BadRequest."""
        subjects.replay_name(self.name)
        kinds = arguments.items(self.kinds, "--kinds")
        if self.timeframes is not None and "candle" not in kinds:
            raise BadRequest("--timeframes is given without candles", "add candle to --kinds")
        found = []
        for kind in kinds:
            timeframes = self.timeframes if kind == "candle" else None
            found += arguments.feeds(kind, self.exchanges, self.symbols, timeframes)
        return found

    def factor(self) -> float:
        """The speed as a number. Raises BadRequest."""
        try:
            factor = math.inf if self.speed == "max" else float(self.speed)
        except ValueError:
            factor = 0.0
        # NaN is none, either.
        if not factor > 0:
            raise BadRequest(
                f"--speed {self.speed} is not a number above 0", "1 is as it happened, max as fast as possible"
            )
        return factor


class Progress:
    """The newest status of a replay, and what is printed of it."""

    def __init__(self) -> None:
        self.status: ReplayStatus | None = None

    def report(self, status: ReplayStatus) -> None:
        """Keep a status; print a remark as the replay begins."""
        if self.status is None:
            render.remark(f"publishing on {subjects.replayed(status.name, 'md.>')}; Ctrl-C ends it")
        self.status = status


async def replay(stop: asyncio.Event, config: Path | None, options: ReplayOptions, json: bool) -> int:
    """Publish what feeds had in a range again. Exit code 3 where some is missing, 130 when it is interrupted."""
    feeds, speed = options.feeds(), options.factor()
    now = now_ms()
    since, until = arguments.span(options.since, options.until, now)
    assert since is not None
    view = book_view(options.depth, options.cadence_ms)
    wanted = Replay(options.name, feeds, since, now if until is None else until, speed, view)
    progress = Progress()

    async def publish(bus: Bus) -> None:
        progress.status = await publish_replay(bus, wanted, progress.report)

    async with connected(settings_of(config), stop) as bus:
        await unless_stopped(stop, publish(bus))
    if (status := progress.status) is None:
        return Exit.INTERRUPTED
    if json:
        render.as_json(status)
    else:
        reached = "" if status.position is None else f", up to {render.moment(status.position)} UTC"
        trades = f"{render.plural(status.trades, 'trade')} in " if "trade" in options.kinds else ""
        count = f"{trades}{render.plural(status.messages, 'message')}"
        gaps = f", {render.plural(status.gaps, 'gap')}" if status.gaps else ""
        render.remark(f"replay {status.name}: {count}{gaps}{reached}")
    if status.state != "ended":
        return Exit.INTERRUPTED
    return Exit.INCOMPLETE if status.gaps else Exit.OK
