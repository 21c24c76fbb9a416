"""A server that takes what InfluxDB 2 and 3 take, by their API references, and parses every line by itself."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from support.web import served

LINE = re.compile(r"(?P<series>(?:[^ \\]|\\.)+) (?P<fields>(?:[^ \"]|\"(?:[^\"\\]|\\.)*\")+) (?P<time>-?\d+)\Z")


@dataclass
class Server:
    """Takes lines, after giving each of `answers` (statuses) once; `poison` is refused wherever it stands.

    `refusal` is the status and the text for that. `expired` (ns): older points are dropped, and all others taken, as
    InfluxDB 2 does with what lies beyond the retention of a bucket.
    """

    token: str
    path: str
    wanted: dict[str, str]
    answers: list[int] = field(default_factory=list)
    poison: str = "\0"
    refusal: tuple[int, str] = (400, "unable to parse")
    expired: int = 0
    url: str = ""
    requests: int = 0
    taken: dict[tuple[str, str], str] = field(default_factory=dict)

    async def take(self, request: web.Request) -> web.Response:
        """A write."""
        self.requests += 1
        if request.path != self.path or dict(request.query) != self.wanted:
            return web.json_response({"message": f"bucket not found: {request.path_qs}"}, status=404)
        if request.headers.get("Authorization") != self.token:
            return web.json_response({"message": "unauthorized access"}, status=401)
        if self.answers:
            return web.json_response({"message": "later"}, status=self.answers.pop(0))
        lines = (await request.text()).split("\n")
        if any(not LINE.match(line) for line in lines):
            return web.json_response({"message": "unable to parse"}, status=400)
        if any(self.poison in line for line in lines):
            return web.json_response({"message": self.refusal[1]}, status=self.refusal[0])
        dropped = 0
        for line in lines:
            found = LINE.match(line)
            assert found is not None
            if int(found["time"]) < self.expired:
                dropped += 1
            else:
                self.taken[found["series"], found["time"]] = found["fields"]
        if dropped:
            text = f"partial write: points beyond retention policy dropped={dropped}"
            return web.json_response(
                {"code": "internal error", "message": f"unexpected error writing points to database: {text}"},
                status=500,
            )
        return web.Response(status=204)


@asynccontextmanager
async def serving(made: Server) -> AsyncIterator[Server]:
    """It listens within the block."""
    async with served(made.take) as made.url:
        yield made
