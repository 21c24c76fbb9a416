"""REST requests: from a call to a reply of its venue, as faults change it. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from tickwire.simulator.answers import Answer, Query, Refused
from tickwire.simulator.directory import Directory
from tickwire.simulator.faults import Faults, Hit
from tickwire.simulator.market.exchange import Exchange
from tickwire.simulator.venue import Request, Usage, Venue

_encode = msgspec.json.encode


class Call(Struct, frozen=True):
    """An HTTP request."""

    method: str
    host: str
    path: str
    query: Query
    query_string: str
    sent: str
    """The body, as text."""
    origin: str

    @property
    def target(self) -> str:
        """`/host/path?query`, with the body after the query."""
        words = self.query_string + self.sent
        return f"/{self.host}/{self.path}?{words}" if words else f"/{self.host}/{self.path}"


class Reply(Struct, frozen=True):
    """An HTTP response."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}
    content_type: str = "application/json"


NOT_FOUND = Reply(404, b"<html><body><h2>404 Not found</h2></body></html>", content_type="text/html")


class Rest:
    """The REST endpoints of all venues, and what their clients used of the rate limits."""

    def __init__(
        self, exchange: Exchange, directory: Directory, faults: Faults, banned: Callable[[str], bool], limit: int | None
    ) -> None:
        self._exchange = exchange
        self._directory = directory
        self._faults = faults
        self._banned = banned
        self._limit = limit
        self._weights: dict[tuple[str, int], int] = {}

    def reply(self, venue: Venue, call: Call, hit: Hit | None) -> Reply:
        """Answer a call, with a fault that hits it."""
        now, status = self._exchange.clock.now(), 200
        try:
            found = self._found(venue, call, now)
            if found is None:
                return NOT_FOUND
            found = hit.changed(found) if hit else found
            weight, body = found.weight, _encode(venue.body(found.value(), now))
        except Refused as refused:
            weight, status, body = 1, refused.status or venue.refusal_status, _encode(venue.error(refused, now))
        if hit and hit.fault.kind == "truncated":
            body = body[: len(body) // 2]
        usage = self._usage(call.host, weight)
        if usage.exceeded or self._banned(venue.name):
            refusal = venue.too_many_requests(usage.limit or 0)
            status, body = refusal.status or venue.refusal_status, _encode(venue.error(refusal, now))
        return Reply(status, body, venue.usage_headers(usage))

    def _found(self, venue: Venue, call: Call, now: int) -> Answer | None:
        """Return the answer of the venue's endpoint; None where there is no such endpoint. Raises Refused."""
        found = self._directory.endpoint(venue, call.method, call.path)
        if found is None:
            return None
        endpoint, named = found
        return endpoint(
            Request(
                exchange=self._exchange,
                now=now,
                target=call.target,
                query={**call.query, **named},
                body=_json(call.sent),
                origin=call.origin,
                faults=self._faults,
                tokens=self._directory.tokens[venue.name],
            )
        )

    def _usage(self, host: str, weight: int) -> Usage:
        second = int(time.time())
        minute = second // 60
        used = self._weights.get((host, minute), 0) + weight
        if used == weight:
            self._weights = {key: value for key, value in self._weights.items() if key[1] == minute}
        self._weights[host, minute] = used
        return Usage(used, self._limit, 60 - second % 60)


def _json(text: str) -> Any:
    """Return the JSON value of a body; None where it is no JSON."""
    try:
        return msgspec.json.decode(text) if text else None
    except msgspec.DecodeError:
        return None
