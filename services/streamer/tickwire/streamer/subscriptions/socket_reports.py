"""Exchange classes of ccxt.pro that report what they do to the sockets of their exchange."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from tickwire.redaction import described
from tickwire.streamer.subscriptions.frame_router import FrameRouter
from tickwire.streamer.subscriptions.subscription import arming


def listening(kind: type[Any]) -> type[Any]:
    """An exchange class of ccxt.pro whose instances report to their `router` (absent: to nobody)."""

    class Listening(kind):  # type: ignore[misc]
        router: FrameRouter | None = None

        def client(self, url: str) -> Any:
            is_new = url not in (self.clients or {})
            client = super().client(url)
            if self.router is not None:
                if is_new:
                    self.router.made(client)
                self.router.used(client)
            return client

        def watch(
            self, url: str, message_hash: Any, message: Any = None, subscribe_hash: Any = None, *more: Any
        ) -> Any:
            self._placing(url, [subscribe_hash], message)
            return super().watch(url, message_hash, message, subscribe_hash, *more)

        def watch_multiple(
            self, url: str, message_hashes: Any, message: Any = None, subscribe_hashes: Any = None, *more: Any
        ) -> Any:
            self._placing(url, subscribe_hashes or (), message)
            return super().watch_multiple(url, message_hashes, message, subscribe_hashes, *more)

        def _placing(self, url: str, names: Iterable[Any], message: Any) -> None:
            if self.router is not None and (part := arming.get()) is not None:
                self.router.placing(part, self.client(url), list(names), message)

        def on_close(self, client: Any, code: Any) -> None:
            super().on_close(client, code)
            if self.router is not None:
                self.router.lost(client, f"the exchange closed the socket ({code})")

        def on_error(self, client: Any, error: Any) -> None:
            super().on_error(client, error)
            if getattr(client, "last_retry_after", None) and client.url in self.ws_dial_backoff:
                self.ws_dial_backoff[client.url]["asked"] = time.monotonic() + client.last_retry_after
            if self.router is not None:
                self.router.lost(client, described(error))

        def ws_dial_delay(self, url: str) -> float:
            # ccxt goes up to 30 s per URL; here all sockets together dial once a second at most.
            delay: float = super().ws_dial_delay(url)
            state = self.ws_dial_backoff.get(url) or {}
            if asked := state.get("asked"):
                return float(max(0.0, asked - time.monotonic()))
            return min(delay, max(5.0, len(self.ws_dial_backoff)))

        def stream(self, type: Any, subscriptionHash: Any, numSubscriptions: int = 1) -> Any:  # noqa: A002
            if (part := arming.get()) is not None:
                part.streams[subscriptionHash] = numSubscriptions
            return super().stream(type, subscriptionHash, numSubscriptions)

        def handle_order_book_subscription(self, client: Any, message: Any, subscription: Any, *more: Any) -> Any:
            if self.router is not None and self.router.decodes:
                # The book is kept by us: no snapshot is needed here.
                return None
            return super().handle_order_book_subscription(client, message, subscription, *more)

        def handle_ws_error(self, client: Any, message: Any, *more: Any) -> Any:
            read = None if self.router is None else self.router.dialect.refusal
            if self.router is None or read is None:
                return super().handle_ws_error(client, message, *more)
            request, is_general = read(message)
            self.router.refused(client, f"the exchange sent {message}", request)
            if request is None and not is_general:
                # It refuses no request: ccxt would fail every subscription of the socket, though all of them go on.
                return None
            answer = super().handle_ws_error(client, message, *more)
            for name, subscription in list(client.subscriptions.items()):
                # Refused, so that it has to be asked for again.
                if isinstance(subscription, dict) and str(subscription.get("id")) == str(request):
                    del client.subscriptions[name]
            return answer

    Listening.__name__ = kind.__name__
    return Listening
