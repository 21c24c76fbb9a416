"""Who gets what the sockets of one exchange say, and who is told when they break."""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any

from ccxt.async_support.base.throttler import Throttler
from ccxt.base import errors

from tickwire import logs
from tickwire.exchange.steady import mark, now_ms
from tickwire.feeds import Feed
from tickwire.streamer import binance
from tickwire.streamer.admission import Admission
from tickwire.streamer.desk import Sink
from tickwire.streamer.hooks import Hooks, Uses, attach
from tickwire.streamer.kept import Placed, forget, stands, state
from tickwire.streamer.unified import Mapper, Subject, kind_of, subject
from tickwire.streamer.watch import described

log = logs.get(__name__)

SETTLE_S = 2.0
"""Where the exchange does not confirm a subscription, it counts as made this long after it was sent, at the latest."""

arming: ContextVar[Part | None] = ContextVar("arming", default=None)
"""The subscription on whose behalf ccxt works in this task, and in those that it starts but for a socket's loops."""


class Part:
    """One subscription of a feed: most have one, a ticker may have its best prices from another."""

    def __init__(self, watched: Watched, name: str) -> None:
        self.watched = watched
        self.name = name
        self.client: Any = None
        """The socket it was last put on."""
        self.request: str | None = None
        """The id of the request that is to be confirmed."""
        self.is_up: bool | None = None
        self.awaited: set[str] = set()
        """ccxt's names of what it waits for since it was last armed."""
        self.placed: set[Placed] = set()
        """The subscriptions that ccxt was to make for it."""
        self.streams: dict[str, int] = {}
        """Of binance: ccxt's names of the streams that it takes a place for, and how many."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def key(self) -> tuple[Feed, str]:
        """What tells it from all others of its exchange."""
        return self.watched.feed, self.name

    def up(self) -> None:
        """Data flows."""
        self._cancel_timer()
        if not self.is_up:
            self.is_up = True
            self.watched.changed("")

    def down(self, reason: str) -> None:
        """Nothing arrives; told once per outage."""
        self._cancel_timer()
        self.request = None
        if self.is_up is not False:
            self.is_up = False
            self.watched.changed(reason)

    def settles(self) -> None:
        """It has been sent, and nobody will confirm it."""
        self._cancel_timer()
        self._timer = asyncio.get_running_loop().call_later(SETTLE_S, self.up)

    def end(self) -> None:
        """No timer of it goes off any more."""
        self._cancel_timer()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Watched:
    """A feed that somebody watches. Calls its sink, and survives what the sink raises."""

    def __init__(self, feed: Feed, sink: Sink, admission: Admission) -> None:
        self.feed = feed
        self.parts: list[Part] = []
        self.mapper = Mapper(feed, self.left_out, self._lost, admission)
        self.by_hook = self.by_await = 0
        """Results with something new that came through the result hook, and that only the await had."""
        self.unhooked = False
        """Whether its results pass the hook unseen: then ccxt's cache is looked into with each result."""
        self.last = now_ms()
        """When the last item came, or the feed was subscribed (ms, monotonic)."""
        self._sink = sink
        self._admission = admission
        self._told: bool | None = None
        """What the sink was told last: connected, or not."""

    def changed(self, reason: str) -> None:
        """A subscription came up or went down, for this reason."""
        if self._told is not True and all(part.is_up for part in self.parts):
            self._told = True
            self.last = now_ms()
            self._call(self._sink.connected)
        elif self._told is not False and any(part.is_up is False for part in self.parts):
            self._told = False
            self._call(self._sink.disconnected, reason)

    def take(self, client: Any, items: Sequence[Any], received: int) -> None:
        """What a socket said, or an await returned (no socket)."""
        for part in self.parts:
            if not part.is_up and (client is None or part.client is client):
                part.up()
        self.last = now_ms()
        try:
            admitted = self._admission.items(self.feed.kind, items, self.left_out)
            if admitted:
                self._sink.take(admitted, received)
        except Exception as error:  # noqa: BLE001
            self.rejected(f"not taken: {error!r}")

    def look(self, client: Any, result: Any, *, addressed: bool) -> bool:
        """Take what is new in a result of ccxt's; whether anything was. `addressed`: see `Mapper.new`."""
        try:
            items = self.mapper.new(result, addressed=addressed)
        except Exception as error:  # noqa: BLE001
            self.rejected(f"{error!r} over {str(result)[:200]}")
            return False
        if items:
            self.take(client, items, int(time.time() * 1000))
        return bool(items)

    def _lost(self, reason: str) -> None:
        # As after a broken connection: what is missing is fetched.
        for part in self.parts:
            part.down(reason)

    def rejected(self, reason: str) -> None:
        """Something that may have concerned it could not be used."""
        self._call(self._sink.rejected, reason)

    def left_out(self, reason: str) -> None:
        """One of its items could not be used, and is missing."""
        self._call(self._sink.left_out, reason)

    def _call(self, told: Callable[..., None], *arguments: str) -> None:
        try:
            told(*arguments)
        except Exception as error:
            log.exception("a sink failed", **self.feed.fields, error=repr(error))


class Sockets:
    """The sockets of one ccxt.pro exchange made by `listening`, and the feeds watched on them."""

    def __init__(self, exchange: Any, hooks: Hooks) -> None:
        self.hooks = hooks
        self.typed = hooks.text and exchange.id in binance.EXCHANGES
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
                binance.release(self._exchange.options, name, count)

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
        typed = self._typed(client) if self.typed else None
        result = partial(self._take_result, client) if self.hooks.result else None
        client.waiting = defaultdict(set)
        reject, future = client.reject, client.future
        attach(
            client,
            Uses(
                typed,
                result,
                lambda reason: self.refused(client, reason),
                lambda error: self._refused_somebody(client, error, reject),
            ),
        )
        # Venues cut sockets that say too much in a second (binance: 5 messages), whatever a minute's budget allows.
        client.throttle = Throttler({**self._exchange.tokenBucket, "algorithm": "leakyBucket"}, client.asyncio_loop)
        send = client.send

        async def sent(message: Any) -> Any:
            part = arming.get()
            if part is not None:
                self._sending(part, message)
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
        if not self.typed and client.isConnected:
            part.settles()

    def _sending(self, part: Part, message: Any) -> None:
        if self._exchange.id in binance.EXCHANGES and isinstance(message, dict) and "id" in message:
            part.request = str(message["id"])
        else:
            part.settles()

    def acknowledged(self, client: Any, request: str) -> None:
        """The exchange confirmed a request."""
        for part in self._on(client):
            if part.request == request:
                part.request = None
                part.up()

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

    def _typed(self, client: Any) -> Callable[[str | bytes, int], bool]:
        is_spot = self._exchange.is_spot_url(client)
        exchange, decode, find = self._exchange.id, binance.decode, self._markets.get

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
                    inverse = bool(self._exchange.markets[symbol].get("inverse"))
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


def listening(kind: type[Any]) -> type[Any]:
    """An exchange class of ccxt.pro whose instances report to their `sockets` (absent: to nobody)."""

    class Listening(kind):  # type: ignore[misc]
        sockets: Sockets | None = None

        def client(self, url: str) -> Any:
            is_new = url not in (self.clients or {})
            client = super().client(url)
            if self.sockets is not None:
                if is_new:
                    self.sockets.made(client)
                self.sockets.used(client)
            return client

        def watch(
            self, url: str, message_hash: Any, message: Any = None, subscribe_hash: Any = None, *more: Any
        ) -> Any:
            self._placing(url, [subscribe_hash])
            return super().watch(url, message_hash, message, subscribe_hash, *more)

        def watch_multiple(
            self, url: str, message_hashes: Any, message: Any = None, subscribe_hashes: Any = None, *more: Any
        ) -> Any:
            self._placing(url, subscribe_hashes or ())
            return super().watch_multiple(url, message_hashes, message, subscribe_hashes, *more)

        def _placing(self, url: str, names: Iterable[Any]) -> None:
            if (part := arming.get()) is not None:
                client = self.client(url)
                part.placed.update(Placed(client, name) for name in names)

        def on_close(self, client: Any, code: Any) -> None:
            super().on_close(client, code)
            if self.sockets is not None:
                self.sockets.lost(client, f"the exchange closed the socket ({code})")

        def on_error(self, client: Any, error: Any) -> None:
            super().on_error(client, error)
            if getattr(client, "last_retry_after", None) and client.url in self.ws_dial_backoff:
                self.ws_dial_backoff[client.url]["asked"] = time.monotonic() + client.last_retry_after
            if self.sockets is not None:
                self.sockets.lost(client, described(error))

        def ws_dial_delay(self, url: str) -> float:
            # ccxt goes up to 30 s per URL; here all sockets together dial once a second at most.
            delay: float = super().ws_dial_delay(url)
            state = self.ws_dial_backoff.get(url) or {}
            if asked := state.get("asked"):
                return float(max(0.0, asked - time.monotonic()))
            return min(delay, max(5.0, len(self.ws_dial_backoff)))

        # ---- binance

        def stream(self, type: Any, subscriptionHash: Any, numSubscriptions: int = 1) -> Any:  # noqa: A002
            if (part := arming.get()) is not None:
                part.streams[subscriptionHash] = numSubscriptions
            return super().stream(type, subscriptionHash, numSubscriptions)

        def handle_subscription_status(self, client: Any, message: Any, *more: Any) -> Any:
            answer = super().handle_subscription_status(client, message, *more)
            if self.sockets is not None and isinstance(message, dict) and "id" in message:
                self.sockets.acknowledged(client, str(message["id"]))
            return answer

        def handle_order_book_subscription(self, client: Any, message: Any, subscription: Any, *more: Any) -> Any:
            if self.sockets is not None and self.sockets.typed:
                # The book is kept by us: no snapshot is needed here.
                return None
            return super().handle_order_book_subscription(client, message, subscription, *more)

        def handle_ws_error(self, client: Any, message: Any, *more: Any) -> Any:
            if self.sockets is None or self.id not in binance.EXCHANGES:
                return super().handle_ws_error(client, message, *more)
            request = message.get("id")
            self.sockets.refused(client, f"the exchange says {message}", None if request is None else str(request))
            if request is None and not str((message.get("error") or {}).get("code")).startswith("5"):
                # Nobody asked: ccxt would fail everything on this socket, though all of it goes on.
                return None
            answer = super().handle_ws_error(client, message, *more)
            for name, subscription in list(client.subscriptions.items()):
                # Refused, so that it has to be asked for again.
                if isinstance(subscription, dict) and str(subscription.get("id")) == str(request):
                    del client.subscriptions[name]
            return answer

    Listening.__name__ = kind.__name__
    return Listening
