"""Who gets what the sockets of one exchange say, and who is told when they break."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from ccxt.async_support.base.throttler import Throttler
from ccxt.base import errors

from tickwire.exchange.ccxt_patches import mark
from tickwire.exchange.ccxt_streams import release_stream
from tickwire.model.feeds import Feed
from tickwire.observe import logs
from tickwire.redaction import described
from tickwire.streamer.subscriptions.acknowledgement import acknowledges, request_id
from tickwire.streamer.subscriptions.ccxt_state import Placed, forget, stands, state
from tickwire.streamer.subscriptions.hooks import Hooks, Uses, attach
from tickwire.streamer.subscriptions.subscription import Part, Watched, arming
from tickwire.streamer.subscriptions.unified_mapper import Subject, kind_of, subject
from tickwire.venues.registry import dialect_of, profile_of

log = logs.get(__name__)

LONGEST_S = 60.0
"""The longest that an acknowledgement is waited for: twice as long after each time that none came."""
SOCKET_EVERY = 3
"""After so many subscriptions in a row without an answer, the next one is on a new socket, unless others need this."""


class FrameRouter:
    """The sockets of one ccxt.pro exchange made by `listening`, and the feeds watched on them."""

    def __init__(self, exchange: Any, hooks: Hooks, within_s: float = 10.0) -> None:
        """`within_s`: how long an exchange has to acknowledge a subscription."""
        self.hooks = hooks
        self._within_s = within_s
        self._acknowledges = profile_of(exchange.id).sockets.acknowledges
        self.dialect = dialect_of(exchange.id)
        self.decodes = hooks.text and self.dialect.decode is not None
        """Whether the dialect reads frames before ccxt does."""
        self.rejected = 0
        """Messages that could not be used."""
        self._exchange = exchange
        self._watched: dict[Subject, Watched] = {}
        self._unhooked: set[Watched] = set()
        self._kept: dict[tuple[Feed, str], Part] = {}
        """What ccxt goes on with though nobody watches it any more."""
        self._markets: dict[tuple[bool, str, str, str | None], Watched] = {}
        """By whether it is spot, kind, the exchange's id of the market, and timeframe."""

    def __iter__(self) -> Iterator[Watched]:
        return iter(list(self._watched.values()))

    def add(self, watched: Watched) -> None:
        """Give it from now on what concerns it. Raises RuntimeError where it is watched already."""
        key = _subject_of(watched.feed)
        if key in self._watched:
            raise RuntimeError(f"{watched.feed} is watched already")
        self._watched[key] = watched
        watched.acknowledged = self._acknowledges is True

    def locate(self, watched: Watched) -> None:
        """Find it by the exchange's own id too, once the markets are known."""
        market = self._exchange.market(watched.feed.symbol)
        is_spot = bool(market.get("spot"))
        self._markets[is_spot, watched.feed.kind, market["id"], watched.feed.timeframe] = watched

    def remove(self, watched: Watched) -> None:
        """Give it nothing any more."""
        self._watched = {key: each for key, each in self._watched.items() if each is not watched}
        self._unhooked.discard(watched)
        for market in [market for market, each in self._markets.items() if each is watched]:
            # In place: the decoders of the open sockets look into it.
            del self._markets[market]
        for part in watched.parts:
            part.end()
        for client in (self._exchange.clients or {}).values():
            for waiting in client.waiting.values():
                waiting.difference_update(watched.parts)

    def keep(self, part: Part) -> None:
        """It is left, and cannot be unsubscribed: ccxt and the exchange go on with it until its socket closes."""
        self._kept[part.key] = part

    def left(self, part: Part) -> None:
        """It is left, and no socket says anything of it any more: have ccxt keep nothing of it."""
        forget(self._exchange, part.watched.feed, part.name)
        others = {name for watched in self for each in watched.parts for name in each.streams}
        for name, count in part.streams.items():
            if name not in others:
                release_stream(self._exchange.options, name, count)

    def prune(self) -> None:
        """Forget what went with its socket."""
        for key, part in list(self._kept.items()):
            if not stands(self._exchange, part.placed):
                del self._kept[key]
                self.left(part)

    def resume(self, part: Part) -> None:
        """It is watched, perhaps again."""
        if (kept := self._kept.pop(part.key, None)) is not None:
            part.placed, part.streams = kept.placed, kept.streams

    def uses(self, client: Any) -> bool:
        """Whether anything is watched on a socket."""
        return bool(self._on(client))

    # ---- told by ccxt

    def made(self, client: Any) -> None:
        """A socket was made: put the hooks on it."""
        mark(client)
        typed = self._decoder(client) if self.decodes else None
        result = partial(self._take_result, client) if self.hooks.result else None
        client.waiting = defaultdict(set)
        client.unacknowledged = set()
        client.is_wordless = False
        reject, future, parse = client.reject, client.future, client.handle_text_or_binary_message

        def parsed(data: str | bytes) -> None:
            parse(data)
            if client.unacknowledged:
                self._heard(client, data)

        client.handle_text_or_binary_message = parsed
        attach(
            client,
            Uses(
                typed,
                result,
                lambda reason: self.refused(client, reason),
                lambda error: self._refused_somebody(client, error, reject),
            ),
        )
        # Venues close sockets that send too much in a second (some: 5 messages), whatever a minute's budget allows.
        client.throttle = Throttler({**self._exchange.tokenBucket, "algorithm": "leakyBucket"}, client.asyncio_loop)
        send = client.send

        async def sent(message: Any) -> Any:
            part = arming.get()
            if part is not None:
                self._sending(part, client, message)
            return await send(message)

        client.send = sent

        def awaited(name: Any) -> Any:
            part = arming.get()
            if part is not None:
                part.awaited.add(name)
                if self._names(str(name), part.watched.feed.symbol):
                    client.waiting[name].add(part)
            return future(name)

        client.future = awaited
        connect = client.open

        async def opened(*arguments: Any) -> None:
            # Whoever opens it starts its loops: what they send, pings and pongs, subscribes nobody.
            arming.set(None)
            await connect(*arguments)
            if client.error:
                # It was given up while it was being opened.
                await client.close()
            elif client.is_wordless:
                for part in self._on(client):
                    if not part.is_up and not part.unanswered:
                        part.settles()

        client.open = opened

    def renew(self, part: Part) -> None:
        """It is about to be armed: where it has to be subscribed, have nothing left of what was there before."""
        if part.is_up:
            return
        if stands(self._exchange, part.placed):
            # Nothing is sent, and nothing may come for long: what ccxt has gone on with is the present state.
            if (present := state(self._exchange, part.watched.feed, part.name)) is not None:
                part.watched.look(None, present, addressed=True)
            return
        part.placed.clear()
        forget(self._exchange, part.watched.feed, part.name)
        part.watched.mapper.forget()

    def used(self, client: Any) -> None:
        """ccxt looks up a socket: for the subscription that it works for."""
        part = arming.get()
        if part is None or (part.client is client and part.is_up):
            return
        part.client = client

    def placing(self, part: Part, client: Any, names: Sequence[Any], message: Any) -> None:
        """ccxt is about to make these subscriptions, with this message unless it has made them already."""
        is_made = all(name in client.subscriptions for name in names)
        part.placed.update(Placed(client, name) for name in names)
        if part.is_up or (message and not is_made):
            return
        # Nothing will be sent: it is made by the URL, or was made before.
        if client.isConnected:
            part.settles()
        else:
            client.is_wordless = True

    # ---- acknowledgement

    def _sending(self, part: Part, client: Any, message: Any) -> None:
        if part.is_up:
            return
        if self._acknowledges is False:
            part.settles()
            return
        within_s = self._within_s
        if part.late:
            within_s = min(LONGEST_S, within_s * 2.0 ** min(part.late, 30)) * random.uniform(0.75, 1.0)
        client.unacknowledged.add(part)
        part.sent(message, request_id(message), within_s, partial(self._late, part, client, within_s))

    def _heard(self, client: Any, data: str | bytes) -> None:
        """A frame that may acknowledge a subscription; ccxt has taken it, and raised what refuses one."""
        client.unacknowledged = {
            part for part in client.unacknowledged if part.unanswered and part.client is client and not part.is_up
        }
        for part in list(client.unacknowledged):
            if any(acknowledges(sent, data) for sent in part.unanswered):
                part.up()

    def _late(self, part: Part, client: Any, within_s: float) -> None:
        """Neither data nor the exchange's word came in time: have it subscribed again."""
        part.late += 1
        reason = f"the exchange did not acknowledge the subscription within {within_s:.3g} s"
        part.down(reason)
        names = part.awaited & client.futures.keys()
        is_alone = not any(each.is_up for each in self._on(client))
        if not names or (is_alone and part.late % SOCKET_EVERY == 0):
            # It may be the socket that is deaf.
            client.on_error(errors.RequestTimeout(reason))
            return
        for placed in part.placed:
            if placed.client is client:
                client.subscriptions.pop(placed.name, None)
        for name in names:
            client.reject(errors.RequestTimeout(reason), name)

    def lost(self, client: Any, reason: str) -> None:
        """A socket broke."""
        for part in self._on(client):
            part.down(reason)

    def refused(self, client: Any, reason: str, request: str | None = None) -> None:
        """A message on a socket could not be used, or was an error: about a request, or nobody knows what."""
        self.rejected += 1
        log.warning("a message could not be used", exchange=self._exchange.id, reason=reason)
        parts = [part for part in self._on(client) if request is None or part.request == request]
        for watched in {id(part.watched): part.watched for part in parts}.values():
            watched.rejected(reason)

    def _refused_somebody(self, client: Any, error: Any, reject: Callable[[Any, str], Any]) -> None:
        """The exchange says that something is wrong: what is not up yet fails, those that it names where it names some.

        ccxt would fail everything on the socket, though all of it goes on. What is not named is tried again.
        """
        self.refused(client, f"the exchange says {described(error)}")
        waiting = [part for part in self._on(client) if not part.is_up]
        named = [part for part in waiting if self._names(str(error), part.watched.feed.symbol)]
        for part in named or waiting:
            for name in part.awaited & client.futures.keys():
                client.subscriptions.pop(name, None)
                reject(error if named else errors.OperationFailed(str(error)), name)

    def _names(self, said: str, symbol: str) -> bool:
        market = (self._exchange.markets or {}).get(symbol) or {}
        words = [re.escape(word) for word in (symbol, market.get("id")) if word]
        return re.search(rf"(?<![\w-])({'|'.join(words)})(?![\w-])", said, re.IGNORECASE) is not None

    def _on(self, client: Any) -> list[Part]:
        return [part for watched in self for part in watched.parts if part.client is client]

    # ---- data

    def _decoder(self, client: Any) -> Callable[[str | bytes, int], bool]:
        is_spot = self.dialect.is_spot_url(client.url)
        exchange, decode, find = self._exchange.id, self.dialect.decode, self._markets.get
        assert decode is not None

        def take(data: str | bytes, received: int) -> bool:
            said = decode(data if isinstance(data, str) else data.decode())
            if said is None:
                return False
            kind, market, item, timeframe = said
            watched = find((is_spot, kind, market, timeframe))
            # Of what nobody watches any more, ccxt must not keep any either.
            if watched is not None:
                if kind == "candle":
                    symbol = watched.feed.symbol
                    inverse = bool((self._exchange.markets.get(symbol) or {}).get("inverse"))
                    item = item.candle(exchange, symbol, inverse=inverse)
                watched.take(client, (item,), received)
            return True

        return take

    def _take_result(self, client: Any, result: Any, name: Any) -> bool:
        """Give a result to whom it is about, and to whom ccxt names it for; whether anybody takes it."""
        about = {watched for key in subject(result, self._exchange) if (watched := self._watched.get(key))}
        named = self._named(client, result, name)
        for watched in about | named:
            watched.by_hook += watched.look(client, result, addressed=watched in named)
        if self._unhooked and not about and not named:
            for watched in [each for each in self._unhooked if self._is_watched(each)]:
                self._look_up(client, watched)
        return bool(about or named)

    def _named(self, client: Any, result: Any, name: Any) -> set[Watched]:
        """The feeds whose subscription waits for results of this name, where this is one of their kind."""
        waiting = client.waiting.get(name)
        if not waiting:
            return set()
        kind = kind_of(result)
        return {
            part.watched
            for part in waiting
            if part.watched.feed.kind == kind and name in part.awaited and self._is_watched(part.watched)
        }

    def awaited(self, watched: Watched, result: Any) -> None:
        """An await of a feed returned. Where the result hook works, no trades are to come this way."""
        if not watched.look(None, result, addressed=True):
            return
        watched.by_await += 1
        if watched.feed.kind == "trade" and self.hooks.result and not watched.unhooked:
            watched.unhooked = True
            self._unhooked.add(watched)
            reason = f"ccxt's {self._exchange.id} hands trades to its await alone: its cache is read with each message"
            log.warning("results pass the hook unseen", **watched.feed.fields)
            watched.rejected(reason)

    def _look_up(self, client: Any, watched: Watched) -> None:
        cache = (self._exchange.trades or {}).get(watched.feed.symbol)
        if cache is not None and any(part.client is client for part in watched.parts):
            watched.look(client, cache, addressed=True)

    def _is_watched(self, watched: Watched) -> bool:
        return self._watched.get(_subject_of(watched.feed)) is watched


def _subject_of(feed: Feed) -> Subject:
    return Subject(feed.kind, feed.symbol, feed.timeframe)
