"""Exchange classes of ccxt.pro that report what they do to the sockets of their exchange.

What they change:
- `ws_dial_delay`: ccxt delays a connection by up to 30 s after a few failed ones, and all feeds of the URL with it.
- `on_error`: the end of a handshake's `Retry-After` is kept by the monotonic clock; failed connections are counted by
  address, also where each socket has a URL of its own.
- `on_close`, `on_error`: a URL that contains a token is dropped with its socket (`socket_urls`).
- `handle_order_book_subscription`: ccxt fetches a snapshot for a book that the streamer keeps itself.
- `handle_ws_error`: ccxt fails every await of a socket for an error frame that refers to no request, and keeps a
  refused subscription as made.

Upstream: no issue found. The delay is that of https://github.com/ccxt/ccxt/pull/29627.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from tickwire.exchange.ccxt_patches import socket_urls
from tickwire.exchange.ccxt_types import CcxtClient, OpenedExchange
from tickwire.redaction import described
from tickwire.venues.dialect import Dialect

if TYPE_CHECKING:
    from ccxt.async_support.base.exchange import Exchange
else:
    Exchange = object

LONGEST_REDIAL_S = 5.0
"""ccxt delays a connection after a failed one by up to 30 s for each URL. This is the limit, if few URLs fail."""


class SocketObserver(Protocol):
    """What an exchange reports to."""

    dialect: Dialect
    keeps_books: bool
    """Whether the dialect reads the frames of books before ccxt does."""

    def socket_url(self, url: str) -> str:
        """The URL of the socket that the current subscription uses in place of this one."""

    def client_created(self, client: CcxtClient) -> None:
        """A socket was created; it is not open yet."""

    def client_used(self, client: CcxtClient) -> None:
        """A socket was looked up on behalf of the current subscription."""

    def subscribing(self, client: CcxtClient, names: Sequence[str | None], message: object) -> None:
        """These subscriptions are made, by this message unless ccxt has made them already."""

    def stream_taken(self, name: str, count: int) -> None:
        """ccxt's account of streams per socket gives the current subscription so many places."""

    def socket_lost(self, client: CcxtClient, reason: str) -> None:
        """A socket broke or was closed."""

    def refused(self, client: CcxtClient, reason: str, request: str | None = None) -> None:
        """An error frame arrived: about a request, or about none that is named."""


class StreamedExchange(OpenedExchange, Protocol):
    """An exchange of ccxt.pro that reports to an observer: see `ObservedExchange`."""

    observer: SocketObserver | None


class ObservedExchange(Exchange):  # type: ignore[misc]
    """Goes before an exchange class of ccxt.pro among the bases of a class."""

    observer: SocketObserver | None = None

    def client(self, url: str) -> Any:
        url = self._socket_url(url)
        is_new = url not in (self.clients or {})
        client = super().client(url)
        if self.observer is not None:
            if is_new:
                self.observer.client_created(client)
            self.observer.client_used(client)
        return client

    def watch(self, url: str, message_hash: Any, message: Any = None, subscribe_hash: Any = None, *more: Any) -> Any:
        url = self._socket_url(url)
        self._report_subscribing(url, [subscribe_hash], message)
        return super().watch(url, message_hash, message, subscribe_hash, *more)

    def watch_multiple(
        self, url: str, message_hashes: Any, message: Any = None, subscribe_hashes: Any = None, *more: Any
    ) -> Any:
        url = self._socket_url(url)
        self._report_subscribing(url, subscribe_hashes or (), message)
        return super().watch_multiple(url, message_hashes, message, subscribe_hashes, *more)

    def _socket_url(self, url: str) -> str:
        return url if self.observer is None else self.observer.socket_url(url)

    def _report_subscribing(self, url: str, names: Iterable[Any], message: Any) -> None:
        if self.observer is not None:
            self.observer.subscribing(self.client(url), list(names), message)

    def on_connected(self, client: Any, message: Any = None) -> None:
        super().on_connected(client, message)
        self.ws_dial_backoff.pop(socket_urls.address(self, client.url), None)

    def on_close(self, client: Any, code: Any) -> None:
        super().on_close(client, code)
        socket_urls.forget(self, client.url)
        if self.observer is not None:
            self.observer.socket_lost(client, f"the exchange closed the socket ({code})")

    def on_error(self, client: Any, error: Any) -> None:
        address, failed = socket_urls.address(self, client.url), self.ws_dial_backoff or {}
        # ccxt counts failed connections by URL.
        if (before := failed.pop(address, None)) is not None:
            failed[client.url] = before
        super().on_error(client, error)
        failed = self.ws_dial_backoff or {}
        if (state := failed.pop(client.url, None)) is not None:
            if getattr(client, "last_retry_after", None):
                state["asked"] = time.monotonic() + client.last_retry_after
            failed[address] = state
        socket_urls.forget(self, client.url)
        if self.observer is not None:
            self.observer.socket_lost(client, described(error))

    def ws_dial_delay(self, url: str) -> float:
        address = socket_urls.address(self, url)
        delay: float = super().ws_dial_delay(address)
        state = self.ws_dial_backoff.get(address) or {}
        if asked := state.get("asked"):
            return float(max(0.0, asked - time.monotonic()))
        # All sockets together connect at most once a second.
        return min(delay, max(LONGEST_REDIAL_S, len(self.ws_dial_backoff)))

    # ---- methods that only some exchange classes call

    def stream(self, type: Any, subscriptionHash: Any, numSubscriptions: int = 1) -> Any:  # noqa: A002
        if self.observer is not None:
            self.observer.stream_taken(subscriptionHash, numSubscriptions)
        return super().stream(type, subscriptionHash, numSubscriptions)

    def handle_order_book_subscription(self, client: Any, message: Any, subscription: Any, *more: Any) -> Any:
        if self.observer is not None and self.observer.keeps_books:
            # The book is kept by the streamer: ccxt need not fetch a snapshot.
            return None
        return super().handle_order_book_subscription(client, message, subscription, *more)

    def handle_ws_error(self, client: Any, message: Any, *more: Any) -> Any:
        read = None if self.observer is None else self.observer.dialect.refusal
        if self.observer is None or read is None:
            return super().handle_ws_error(client, message, *more)
        request, is_general = read(message)
        self.observer.refused(client, f"the exchange sent {message}", request)
        if request is None and not is_general:
            # It refuses no request: ccxt would fail every subscription of the socket, though all of them go on.
            return None
        answer = super().handle_ws_error(client, message, *more)
        for name, subscription in list(client.subscriptions.items()):
            # The refused subscription must be requested again.
            if isinstance(subscription, dict) and str(subscription.get("id")) == str(request):
                del client.subscriptions[name]
        return answer


def observed(kind: type[Any]) -> type[Any]:
    """A class of ccxt.pro whose instances report to their `observer`; to none while that is None."""
    return type(kind.__name__, (ObservedExchange, kind), {})
