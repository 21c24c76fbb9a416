"""The indexes of subscriptions answer what a look at all subscriptions would, whatever happened before."""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.trading import ANY_TIME
from support.venues import Memory
from tickwire.model.feeds import Feed
from tickwire.streamer.subscriptions.socket_index import AwaitedResults, KeptSubscriptions, SocketIndex
from tickwire.streamer.subscriptions.socket_places import SocketPlaces
from tickwire.streamer.subscriptions.subscription import Subscription, WatchedFeed

pytestmark = pytest.mark.pure

URL = "wss://venue/ws"
MOST = 1
NAMES = ["one", "two"]
STEPS = ["use", "leave", "keep", "resume", "move", "lose", "stream", "wait"]


class Socket:
    """What ccxt has of a socket."""

    def __init__(self, url: str) -> None:
        self.url = url


def subscription(number: int) -> Subscription:
    """Two of each key: one may be kept while the next one is used."""
    feed = Feed("trade", "venue", f"S{number // 2}/USDT")
    return Subscription(WatchedFeed(feed, Memory(), ANY_TIME), "trades")


class Life:
    """Subscriptions in the indexes, and plainly."""

    def __init__(self) -> None:
        self.sockets: dict[str, Any] = {url: Socket(url) for url in (URL, f"{URL}#2", f"{URL}#3")}
        self.all = [subscription(number) for number in range(4)]
        self.used, self.kept, self.awaited = SocketIndex(), KeptSubscriptions(), AwaitedResults()
        self.places = SocketPlaces(MOST, lambda: self.sockets, lambda each: [self.used.on(each), self.kept.on(each)])
        self.plainly_used: list[Subscription] = []
        self.plainly_kept: dict[Any, Subscription] = {}
        self.waits: set[tuple[Any, str, Subscription]] = set()

    def step(self, what: str, each: Subscription, socket: Any, name: str) -> None:
        is_used, is_kept = each in self.plainly_used, each in self.plainly_kept.values()
        if what == "use" and not is_used and not is_kept:
            self.used.add(each)
            self.plainly_used.append(each)
        elif what == "leave" and is_used:
            self.used.discard(each)
            self.awaited.discard(each)
            self.plainly_used.remove(each)
            self.waits = {wait for wait in self.waits if wait[2] is not each}
        elif what == "keep" and not is_used:
            self.kept.add(each)
            self.plainly_kept[each.key] = each
        elif what == "resume" and is_used:
            kept = self.kept.pop(each.key)
            assert kept is self.plainly_kept.pop(each.key, None)
            if kept is not None:
                each.inherit(kept)
                assert each.client is kept.client
                assert each.streams.keys() >= kept.streams.keys()
        elif what == "move":
            each.client = socket
        elif what == "lose":
            each.client = None
        elif what == "stream":
            each.take_stream(name, 1)
        elif what == "wait" and is_used:
            self.awaited.add(socket, name, each)
            self.waits.add((socket, name, each))

    def check(self) -> None:
        for socket in self.sockets.values():
            assert set(self.used.on(socket)) == {each for each in self.plainly_used if each.client is socket}
            assert set(self.kept.on(socket)) == {each for each in self.plainly_kept.values() if each.client is socket}
            for name in NAMES:
                waiting = {each for on, of, each in self.waits if on is socket and of == name}
                assert set(self.awaited.of(socket, name)) == waiting
        for name in NAMES:
            assert self.used.takes(name) == any(name in each.streams for each in self.plainly_used)
        assert set(self.kept) == set(self.plainly_kept.values())
        for each in self.all:
            assert self.places.url(each, URL) == self.plain_url(each)

    def plain_url(self, subscription: Subscription) -> str:
        if subscription.client is not None:
            return subscription.client.url
        having = [*self.plainly_used, *self.plainly_kept.values()]
        taken = Counter(each.client for each in having if each is not subscription)
        urls = (URL if number == 1 else f"{URL}#{number}" for number in count(1))
        return next(url for url in urls if url not in self.sockets or taken[self.sockets[url]] < MOST)


STEP = st.tuples(st.sampled_from(STEPS), st.integers(0, 3), st.integers(0, 2), st.sampled_from(NAMES))


@given(st.lists(STEP, min_size=30, max_size=120))
def test_the_indexes_agree_with_a_scan_of_all_subscriptions(
    steps: list[tuple[str, int, int, str]],
) -> None:
    life = Life()
    sockets = list(life.sockets.values())
    for what, number, socket, name in steps:
        life.step(what, life.all[number], sockets[socket], name)
        life.check()
