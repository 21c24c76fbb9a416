"""What happens to one connection: nats-py's callbacks, logged, repaired or raised in the block of `connect`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import nats.errors

from tickwire.bus import security
from tickwire.errors import BrokerUnavailable, Forbidden
from tickwire.model import broker_urls
from tickwire.observe import logs
from tickwire.observe.episodes import QUIET_S, Episode, Episodes
from tickwire.redaction import hide
from tickwire.settings import NatsSettings

if TYPE_CHECKING:
    from tickwire.bus.connection import Bus

log = logs.get(__name__)

COMPLAINTS = 50
"""Errors of the broker that are distinguished, so that each is logged once per episode."""

UrlSource = str | Callable[[], str]
"""The broker's URL, or a function that returns it: called again when the connection is lost."""


class ConnectionEvents:
    """Reacts to the events of one connection. `failed` gets the exception that must end the block of `connect`."""

    def __init__(self, bus: Bus, settings: NatsSettings, source: UrlSource, url: str) -> None:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.refusals: list[Exception] = []
        """Why the newest attempt to connect failed."""
        self.established = False
        """Whether the connection was made and is wanted: before and after, its end is no event."""
        self._bus = bus
        self._settings = settings
        self._source = source
        self._url = url
        self._complaints = Episodes(log, "an error of the connection to the broker", most=COMPLAINTS)
        self._unanswered = Episode(log, "a reply is not permitted", quiet_s=QUIET_S)
        self._slow = Episode(log, "a subscription is too slow, and messages are dropped", quiet_s=QUIET_S)

    async def on_error(self, error: Exception) -> None:
        """Classify an error: of permissions, of a callback, of a slow subscription, or of the connection."""
        if (denied := security.denied(error, self._settings, self._url)) is not None:
            if security.is_reply(error):
                self._unanswered.occurs(error=str(denied))
            else:
                self._fail(denied)
        elif not isinstance(error, nats.errors.Error | OSError | TimeoutError):
            # A bug in a callback.
            self._fail(error)
        elif isinstance(error, nats.errors.SlowConsumerError):
            # One for each dropped message.
            self._slow.occurs(subject=error.subject)
            self._bus.resync()
        elif self._bus.client.is_connected:
            self._complain(error)
        else:
            self._on_refused(error)

    async def on_disconnect(self) -> None:
        """Record that the connection is lost, and follow a broker that moved."""
        self._bus.lost.set()
        self._bus.disconnects += 1
        if self.established:
            log.warning("disconnected from the broker", url=self._bus.url)
            self._is_still_there()

    async def on_reconnect(self) -> None:
        """Record that the connection is back: subscriptions may have missed messages."""
        self._bus.lost.clear()
        self._bus.publisher.forget()
        log.info("connected to the broker again", url=self._bus.url)
        self._bus.resync()

    async def on_closed(self) -> None:
        """Fail when nats-py gave up: the broker may refuse for ever; a new process reads the settings again."""
        if self.established:
            error = self._bus.client.last_error or nats.errors.ConnectionClosedError()
            self._fail(security.refused(error, self._settings, self._url))

    def _fail(self, error: Exception) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    def _complain(self, error: Exception) -> None:
        if isinstance(error, nats.errors.UnexpectedEOF):
            # The disconnection is logged next.
            return
        text = repr(error)
        self._complaints.occurs(text[:200], error=text)

    def _on_refused(self, error: Exception) -> None:
        self.refusals[:] = [error]
        if not self.established or not self._is_still_there():
            return
        if isinstance(refusal := security.refused(error, self._settings, self._url), Forbidden):
            # nats-py would retry it for ever.
            self._fail(refusal)

    def _is_still_there(self) -> bool:
        """Whether the broker is at the URL that is tried. One that moved is tried at its new URL from now on.

        Before it is up again another broker may have its old port, and refuse us.
        """
        if not callable(self._source):
            return True
        try:
            found = self._source()
        except BrokerUnavailable:
            return False
        if found == self._url or not broker_urls.are_valid(found):
            return True
        log.warning("the broker has moved", url=broker_urls.without_credentials(found))
        hide(filter(None, [broker_urls.token_of(found)]))
        self._url, self._bus.url = found, broker_urls.without_credentials(found)
        self._bus.client.set_server_pool(broker_urls.split(found))
        return False
