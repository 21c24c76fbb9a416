"""Whether a client's sockets are within the rules of their venue. No I/O."""

from __future__ import annotations

import time
from collections import deque

from tickwire.simulator.rules import Rules, RulesInForce
from tickwire.simulator.sockets.socket import Socket


class Limits:
    """Counts the messages of sockets, and knows when sockets end and which venues have banned their client."""

    def __init__(self, rules: RulesInForce) -> None:
        self._rules = rules
        self._banned: dict[str, float] = {}

    def rules(self, socket: Socket) -> Rules:
        """Return the rules in force for a socket."""
        return self._rules.of(socket.venue)

    def banned(self, venue: str) -> bool:
        """Return whether a venue refuses its client's requests and sockets now."""
        return time.monotonic() < self._banned.get(venue, 0.0)

    def admits(self, socket: Socket) -> bool:
        """Count a message of a client; return whether it is within the limit. One that is not may begin a ban."""
        rules, now = self.rules(socket), time.monotonic()
        socket.heard_at = now
        if rules.messages is None:
            return True
        heard: deque[float] = socket.heard
        while heard and now - heard[0] >= rules.messages_s:
            heard.popleft()
        if len(heard) < rules.messages:
            heard.append(now)
            return True
        if rules.ban_s:
            self._banned[socket.venue] = now + rules.ban_s
        return False

    def hears(self, socket: Socket, message: str | bytes) -> bool:
        """Return whether a message is short enough for the venue to be carried out."""
        most = self.rules(socket).message_bytes
        return most is None or len(message if isinstance(message, bytes) else message.encode()) <= most

    def full(self, socket: Socket, more: int) -> bool:
        """Return whether `more` subscriptions exceed the limit for one socket."""
        most = self.rules(socket).subscriptions
        return most is not None and len(socket.names) - len(socket.unasked) + more > most

    def left_s(self, socket: Socket) -> float | None:
        """Return how long a socket may stay open from now on (s); None without end."""
        rules = self.rules(socket)
        ends = [
            since + seconds
            for since, seconds in ((socket.opened_at, rules.lifetime_s), (socket.heard_at, rules.idle_s))
            if seconds is not None
        ]
        return min(ends) - time.monotonic() if ends else None
