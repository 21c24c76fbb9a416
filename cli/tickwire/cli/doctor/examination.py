"""Tries each step on the way to an exchange from this machine, without a broker or a service.

The steps are in the order in which services meet them; steps that need a failed one are skipped.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Literal
from urllib.parse import urlsplit

from msgspec import Struct

from tickwire.cli.output import render
from tickwire.errors import TickwireError, UnknownSymbol
from tickwire.exchange import opening
from tickwire.exchange.reachability import Trouble, refusal_remedy, trouble
from tickwire.model.times import now_ms
from tickwire.redaction import described

STEP_S = 20.0
"""Time limit of a step; the subscription of a quiet market may take this long to see a trade."""
CLOCK_MS = 1_000
"""A greater difference of the clocks fails: signed requests are refused, and candles close at another time."""
USUAL = ("BTC/USDT", "BTC/USD", "BTC/USDC", "BTC/EUR", "ETH/USDT")
"""Markets that are rarely quiet, the best first."""
STEPS = ("dns", "tcp", "tls", "markets", "clock", "candles", "websocket", "subscription")
State = Literal["fine", "failed", "skipped"]
STYLES = {"fine": "green", "failed": "bold red", "skipped": "dim"}


class Step(Struct, frozen=True, kw_only=True):
    """The result of a step: its duration (s), what was found, and the remedy where it failed."""

    step: str
    state: State
    seconds: float = 0.0
    found: str = ""
    remedy: str = ""


class Failed(Exception):
    """Raised by a step that fails."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found)
        self.found = found
        self.remedy = remedy


Attempt = Callable[[], Awaitable[str]]
"""Tries a step; returns what was found. Raises Failed and errors of ccxt."""


class Examination:
    """Examines an opened exchange of ccxt.pro."""

    def __init__(self, exchange: Any, symbol: str | None) -> None:
        self._exchange = exchange
        self._wanted = symbol
        self._url: Any = None
        self._watching: asyncio.Task[Any] | None = None

    async def steps(self, show: Callable[[Step], object]) -> list[Step]:
        """Try every step in order, show and return the results."""
        attempts: dict[str, Attempt] = {
            "dns": self._dns,
            "tcp": self._tcp,
            "tls": self._tls,
            "markets": self._markets,
            "clock": self._clock,
            "candles": self._candles,
            "websocket": self._websocket,
            "subscription": self._subscription,
        }
        done: list[Step] = []
        try:
            for name in STEPS:
                # No other step needs a right clock or candles.
                needed = [each for each in done if each.step not in ("clock", "candles")]
                broken = next((each.step for each in needed if each.state != "fine"), None)
                if broken is not None:
                    done.append(Step(step=name, state="skipped", found=f"needs {broken}"))
                else:
                    done.append(await self._try(name, attempts[name]))
                show(done[-1])
        finally:
            if self._watching is not None:
                self._watching.cancel()
                await asyncio.wait({self._watching})
        return done

    async def _try(self, name: str, attempt: Attempt) -> Step:
        from ccxt.base import errors

        began = time.monotonic()

        def step(state: State, found: str, remedy: str = "") -> Step:
            return Step(step=name, state=state, seconds=round(time.monotonic() - began, 3), found=found, remedy=remedy)

        try:
            async with asyncio.timeout(STEP_S):
                return step("fine", await attempt())
        except Failed as error:
            return step("failed", error.found, error.remedy)
        except TimeoutError:
            return step("failed", f"no answer within {STEP_S:g} s", "try again; a firewall may drop packets")
        except TickwireError as error:
            return step("failed", error.message, error.remedy)
        except (errors.BaseError, OSError) as error:
            known = trouble(error, self._exchange.id) or _remedy(error, self._exchange.id)
            found = described(error)
            return step("failed", f"{known.what}: {found}" if known.what else found, known.remedy)
        except (TypeError, KeyError, IndexError, AttributeError, ValueError) as error:
            # ccxt's parsers raise these for malformed answers.
            return step("failed", f"the answer is malformed: {described(error)}", "see the exchange's status page")

    # -- steps ----------------------------------------------------------------------------------------------------

    async def _dns(self) -> str:
        url = next(_urls(self._exchange.urls["api"], ("http", "https"), self._exchange.hostname), None)
        if url is None:
            raise Failed("ccxt has no URL of it", "name another exchange")
        self._url = urlsplit(url)
        host, loop = self._url.hostname, asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, self._port, type=socket.SOCK_STREAM)
        return f"{host} is {', '.join(dict.fromkeys(str(each[4][0]) for each in found))}"

    @property
    def _port(self) -> int:
        return int(self._url.port or (443 if self._url.scheme == "https" else 80))

    async def _tcp(self) -> str:
        await self._connected(None)
        return f"port {self._port} takes connections"

    async def _tls(self) -> str:
        if self._url.scheme != "https":
            return "not used, as configured"
        return await self._connected(self._exchange.ssl_context or ssl.create_default_context()) or "agreed"

    async def _connected(self, context: ssl.SSLContext | None) -> str:
        _, writer = await asyncio.open_connection(self._url.hostname, self._port, ssl=context)
        try:
            return str(writer.get_extra_info("ssl_object").version()) if context is not None else ""
        finally:
            writer.transport.abort()

    async def _markets(self) -> str:
        return render.plural(len(await self._exchange.load_markets()), "market")

    async def _clock(self) -> str:
        clock = self._exchange.clock
        if clock.asks:
            await clock.compare(0.0)
        theirs = clock.now()
        if theirs is None:
            return "the exchange has no clock to compare with"
        ahead = theirs - now_ms()
        found = f"{abs(ahead) / 1000:,.3f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
        if abs(ahead) > CLOCK_MS:
            raise Failed(f"the exchange's clock is {found}", "set this machine's clock, and synchronise it by NTP")
        return found

    @property
    def _symbol(self) -> str:
        markets = self._exchange.markets
        if self._wanted is not None:
            if self._wanted not in markets:
                raise UnknownSymbol(f"{self._exchange.id} does not list {self._wanted}", "write symbols as ccxt does")
            return self._wanted
        return next((each for each in USUAL if each in markets), next(iter(markets)))

    async def _candles(self) -> str:
        if not self._exchange.has.get("fetchOHLCV"):
            return "it offers none"
        offered = opening.timeframes(self._exchange.id)
        timeframe = "1m" if "1m" in offered else offered[0]
        rows = await self._exchange.fetch_ohlcv(self._symbol, timeframe)
        if not rows:
            raise Failed(f"no candle of {self._symbol} {timeframe} was returned", "name a traded market with --symbol")
        return f"{render.plural(len(rows), 'candle')} of {self._symbol} {timeframe}"

    async def _websocket(self) -> str:
        if not self._exchange.has.get("watchTrades"):
            return "it offers no live trades"
        self._watching = asyncio.ensure_future(self._exchange.watch_trades(self._symbol))
        # Polled, because ccxt creates its connections within the call.
        while not (clients := list(self._exchange.clients.values())):
            if self._watching.done():
                self._watching.result()
            await asyncio.sleep(0.02)
        connected = [asyncio.ensure_future(asyncio.shield(each.connected)) for each in clients]
        await asyncio.wait({self._watching, *connected}, return_when=asyncio.FIRST_COMPLETED)
        if self._watching.done() and not any(each.done() and not each.exception() for each in connected):
            self._watching.result()
        return f"connected to {urlsplit(clients[0].url).hostname}"

    async def _subscription(self) -> str:
        if self._watching is None:
            return "it offers no live trades"
        trades = await asyncio.shield(self._watching)
        return f"{render.plural(len(trades), 'trade')} of {self._symbol}"


def _remedy(error: BaseException, exchange: str) -> Trouble:
    """Return the remedy for an error that is not about this machine's network."""
    from ccxt.base import errors

    if (refused := refusal_remedy(error, exchange)) is not None:
        return Trouble("", refused)
    if isinstance(error, errors.RateLimitExceeded | errors.DDoSProtection):
        return Trouble("", "wait; then lower exchange.<id>.concurrency")
    if isinstance(error, ConnectionRefusedError):
        return Trouble("nothing listens there", "check the gateway or the proxy that is configured")
    return Trouble("", "the exchange or the network fails: try again, and see its status page")


def _urls(nested: Any, schemes: tuple[str, ...], hostname: str | None) -> Iterator[str]:
    """Yield the URLs of a nested table."""
    if isinstance(nested, dict):
        for each in nested.values():
            yield from _urls(each, schemes, hostname)
    elif isinstance(nested, str) and urlsplit(nested).scheme in schemes:
        yield nested.replace("{hostname}", hostname or "")
