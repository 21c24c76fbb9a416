"""The recordings that a simulator plays, by host, and their control over HTTP, `/_sim/wire`."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import partial
from typing import Any

from aiohttp import web
from msgspec import Struct

from tickwire.errors import BadRequest
from tickwire.simulator.control import decoded, json_handler
from tickwire.simulator.recordings.playback import Playback, Recording
from tickwire.simulator.recordings.rest import RecordedAnswers
from tickwire.simulator.sockets.feed import Feed
from tickwire.simulator.venue import Venue
from tickwire.simulator.venues import binance


class PlayOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """Orders messages to be played. `host` is one of a recording's hosts; absent: all recordings."""

    speed: float | None = None
    """Multiple of the recorded speed; null: as fast as possible."""
    count: int | None = None
    """The number of messages to play; null: all."""
    host: str | None = None


def read(prefixes: tuple[str, ...]) -> list[Playback]:
    """Read the recordings with these prefixes. Raises ConfigError."""
    return [Playback(Recording(prefix)) for prefix in prefixes]


def venues(playbacks: list[Playback]) -> list[Venue]:
    """Return a venue for each recording, which has its hosts; the forms are those of the recorded exchange."""
    return [binance.recorded(f"recording{number}", RecordedAnswers(each).answer, each.recording.hosts)
            for number, each in enumerate(playbacks)]  # fmt: skip


class Recordings:
    """Plays recordings, and their control over HTTP. A recorded host answers from its recording only."""

    def __init__(self, playbacks: list[Playback], feed: Feed) -> None:
        self._feed = feed
        self._playbacks = playbacks
        self._keys = {id(each): f"{venue.name}/{venue.sockets[0].name}"
                      for each, venue in zip(playbacks, venues(playbacks), strict=True)}  # fmt: skip
        self._of_host = {host: each for each in self._playbacks for host in each.recording.hosts}

    def runs(self) -> list[Coroutine[Any, Any, None]]:
        """Return a coroutine for each recording, which plays it until cancelled."""
        feed, keys = self._feed, [(each, self._keys[id(each)]) for each in self._playbacks]
        return [each.run(partial(feed.play, key), partial(feed.subscribed, key)) for each, key in keys]

    async def status(self, request: web.Request) -> Any:
        """GET /_sim/wire?host="""
        return self._status(self._chosen(request.query.get("host")))

    async def play(self, request: web.Request) -> Any:
        """POST /_sim/wire"""
        order = decoded(await request.read(), PlayOrder)
        if (order.speed is not None and order.speed <= 0) or (order.count is not None and order.count < 0):
            raise BadRequest("speed is above zero and count is not below it")
        chosen = self._chosen(order.host)
        for playback in chosen:
            playback.play(order.speed, order.count)
        return self._status(chosen)

    def _chosen(self, host: str | None) -> list[Playback]:
        if not self._playbacks:
            raise BadRequest("nothing recorded is played", "start the simulator with --play-wire PREFIX")
        if host is None:
            return self._playbacks
        if host not in self._of_host:
            raise BadRequest(f"no recording of {host!r} is played", f"there are {', '.join(sorted(self._of_host))}")
        return [self._of_host[host]]

    def _status(self, playbacks: list[Playback]) -> Any:
        names = {name for each in playbacks for name in self._feed.subscribed(self._keys[id(each)])}
        return {
            "sent": sum(each.sent for each in playbacks),
            "unheard": sum(each.unheard for each in playbacks),
            "left": sum(each.left for each in playbacks),
            "streams": sorted(names),
        }

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the routes of the control."""
        router.add_route("GET", "/_sim/wire", json_handler(self.status))
        router.add_route("POST", "/_sim/wire", json_handler(self.play))
