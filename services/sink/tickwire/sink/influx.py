"""Writes to an InfluxDB over HTTP: 1.x, 2 and 3 differ in path, authorization and names, and accept the same lines.

Sources: `/write` of InfluxDB 1.8, `/api/v2/write` of 2 and `/api/v3/write_lp` of 3 in InfluxData's API references.
"""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import aiohttp

from tickwire.errors import ConfigError
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.process.backoff import Backoff
from tickwire.redaction import excerpt, hide
from tickwire.settings import SinkSettings
from tickwire.sink import influx_refusals
from tickwire.sink.metrics import SinkMetrics

log = logs.get(__name__)

TIMEOUT_S = 30.0
FIRST_WAIT_S = 0.25
MAX_WAIT_S = 5.0
"""Longest delay between two attempts, and so how soon a database that returned is written to again."""
TRIES = 5
"""Attempts for a single point at which the database fails while it accepts others (some 3 s)."""
SPLIT_TRIES = 2
"""Attempts for several points in that case, before they are split."""
PROBE = "tickwire_probe"
"""The measurement of the point that shows whether the database accepts points at all."""


class Unavailable(Exception):
    """The database did not accept a write now, and may later. `doubtful`: it may never accept these points."""

    def __init__(self, reason: str, *, doubtful: bool = False) -> None:
        super().__init__(reason)
        self.doubtful = doubtful


class Refused(Exception):
    """The database rejects these lines for good; `str()` is the reason."""


class NotPermitted(ConfigError):
    """The database accepts the credentials and denies permission."""


@dataclass(frozen=True)
class Target:
    """Where and how one version of InfluxDB accepts lines."""

    url: str
    params: dict[str, str]
    headers: dict[str, str]


def target(settings: SinkSettings) -> Target:
    """The target of writes. Raises ConfigError, naming the setting that is missing."""
    if settings.url is None:
        raise ConfigError("sink.url is not set", 'set the address of InfluxDB: sink.url = "http://localhost:8086"')
    url, secret = settings.url.rstrip("/"), settings.token.get_secret_value() if settings.token else None
    if settings.version == 1:
        headers = {}
        if settings.username is not None:
            password = settings.password.get_secret_value() if settings.password else ""
            # RFC 7617; the server decodes UTF-8.
            encoded = b64encode(f"{settings.username}:{password}".encode()).decode()
            hide([encoded])
            headers = {"Authorization": f"Basic {encoded}"}
        return Target(f"{url}/write", {"db": settings.database, "precision": "ns"}, headers)
    if secret is None:
        raise ConfigError(f"InfluxDB {settings.version} needs a token", "set TICKWIRE_SINK_TOKEN in the environment")
    if settings.version == 2:
        if settings.org is None:
            raise ConfigError("sink.org is not set", "InfluxDB 2 needs the name of the organization")
        params = {"org": settings.org, "bucket": settings.database, "precision": "ns"}
        return Target(f"{url}/api/v2/write", params, {"Authorization": f"Token {secret}"})
    params = {"db": settings.database, "precision": "nanosecond", "accept_partial": "false"}
    return Target(f"{url}/api/v3/write_lp", params, {"Authorization": f"Bearer {secret}"})


class Influx:
    """A connection to a database. Made by `open_influx`."""

    def __init__(self, settings: SinkSettings, session: aiohttp.ClientSession, metrics: SinkMetrics) -> None:
        self.rejected = 0
        """Lines that the database rejected."""
        self.failures = 0
        """Writes that it did not accept at once."""
        self._refusing = Episode(log, "the database refuses points")
        self._metrics = metrics
        self._settings = settings
        self._target = target(settings)
        self._session = session

    async def check(self) -> None:
        """Check once whether the database permits writes.

        Raises ConfigError if it does not: wrong credentials, no such database or bucket. A database that is unavailable
        or answers anything else is retried when there is something to write.
        """
        try:
            if self._settings.version == 1:
                try:
                    await self._create()
                except NotPermitted:
                    log.debug("not permitted to create the database")
            # Without a line: each version checks the permission first.
            await self._post_lines([])
        except (Unavailable, Refused) as error:
            log.debug("cannot tell whether writes are permitted", reason=str(error))

    async def prepare(self) -> None:
        """Create the database of a 1.x if it does not exist; in 2 and 3 it must be created by hand.

        Only an administrator may, even if it exists. For other users a missing database shows at the first write.
        """
        if self._settings.version == 1:
            try:
                await self._retry_until_accepted(self._create)
            except NotPermitted as error:
                log.info("not permitted to create the database", reason=error.message)

    async def _create(self) -> None:
        await self._post(self._target.url.removesuffix("/write") + "/query", {"q": self._creation}, b"")

    @property
    def _creation(self) -> str:
        return f'CREATE DATABASE "{self._settings.database}"'

    async def write(self, lines: Sequence[str]) -> int:
        """Write lines, and retry for as long as the database is unavailable; returns how many it accepted.

        Lines that it rejects, or fails at while it accepts others, are found and counted in `rejected`, and the others
        written; the first is logged, and the first batch without any. Raises ConfigError when it permits no writes at
        all: wrong credentials, no such database or bucket.
        """
        before = self.rejected
        taken = await self._write(lines, SPLIT_TRIES)
        if self.rejected == before:
            self._refusing.ends()
        return taken

    async def _write(self, lines: Sequence[str], tries: int) -> int:
        try:
            await self._retry_until_accepted(partial(self._post_lines, lines), TRIES if len(lines) == 1 else tries)
        except Refused as error:
            count = 1 if len(lines) == 1 else influx_refusals.dropped(str(error), len(lines))
            if count is None:
                # Lines that were accepted already are overwritten by themselves.
                middle = len(lines) // 2
                return await self._write(lines[:middle], tries) + await self._write(lines[middle:], tries)
            self._count_rejected(count, lines, str(error))
            return len(lines) - count
        return len(lines)

    def _count_rejected(self, count: int, lines: Sequence[str], reason: str) -> None:
        # If the database does not name the line, the oldest is the most likely.
        line = min(lines, key=lambda each: int(each.rpartition(" ")[2]))
        self._refusing.occurs(points=count, line=line[:500], reason=reason)
        self.rejected += count

    async def _post_lines(self, lines: Sequence[str]) -> None:
        await self._post(self._target.url, self._target.params, "\n".join(lines).encode())

    async def _accepts_probe(self) -> bool:
        """Whether the database accepts a point that is certainly valid."""
        try:
            await self._post_lines([f"{PROBE} value=1i {time.time_ns()}"])
        except (Unavailable, Refused):
            return False
        return True

    async def _retry_until_accepted(self, post: Callable[[], Awaitable[None]], tries: int | None = None) -> None:
        """Retry `post` without a time limit: meanwhile the lines wait on the tape.

        Raises Refused when the database rejects the lines, or has failed at them `tries` times and accepts others.
        """
        doubts = 0
        backoff = Backoff(FIRST_WAIT_S, MAX_WAIT_S, at_once=False)
        while True:
            try:
                await post()
                break
            except Unavailable as error:
                self.failures += 1
                if not backoff.failures:
                    log.warning("the database does not accept points", reason=str(error))
                doubts = doubts + 1 if error.doubtful else 0
                if tries is not None and doubts >= tries and await self._accepts_probe():
                    raise Refused(str(error)) from error
            await asyncio.sleep(backoff.next())
        if backoff.failures:
            log.info("the database accepts points again", tries=backoff.failures + 1)

    async def _post(self, url: str, params: dict[str, str], data: bytes) -> None:
        target_ = self._target
        try:
            with self._metrics.writes.time():
                async with self._session.post(url, params=params, data=data, headers=target_.headers) as answer:
                    status, text = answer.status, excerpt(await answer.text(errors="replace"), 500)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(str(error) or repr(error)) from error
        if status < 300:
            return
        if status in (401, 403):
            kind = ConfigError if status == 401 else NotPermitted
            raise kind(f"InfluxDB at {self._settings.url} refuses us ({status}: {text})", _CREDENTIALS)
        if status == 404:
            remedy = "see sink.version, sink.org and sink.database"
            if self._settings.version == 1:
                remedy = f"have an administrator run {self._creation}, or see sink.database and sink.version"
            raise ConfigError(
                f"InfluxDB at {self._settings.url} does not have the database ({text or 'not found'})", remedy
            )
        if influx_refusals.refuses_points(status, text):
            raise Refused(text)
        raise Unavailable(f"{status}: {text}", doubtful=influx_refusals.is_doubtful(status, text))


_CREDENTIALS = "see TICKWIRE_SINK_TOKEN, or TICKWIRE_SINK_USERNAME and TICKWIRE_SINK_PASSWORD"


@asynccontextmanager
async def open_influx(settings: SinkSettings, metrics: SinkMetrics) -> AsyncIterator[Influx]:
    """Open the configured database, which need not be reachable. Raises ConfigError."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
        influx = Influx(settings, session, metrics)
        yield influx
