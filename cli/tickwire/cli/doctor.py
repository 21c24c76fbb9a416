"""`tickwire doctor EXCHANGE`: every step on the way to an exchange tried by itself, from this machine.

No broker and no service is needed. The steps are in the order in which the services meet them; after one that fails
those that need it are not tried.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct
from rich.text import Text

from tickwire import settings as configuration
from tickwire.cli.connection import settings_of
from tickwire.cli.output import render
from tickwire.errors import TickwireError, UnknownSymbol
from tickwire.exchange import ccxt_import, opening
from tickwire.exchange.reachability import Trouble, trouble
from tickwire.model.times import now_ms
from tickwire.process.lifecycle import Exit, until_stopped
from tickwire.redaction import described

STEP_S = 20.0
"""How long a step may take; the subscription of a quiet market waits so long for a trade."""
CLOCK_MS = 1_000
"""Clocks that differ by more are named: signed requests are refused, and candles close at another time."""
USUAL = ("BTC/USDT", "BTC/USD", "BTC/USDC", "BTC/EUR", "ETH/USDT")
"""Markets that are rarely quiet, the best first."""
STEPS = ("dns", "tcp", "tls", "markets", "clock", "candles", "websocket", "subscription")
State = Literal["fine", "failed", "skipped"]
STYLES = {"fine": "green", "failed": "bold red", "skipped": "dim"}


class Step(Struct, frozen=True, kw_only=True):
    """What came of a step: how long it took (s), what was found, and what can be done where it failed."""

    step: str
    state: State
    seconds: float = 0.0
    found: str = ""
    remedy: str = ""


class Failed(Exception):
    """A step failed."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found)
        self.found = found
        self.remedy = remedy


Look = Callable[[], Awaitable[str]]


class Examination:
    """An opened exchange of ccxt.pro, looked at step by step."""

    def __init__(self, exchange: Any, symbol: str | None) -> None:
        self._exchange = exchange
        self._wanted = symbol
        self._address: Any = None
        self._watching: asyncio.Task[Any] | None = None

    async def steps(self, show: Callable[[Step], object]) -> list[Step]:
        """Try every step, each after those that it needs."""
        looks: dict[str, Look] = {
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
                # A clock that is wrong, and candles that do not come, keep nothing else from being tried.
                needed = [each for each in done if each.step not in ("clock", "candles")]
                broken = next((each.step for each in needed if each.state != "fine"), None)
                if broken is not None:
                    done.append(Step(step=name, state="skipped", found=f"needs {broken}"))
                else:
                    done.append(await self._tried(name, looks[name]))
                show(done[-1])
        finally:
            if self._watching is not None:
                self._watching.cancel()
                await asyncio.wait({self._watching})
        return done

    async def _tried(self, name: str, look: Look) -> Step:
        from ccxt.base import errors

        began = time.monotonic()

        def step(state: State, found: str, remedy: str = "") -> Step:
            return Step(step=name, state=state, seconds=round(time.monotonic() - began, 3), found=found, remedy=remedy)

        try:
            async with asyncio.timeout(STEP_S):
                return step("fine", await look())
        except Failed as error:
            return step("failed", error.found, error.remedy)
        except TimeoutError:
            return step("failed", f"nothing came within {STEP_S:g} s", "try again; a firewall may drop what is sent")
        except TickwireError as error:
            return step("failed", error.message, error.remedy)
        except (errors.BaseError, OSError) as error:
            known = trouble(error, self._exchange.id) or _told(error, self._exchange.id)
            found = described(error)
            return step("failed", f"{known.what}: {found}" if known.what else found, known.remedy)
        except (TypeError, KeyError, IndexError, AttributeError, ValueError) as error:
            # ccxt's parsers trip like this over answers that are not what they should be.
            return step("failed", f"the answer cannot be read: {described(error)}", "see the exchange's status page")

    # -- steps ----------------------------------------------------------------------------------------------------

    async def _dns(self) -> str:
        url = next(_urls(self._exchange.urls["api"], ("http", "https"), self._exchange.hostname), None)
        if url is None:
            raise Failed("ccxt knows no address of it", "name another exchange")
        self._address = urlsplit(url)
        host, loop = self._address.hostname, asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, self._port, type=socket.SOCK_STREAM)
        return f"{host} is {', '.join(dict.fromkeys(str(each[4][0]) for each in found))}"

    @property
    def _port(self) -> int:
        return int(self._address.port or (443 if self._address.scheme == "https" else 80))

    async def _tcp(self) -> str:
        await self._connected(None)
        return f"port {self._port} takes connections"

    async def _tls(self) -> str:
        if self._address.scheme != "https":
            return "not used, as configured"
        return await self._connected(self._exchange.ssl_context or ssl.create_default_context()) or "agreed"

    async def _connected(self, context: ssl.SSLContext | None) -> str:
        _, writer = await asyncio.open_connection(self._address.hostname, self._port, ssl=context)
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
        told = clock.now()
        if told is None:
            return "the exchange tells no time"
        ahead = told - now_ms()
        found = f"{abs(ahead) / 1000:,.3f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
        if abs(ahead) > CLOCK_MS:
            raise Failed(f"the exchange's clock is {found}", "set this machine's clock, and keep it so by NTP")
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
            raise Failed(f"no candle of {self._symbol} {timeframe} came", "name a market that is traded, with --symbol")
        return f"{render.plural(len(rows), 'candle')} of {self._symbol} {timeframe}"

    async def _websocket(self) -> str:
        if not self._exchange.has.get("watchTrades"):
            return "it offers no live trades"
        self._watching = asyncio.ensure_future(self._exchange.watch_trades(self._symbol))
        # Polled: the connections of ccxt come to be within its call.
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


def _told(error: BaseException, exchange: str) -> Trouble:
    """The remedy by the kind of an error that is not about this machine's network."""
    from ccxt.base import errors

    if isinstance(error, errors.RestrictedLocation):
        return Trouble("", f"the exchange does not serve this location; exchange.{exchange}.ccxt takes a proxy")
    if isinstance(error, errors.AuthenticationError):
        return Trouble("", f"check TICKWIRE_{exchange.upper()}_API_KEY, and whether the exchange refuses this address")
    if isinstance(error, errors.RateLimitExceeded | errors.DDoSProtection):
        return Trouble("", "wait; then ask less: lower exchange.<id>.concurrency")
    if isinstance(error, ConnectionRefusedError):
        return Trouble("nobody listens there", "check the gateway or the proxy that is configured")
    return Trouble("", "the exchange, or what is in between, fails: try again, and see its status page")


def _urls(nested: Any, schemes: tuple[str, ...], hostname: str | None) -> Iterator[str]:
    """The URLs of a nested table."""
    if isinstance(nested, dict):
        for each in nested.values():
            yield from _urls(each, schemes, hostname)
    elif isinstance(nested, str) and urlsplit(nested).scheme in schemes:
        yield nested.replace("{hostname}", hostname or "")


def _print(step: Step) -> None:
    """A line as soon as a step is over, and one with the remedy where it failed."""
    text = Text.assemble(
        f"{step.step:<12}  ", (f"{step.state:<7}", STYLES[step.state]), f"  {step.seconds:>6.2f} s  ", step.found
    )
    render.out().print(text)
    if step.state == "failed":
        render.say(f"{step.step}: {step.found}; {step.remedy}")


async def doctor(stop: asyncio.Event, config: Path | None, exchange: str, symbol: str | None, json: bool) -> int:
    """Try each step, and say which fails and what to do; 1 where one fails."""
    settings = settings_of(config)
    ccxt_import.install()
    done: list[Step] = []
    own = settings.of_exchange(exchange)

    async def work() -> None:
        async with opening.open_exchange(exchange, own, configuration.credentials(exchange), pro=True) as opened:
            done.extend(await Examination(opened, symbol).steps((lambda _: None) if json else _print))

    await until_stopped(stop, work())
    if not done:
        return Exit.INTERRUPTED
    if json:
        render.as_json({"exchange": exchange, "steps": msgspec.to_builtins(done)})
    return Exit.FAILED if any(each.state == "failed" for each in done) else Exit.OK
