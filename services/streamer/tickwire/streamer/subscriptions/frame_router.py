"""Routes frames of one exchange to its watched feeds, and reports broken sockets to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from weakref import WeakKeyDictionary

from ccxt.base import errors

from tickwire.exchange.ccxt_patches.caches import Placed, expect_no_candles, forget, stands, state
from tickwire.exchange.ccxt_patches.monotonic_time import use_monotonic_marks
from tickwire.exchange.ccxt_patches.socket_hooks import ClientCalls, Hooks, Uses, attach, observe_calls
from tickwire.exchange.ccxt_patches.socket_push import push_frames
from tickwire.exchange.ccxt_patches.socket_urls import address
from tickwire.exchange.ccxt_patches.stream_places import release_stream
from tickwire.exchange.ccxt_types import CcxtClient, CcxtExchange
from tickwire.model.feeds import Feed
from tickwire.observe import logs
from tickwire.process.turns import Turns
from tickwire.redaction import described
from tickwire.streamer.subscriptions.acknowledgements import Acknowledgements
from tickwire.streamer.subscriptions.frame_decoder import DECODED, PARSED, FrameDecoder, MarketFeeds
from tickwire.streamer.subscriptions.socket_index import AwaitedResults, KeptSubscriptions, SocketIndex
from tickwire.streamer.subscriptions.socket_places import SocketPlaces
from tickwire.streamer.subscriptions.subscription import Subscription, WatchedFeed, arming, is_wanted, leaving
from tickwire.streamer.subscriptions.unified_mapper import Subject, kind_of, subject
from tickwire.venues.profile import BookFacts
from tickwire.venues.registry import dialect_of, profile_of
from tickwire.venues.units import kind_of as kind_of_market

log = logs.get(__name__)


class FrameRouter:
    """Routes the frames of one ccxt.pro exchange, as the `SocketObserver` of its class (`observed_exchange`)."""

    def __init__(self, exchange: CcxtExchange, hooks: Hooks, within_s: float = 10, turns: Turns | None = None) -> None:
        """`within_s`: how long the exchange has to acknowledge a subscription."""
        self.turns = turns or Turns()
        """Bounds how many frames are handled, and feeds subscribed, in one turn of the loop."""
        self.hooks = hooks
        self.dialect = dialect_of(exchange.id)
        self.decodes = hooks.text and self.dialect.decode is not None
        """Whether the dialect reads frames before ccxt does."""
        self.keeps_books = self.decodes and profile_of(exchange.id).book.deltas
        """Whether it reads those of books, too; ccxt keeps them otherwise."""
        if self.decodes:
            expect_no_candles(exchange)
        self.rejected = 0
        """Messages that could not be used."""
        self._exchange = exchange
        facts = profile_of(exchange.id).sockets
        self._acknowledges = facts.acknowledges
        self._facts = facts
        self._places = SocketPlaces(
            facts.subscriptions, lambda: exchange.clients or {}, self._places_on, partial(address, exchange)
        )
        self._acknowledgements = Acknowledgements(self._acknowledges, within_s, self._on)
        self._watched: dict[Subject, WatchedFeed] = {}
        self._unhooked: set[WatchedFeed] = set()
        self._used = SocketIndex()
        """The subscriptions of watched feeds."""
        self._kept = KeptSubscriptions()
        self._markets = MarketFeeds()
        self._awaited = AwaitedResults()
        self._settling: WeakKeyDictionary[CcxtClient, bool] = WeakKeyDictionary()
        """Sockets on which some subscription is made by the URL, without a message."""

    def __iter__(self) -> Iterator[WatchedFeed]:
        return iter(list(self._watched.values()))

    # ---- feeds

    def add(self, watched: WatchedFeed) -> None:
        """Route to a feed from now on. Raises RuntimeError if it is watched already."""
        key = _subject_of(watched.feed)
        if key in self._watched:
            raise RuntimeError(f"{watched.feed} is watched already")
        self._watched[key] = watched
        for each in watched.subscriptions:
            self._used.add(each)
        watched.acknowledged = self._acknowledges is True

    def watched(self, feed: Feed) -> WatchedFeed | None:
        """A feed of this exchange, if it is watched."""
        return self._watched.get(_subject_of(feed))

    def locate(self, watched: WatchedFeed) -> None:
        """Route to a feed by the exchange's own name of its market, too. The markets must be loaded."""
        market = self._exchange.market(watched.feed.symbol)
        is_spot = None if self.dialect.is_spot_url is None else bool(market.get("spot"))
        name = is_spot, watched.feed.kind, self.dialect.market_name(market), watched.feed.timeframe
        self._markets.add(name, watched)

    def remove(self, watched: WatchedFeed) -> None:
        """Stop routing to a feed."""
        if self._is_watched(watched):
            del self._watched[_subject_of(watched.feed)]
        self._unhooked.discard(watched)
        self._markets.remove(watched)
        for each in watched.subscriptions:
            self._release(each)

    def give_up(self, subscription: Subscription) -> None:
        """Have a watched feed go on without one of its subscriptions."""
        watched = subscription.watched
        watched.subscriptions = [each for each in watched.subscriptions if each is not subscription]
        self._release(subscription)
        watched.changed("")

    def _release(self, subscription: Subscription) -> None:
        subscription.end()
        self._used.discard(subscription)
        self._awaited.discard(subscription)

    # ---- subscriptions

    def keep(self, subscription: Subscription) -> None:
        """Remember a subscription that cannot be unsubscribed: it continues until its socket closes."""
        self._kept.add(subscription)

    def resume(self, subscription: Subscription) -> None:
        """Take over what a kept subscription of the same feed has at ccxt."""
        if (kept := self._kept.pop(subscription.key)) is not None:
            subscription.inherit(kept)

    def doubt(self, subscription: Subscription) -> None:
        """Have the feed subscribed anew next time: the exchange was asked to end this one, and did not confirm it.

        What still comes of it is dropped.
        """
        for client, name in subscription.placed | subscription.ending:
            client.subscriptions.pop(name, None)
        self.left(subscription)

    def left(self, subscription: Subscription) -> None:
        """Drop what ccxt keeps of a subscription of which no more data comes."""
        forget(self._exchange, subscription.watched.feed, subscription.name)
        for name, count in subscription.streams.items():
            if not self._used.takes(name):
                release_stream(self._exchange.options, name, count)

    def prune(self) -> None:
        """Drop the kept subscriptions whose sockets have closed."""
        for subscription in self._kept:
            if not stands(self._exchange, subscription.placed):
                self._kept.pop(subscription.key)
                self.left(subscription)

    def renew(self, subscription: Subscription) -> None:
        """Prepare an attempt to subscribe: drop what is left of the subscription before."""
        subscription.renewing = False
        if subscription.is_up:
            return
        feed = subscription.watched.feed
        if feed.kind == "book" and self.keeps_books and self._book_facts(feed).snapshot == "socket":
            # Only a new subscription brings a snapshot.
            for client, name in subscription.placed:
                client.subscriptions.pop(name, None)
        if stands(self._exchange, subscription.placed):
            # ccxt will send nothing, and data may be far off: its cache has the present state.
            if (present := state(self._exchange, feed, subscription.name)) is not None:
                subscription.watched.take_result(None, present, addressed=True)
            return
        subscription.placed.clear()
        forget(self._exchange, feed, subscription.name)
        subscription.watched.mapper.forget()

    def _book_facts(self, feed: Feed) -> BookFacts:
        return profile_of(self._exchange.id).book_of(kind_of_market(self._exchange.market(feed.symbol)))

    def uses(self, client: CcxtClient) -> bool:
        """Whether any feed uses a socket."""
        return bool(self._used.on(client))

    def _on(self, client: CcxtClient) -> list[Subscription]:
        return list(self._used.on(client))

    def _places_on(self, client: CcxtClient) -> list[Collection[Subscription]]:
        return [self._used.on(client), self._kept.on(client)]

    # ---- reported by the exchange (`SocketObserver`)

    def socket_url(self, url: str) -> str:
        """See `SocketObserver.socket_url`."""
        return self._places.url(arming.get() or leaving.get(), url)

    def client_created(self, client: CcxtClient) -> None:
        """Install the hooks on a new socket."""
        use_monotonic_marks(client)
        calls = ClientCalls(
            parsed=partial(self._acknowledgements.parsed, client),
            sending=partial(self._sending, client),
            awaiting=partial(self._awaiting, client),
            # What the loops of a socket send (pings, pongs) subscribes nothing.
            opening=Subscription.leave,
            opened=partial(self._opened, client),
            subscribes=lambda: (arming.get() or leaving.get()) is not None,
            is_wanted=is_wanted,
        )
        bucket, facts = self._exchange.tokenBucket, self._facts
        observe_calls(client, calls, bucket, facts.messages_per_s, facts.opening, facts.combining)
        decode = None
        if self.decodes:
            decoder = FrameDecoder(self.dialect, self._exchange, self._markets, client, self.turns)
            decode = decoder.take
            push_frames(client, self.turns, DECODED, decoder.gather, decoder.deliver)
        else:
            push_frames(client, self.turns, PARSED)
        result = partial(self._take_result, client) if self.hooks.result else None
        attach(client, Uses(decode, result, partial(self.refused, client), partial(self._refuse_unaddressed, client)))

    def client_used(self, client: CcxtClient) -> None:
        """ccxt looked up a socket for the current subscription."""
        subscription = arming.get()
        if subscription is not None and not (subscription.client is client and subscription.is_up):
            subscription.client = client

    def subscribing(self, client: CcxtClient, names: Sequence[str | None], message: object) -> None:
        """ccxt makes the current subscription: by this message unless it has made it already."""
        subscription = arming.get()
        if subscription is None:
            if (ended := leaving.get()) is not None and message:
                ended.ending.update(Placed(client, name) for name in names)
            return
        is_made = all(name in client.subscriptions for name in names)
        subscription.placed.update(Placed(client, name) for name in names)
        if subscription.is_up or (message and not is_made):
            return
        # ccxt sends nothing: it is made by the URL, or was made before.
        if client.isConnected:
            subscription.settle()
        else:
            self._settling[client] = True

    def stream_taken(self, name: str, count: int) -> None:
        """The current subscription takes places in ccxt's account of streams per socket."""
        if (subscription := arming.get()) is not None:
            subscription.take_stream(name, count)

    def socket_lost(self, client: CcxtClient, reason: str) -> None:
        """A socket broke."""
        for each in self._on(client):
            each.down(reason)

    def refused(self, client: CcxtClient, reason: str, request: str | None = None) -> None:
        """A message of a socket could not be used, or was an error: about a request, or about none that is named."""
        self._report(reason, [each for each in self._on(client) if request is None or each.request == request])

    def _report(self, reason: str, concerned: Iterable[Subscription]) -> None:
        self.rejected += 1
        log.warning("a message could not be used", exchange=self._exchange.id, reason=reason)
        for watched in {id(each.watched): each.watched for each in concerned}.values():
            watched.rejected(reason)

    # ---- calls of a socket

    def _sending(self, client: CcxtClient, message: object) -> None:
        subscription = arming.get()
        # A request that waited, or that is sent again, may be of a feed that was stopped meanwhile.
        if subscription is not None and self._is_watched(subscription.watched):
            self._acknowledgements.sending(subscription, client, message)

    def _awaiting(self, client: CcxtClient, name: str) -> None:
        if (subscription := arming.get()) is None:
            return
        subscription.awaited.add(name)
        if self._is_watched(subscription.watched) and self._mentions(str(name), subscription.watched.feed.symbol):
            self._awaited.add(client, name, subscription)

    def _opened(self, client: CcxtClient) -> None:
        if self._settling.get(client):
            for each in self._on(client):
                if not each.is_up and not each.unanswered:
                    each.settle()

    def _refuse_unaddressed(self, client: CcxtClient, error: Exception, reject: Callable[..., object]) -> None:
        """An error frame that refers to no await: fail the subscriptions that it mentions, else those not up yet.

        ccxt would fail every subscription of the socket, though all of them go on. Those not mentioned are retried.
        """
        waiting = [each for each in self._on(client) if not each.is_up]
        mentioned = [each for each in waiting if self._mentions(str(error), each.watched.feed.symbol)]
        self._report(f"the exchange sent the error {described(error)}", mentioned or self._on(client))
        for each in mentioned or waiting:
            for placed in each.placed:
                # ccxt would take it for made, and send nothing at the next attempt.
                if placed.client is client:
                    client.subscriptions.pop(placed.name, None)
            for name in each.awaited & client.futures.keys():
                client.subscriptions.pop(name, None)
                reject(error if mentioned else errors.OperationFailed(str(error)), name)

    def _mentions(self, text: str, symbol: str) -> bool:
        market = (self._exchange.markets or {}).get(symbol) or {}
        names = [re.escape(name) for name in (symbol, market.get("id")) if name]
        return re.search(rf"(?<![\w-])({'|'.join(names)})(?![\w-])", text, re.IGNORECASE) is not None

    # ---- data

    def _take_result(self, client: CcxtClient, result: object, name: str) -> bool:
        """Route a result to the feeds that it is about or that wait for its name; return whether there are any."""
        about = {watched for key in subject(result, self._exchange) if (watched := self._watched.get(key))}
        addressed = self._waiting_for(client, result, name)
        for watched in about | addressed:
            watched.by_hook += watched.take_result(client, result, addressed=watched in addressed)
        if self._unhooked and not about and not addressed:
            for watched in [each for each in self._unhooked if self._is_watched(each)]:
                self._read_cache(client, watched)
        return bool(about or addressed)

    def _waiting_for(self, client: CcxtClient, result: object, name: str) -> set[WatchedFeed]:
        """The feeds that wait for results of this name, if the result is of their kind."""
        waiting = self._awaited.of(client, name)
        if not waiting:
            return set()
        kind = kind_of(result)
        return {
            each.watched
            for each in waiting
            if each.watched.feed.kind == kind and name in each.awaited and self._is_watched(each.watched)
        }

    def take_awaited(self, watched: WatchedFeed, result: object) -> None:
        """Route the result of an await. Where the result hook works, no new trades are expected this way."""
        if not watched.take_result(None, result, addressed=True):
            return
        watched.by_await += 1
        if watched.feed.kind == "trade" and self.hooks.result and not watched.unhooked:
            watched.unhooked = True
            self._unhooked.add(watched)
            log.warning("results bypass the hook", **watched.feed.fields)
            how = "returns trades from its await only: its cache is read with each message"
            watched.rejected(f"ccxt's {self._exchange.id} {how}")

    def _read_cache(self, client: CcxtClient, watched: WatchedFeed) -> None:
        cache = (self._exchange.trades or {}).get(watched.feed.symbol)
        if cache is not None and any(each.client is client for each in watched.subscriptions):
            watched.take_result(client, cache, addressed=True)

    def _is_watched(self, watched: WatchedFeed) -> bool:
        return self._watched.get(_subject_of(watched.feed)) is watched


def _subject_of(feed: Feed) -> Subject:
    return Subject(feed.kind, feed.symbol, feed.timeframe)
