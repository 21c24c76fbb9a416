"""Which subscriptions use a socket, a stream of ccxt's account, or wait for a result: without a look at all others."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from weakref import WeakKeyDictionary

from tickwire.exchange.ccxt_types import CcxtClient
from tickwire.model.feeds import Feed
from tickwire.streamer.subscriptions.subscription import Subscription


class SocketIndex:
    """Subscriptions by the socket they were last made on, and by the streams they take. Each is in one index at most.

    It follows each subscription that it has (`SubscriptionPlaces`).
    """

    def __init__(self) -> None:
        # Sockets that no subscription refers to any more are not kept.
        self._on: dict[CcxtClient, dict[Subscription, None]] = {}
        self._taking: dict[str, set[Subscription]] = {}

    def add(self, subscription: Subscription) -> None:
        """Have a subscription, which may be on a socket already."""
        subscription.places = self
        self.moved(subscription, None, subscription.client)
        for name in subscription.streams:
            self.took(subscription, name)

    def discard(self, subscription: Subscription) -> None:
        """Have a subscription no more, if this index has it."""
        if subscription.places is not self:
            return
        subscription.places = None
        self.moved(subscription, subscription.client, None)
        for name in subscription.streams:
            taking = self._taking[name]
            taking.discard(subscription)
            if not taking:
                del self._taking[name]

    def on(self, client: CcxtClient) -> Collection[Subscription]:
        """The subscriptions on a socket; they may change while the caller looks at them."""
        return self._on.get(client, {}).keys()

    def takes(self, name: str) -> bool:
        """Whether any subscription takes a stream."""
        return name in self._taking

    def moved(self, subscription: Subscription, before: CcxtClient | None, after: CcxtClient | None) -> None:
        """See `SubscriptionPlaces`."""
        if before is not None:
            del self._on[before][subscription]
            if not self._on[before]:
                del self._on[before]
        if after is not None:
            self._on.setdefault(after, {})[subscription] = None

    def took(self, subscription: Subscription, name: str) -> None:
        """See `SubscriptionPlaces`."""
        self._taking.setdefault(name, set()).add(subscription)


class KeptSubscriptions:
    """Subscriptions that ccxt and the exchange continue though no feed uses them; one of each key."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[Feed, str], Subscription] = {}
        self._index = SocketIndex()

    def __iter__(self) -> Iterator[Subscription]:
        return iter(list(self._by_key.values()))

    def add(self, subscription: Subscription) -> None:
        """Keep a subscription, in place of the one of its key."""
        self.pop(subscription.key)
        self._by_key[subscription.key] = subscription
        self._index.add(subscription)

    def pop(self, key: tuple[Feed, str]) -> Subscription | None:
        """Keep the subscription of a key no more; None if there is none."""
        if (subscription := self._by_key.pop(key, None)) is not None:
            self._index.discard(subscription)
        return subscription

    def on(self, client: CcxtClient) -> Collection[Subscription]:
        """Those on a socket."""
        return self._index.on(client)


class AwaitedResults:
    """By socket and ccxt's name of a result, the subscriptions that wait for it. Sockets are not kept."""

    def __init__(self) -> None:
        self._waiting: WeakKeyDictionary[CcxtClient, dict[str, set[Subscription]]] = WeakKeyDictionary()
        self._names: dict[Subscription, WeakKeyDictionary[CcxtClient, set[str]]] = {}

    def add(self, client: CcxtClient, name: str, subscription: Subscription) -> None:
        """A subscription waits for a result."""
        self._waiting.setdefault(client, {}).setdefault(name, set()).add(subscription)
        self._names.setdefault(subscription, WeakKeyDictionary()).setdefault(client, set()).add(name)

    def of(self, client: CcxtClient, name: str) -> Collection[Subscription]:
        """Those that wait for a result."""
        return (self._waiting.get(client) or {}).get(name, ())

    def discard(self, subscription: Subscription) -> None:
        """A subscription waits for nothing any more."""
        for client, names in self._names.pop(subscription, {}).items():
            by_name = self._waiting[client]
            for name in names:
                by_name[name].discard(subscription)
                if not by_name[name]:
                    del by_name[name]
