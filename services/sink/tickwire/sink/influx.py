"""An InfluxDB over HTTP: 1.x, 2 and 3 differ in path, authorization and names, and take the same lines.

Sources: `/write` of InfluxDB 1.8, `/api/v2/write` of 2 and `/api/v3/write_lp` of 3 in InfluxData's API references.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import aiohttp
import stamina

from tickwire.errors import ConfigError
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.redaction import excerpt, hide
from tickwire.settings import SinkSettings
from tickwire.sink import influx_refusals
from tickwire.sink.metrics import SinkMetrics

log = logs.get(__name__)

TIMEOUT_S = 30.0
MAX_WAIT_S = 5.0
"""The longest pause between two tries, and so how soon after its return a database is written to again."""


TRIES = 5
"""How often a point is sent that the database fails at by itself, while it takes others (some 3 s)."""
PIECE_TRIES = 2
"""How often a batch's piece of several points is sent then, before it is split."""
PROBE = "tickwire_probe"
"""The measurement of the point that shows whether the database takes points at all."""


class Unavailable(Exception):
    """The database did not take it now, and may later. `doubtful`: or it cannot take these points."""

    def __init__(self, reason: str, *, doubtful: bool = False) -> None:
        super().__init__(reason)
        self.doubtful = doubtful


class Refused(Exception):
    """The database does not want these lines, now or later; `str()` says why."""


class NotPermitted(ConfigError):
    """The database knows who we are, and does not let us."""


@dataclass(frozen=True)
class Target:
    """How one version of InfluxDB is written to."""

    url: str
    params: dict[str, str]
    headers: dict[str, str]


def target(settings: SinkSettings) -> Target:
    """Where lines go. Raises ConfigError, naming the setting that is missing."""
    if settings.url is None:
        raise ConfigError("sink.url is not set", 'say where InfluxDB is: sink.url = "http://localhost:8086"')
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
        raise ConfigError(f"InfluxDB {settings.version} wants a token", "set TICKWIRE_SINK_TOKEN in the environment")
    if settings.version == 2:
        if settings.org is None:
            raise ConfigError("sink.org is not set", "InfluxDB 2 wants the name of the organization")
        params = {"org": settings.org, "bucket": settings.database, "precision": "ns"}
        return Target(f"{url}/api/v2/write", params, {"Authorization": f"Token {secret}"})
    params = {"db": settings.database, "precision": "nanosecond", "accept_partial": "false"}
    return Target(f"{url}/api/v3/write_lp", params, {"Authorization": f"Bearer {secret}"})


class Influx:
    """A database that is written to. Made by `open_influx`."""

    def __init__(self, settings: SinkSettings, session: aiohttp.ClientSession, metrics: SinkMetrics) -> None:
        self.rejected = 0
        """Lines that it refused."""
        self.failures = 0
        """Writes that it did not take at once."""
        self._refusing = Episode(log, "the database refuses points")
        self._metrics = metrics
        self._settings = settings
        self._target = target(settings)
        self._session = session

    async def check(self) -> None:
        """Ask once whether the database lets us write, before anybody counts on it.

        Raises ConfigError where it does not: wrong credentials, no such database or bucket. One that is away, or
        answers something else, is waited for when there is something to write.
        """
        try:
            if self._settings.version == 1:
                try:
                    await self._create()
                except NotPermitted:
                    log.debug("the database is not ours to make")
            # Without a line: what may write is asked first, by each version.
            await self._lines([])
        except (Unavailable, Refused) as error:
            log.debug("the database does not say whether we may write", reason=str(error))

    async def prepare(self) -> None:
        """Make the database of a 1.x where it is absent; the others want theirs made by hand.

        Only an administrator may, even where it is there already. Anybody else is told at the first write if it is not.
        """
        if self._settings.version == 1:
            try:
                await self._until_taken(self._create)
            except NotPermitted as error:
                log.info("the database is not ours to make", reason=error.message)

    async def _create(self) -> None:
        await self._post(self._target.url.removesuffix("/write") + "/query", {"q": self._creation}, b"")

    @property
    def _creation(self) -> str:
        return f'CREATE DATABASE "{self._settings.database}"'

    async def write(self, lines: Sequence[str]) -> int:
        """Return once it has taken the lines, however long it is away: how many it took.

        Lines that it refuses, or fails at while it takes others, are found and counted in `rejected`, and the others
        written; the first is logged, and the first batch without any. Raises ConfigError when it does not let us
        write at all: wrong credentials, no such database or bucket.
        """
        before = self.rejected
        taken = await self._write(lines, PIECE_TRIES)
        if self.rejected == before:
            self._refusing.ends()
        return taken

    async def _write(self, lines: Sequence[str], tries: int) -> int:
        try:
            await self._until_taken(partial(self._lines, lines), TRIES if len(lines) == 1 else tries)
        except Refused as error:
            count = 1 if len(lines) == 1 else influx_refusals.dropped(str(error), len(lines))
            if count is None:
                # What was taken of them already is overwritten by itself.
                middle = len(lines) // 2
                return await self._write(lines[:middle], tries) + await self._write(lines[middle:], tries)
            self._reject(count, lines, str(error))
            return len(lines) - count
        return len(lines)

    def _reject(self, count: int, lines: Sequence[str], reason: str) -> None:
        # Where it does not say which, the oldest is the likeliest.
        line = min(lines, key=lambda each: int(each.rpartition(" ")[2]))
        self._refusing.occurs(points=count, line=line[:500], reason=reason)
        self.rejected += count

    async def _lines(self, lines: Sequence[str]) -> None:
        await self._post(self._target.url, self._target.params, "\n".join(lines).encode())

    async def _takes_others(self) -> bool:
        """Whether the database takes a point that is certainly right."""
        try:
            await self._lines([f"{PROBE} value=1i {time.time_ns()}"])
        except (Unavailable, Refused):
            return False
        return True

    async def _until_taken(self, post: Callable[[], Awaitable[None]], tries: int | None = None) -> None:
        """Without a limit: the lines wait on the tape, and nobody waits for them.

        Raises Refused when the database refuses them, or with `tries` has failed at them so often and takes others.
        """
        doubts = 0
        async for attempt in stamina.retry_context(
            on=Unavailable, attempts=None, timeout=None, wait_initial=0.1, wait_max=MAX_WAIT_S
        ):
            with attempt:
                try:
                    await post()
                except Unavailable as error:
                    self.failures += 1
                    if attempt.num == 1:
                        log.warning("the database does not take points", reason=str(error))
                    doubts = doubts + 1 if error.doubtful else 0
                    if tries is not None and doubts >= tries and await self._takes_others():
                        raise Refused(str(error)) from error
                    raise
                if attempt.num > 1:
                    log.info("the database takes points again", tries=attempt.num)

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
                f"InfluxDB at {self._settings.url} does not know what is asked for ({text or 'not found'})", remedy
            )
        if influx_refusals.refuses_points(status, text):
            raise Refused(text)
        raise Unavailable(f"{status}: {text}", doubtful=influx_refusals.is_doubtful(status, text))


_CREDENTIALS = "see TICKWIRE_SINK_TOKEN, or TICKWIRE_SINK_USERNAME and TICKWIRE_SINK_PASSWORD"


@asynccontextmanager
async def open_influx(settings: SinkSettings, metrics: SinkMetrics) -> AsyncIterator[Influx]:
    """A connection to the configured database, which need not be up. Raises ConfigError."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
        influx = Influx(settings, session, metrics)
        yield influx
