"""Calls to one exchange: at most so many at once, repeated where that makes sense, errors in our own words.

Repeated are ccxt's `OperationFailed` and everything below it (network, rate limit, maintenance, timeout, bad
response), and nothing else. The semaphore is held for the call alone: waiting happens outside it.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import aiohttp
import stamina
from ccxt.base import errors

from tickwire.errors import ExchangeFailed, TickwireError, UnknownSymbol
from tickwire.exchange.reachability import trouble
from tickwire.fetcher.metrics import FetcherMetrics
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.redaction import described
from tickwire.settings import FetcherSettings

log = logs.get(__name__)

T = TypeVar("T")


class RequestRefused(ExchangeFailed):
    """The exchange refused this one request: others, of another range, it may answer."""


_REFUSES_ALL = (errors.AuthenticationError, errors.RestrictedLocation, errors.NotSupported, errors.InvalidNonce)
"""What no other request of the kind would change: who we are, where we are, what is offered."""

LASTING_ATTEMPTS = 2
"""Attempts where this machine's network is what fails (see `reaching`): a second one, for the case that it was not."""
PATIENCE_S = 900.0
"""The longest `Retry-After` that a job waits for; bans of hours and days end it instead."""


class FailedAttempt(NamedTuple):
    """An attempt that failed, in words, and when the next one is made at the earliest (ms)."""

    words: str
    next_try_at: int


OnRetry = Callable[[FailedAttempt], Awaitable[None]]


async def ignore_retry(_: FailedAttempt) -> None:
    """Nobody wants to know."""


class Calls:
    """The calls to one exchange, an exchange of `tickwire.exchange.opening.open_exchange`."""

    def __init__(
        self,
        exchange: Any,
        settings: FetcherSettings,
        concurrency: int,
        metrics: FetcherMetrics,
        secrets: Iterable[str] = (),
    ) -> None:
        self._exchange = exchange
        self._settings = settings
        self._metrics = metrics
        self._free = asyncio.Semaphore(concurrency)
        self._secrets = tuple(secrets)
        self._failing = Episode(log, "an exchange fails", exchange=exchange.id)
        self._repeating = 0
        """Calls that have failed and will be made again."""

    async def __call__(self, what: str, call: Callable[[], Awaitable[T]], on_retry: OnRetry = ignore_retry) -> T:
        """The result of `call`. `what` names it in errors; `on_retry` is told why it is to be made again, and when.

        Raises ExchangeFailed or UnknownSymbol.
        """
        settings = self._settings
        failed = False
        number = 0

        def again(error: Exception) -> bool:
            return retried(error) and number < self._attempts(error)

        try:
            async for attempt in stamina.retry_context(
                on=again,
                attempts=settings.attempts,
                timeout=None,
                wait_initial=settings.backoff_s,
                wait_max=settings.max_backoff_s,
                wait_jitter=settings.backoff_s,
            ):
                with attempt:
                    number = attempt.num
                    if number > 1:
                        self._metrics.retries.labels(self._exchange.id).inc()
                    await self._may_ask(what)
                    try:
                        async with self._free:
                            found = await self._counted(what, call)
                    except errors.OperationFailed as error:
                        self._repeating += not failed
                        failed = True
                        if again(error):
                            await on_retry(self._failure(error, attempt.next_wait))
                        raise
                    if self._repeating <= failed:
                        # None but this one had to be made again.
                        self._failing.ends()
                    return found
        except errors.BaseError as error:
            raise self._in_our_words(what, error) from error
        finally:
            self._repeating -= failed
        raise AssertionError("stamina either returns or raises")

    def _attempts(self, error: Exception) -> int:
        """How often a call is made that fails so."""
        most = self._settings.attempts
        return min(most, LASTING_ATTEMPTS) if trouble(error, self._exchange.id) is not None else most

    def _failure(self, error: Exception, wait_s: float) -> FailedAttempt:
        wait_s = max(wait_s, self._exchange.gate.remaining_s)
        return FailedAttempt(described(error, self._secrets), now_ms() + round(wait_s * 1000))

    async def _counted(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        try:
            with self._metrics.requests.labels(self._exchange.id).time():
                return await _parsed(call)
        except errors.BaseError as error:
            self._metrics.failures.labels(self._exchange.id, type(error).__name__).inc()
            if retried(error):
                self._failing.occurs(what=what, error=described(error, self._secrets))
            raise

    async def _may_ask(self, what: str) -> None:
        remaining = self._exchange.gate.remaining_s
        if remaining > PATIENCE_S:
            raise ExchangeFailed(
                f"{self._exchange.id} wants to be left alone for {remaining:.0f} s, so {what} was not asked",
                "wait that long, and lower exchange.<id>.concurrency",
            )
        await self._exchange.gate.passed()

    def _in_our_words(self, what: str, error: errors.BaseError) -> TickwireError:
        text = f"{self._exchange.id}: {what}: {described(error, self._secrets)}"
        if isinstance(error, errors.BadSymbol):
            return UnknownSymbol(text, "see the exchange's list of symbols")
        if retried(error):
            attempts = f"(after {self._attempts(error)} attempts)"
            if (found := trouble(error, self._exchange.id)) is not None:
                return ExchangeFailed(f"{self._exchange.id}: {found.what}: {text} {attempts}", found.remedy)
            return ExchangeFailed(f"{text} {attempts}", "fetch again later")
        kind = ExchangeFailed if isinstance(error, _REFUSES_ALL) else RequestRefused
        return kind(text, _remedy(error, self._exchange.id))


def retried(error: Exception) -> bool:
    """Whether asking again makes sense."""
    return isinstance(error, errors.OperationFailed)


async def _parsed(call: Callable[[], Awaitable[T]]) -> T:
    try:
        return await call()
    except errors.ExchangeError as error:
        if isinstance(error.__cause__, aiohttp.ClientError | OSError):
            # ccxt 4.5.90 calls a connection that breaks within an answer so.
            raise errors.NetworkError(str(error)) from error
        raise
    except OSError as error:
        raise errors.NetworkError(repr(error)) from error
    except (TypeError, KeyError, IndexError, AttributeError, ValueError) as error:
        # ccxt's parsers trip like this over answers that are not what they should be.
        raise errors.BadResponse(f"the answer cannot be read: {error!r}") from error


def _remedy(error: errors.BaseError, exchange: str) -> str:
    match error:
        case errors.PermissionDenied():
            return (
                f"the exchange refuses this address, or TICKWIRE_{exchange.upper()}_API_KEY: check both; "
                f"exchange.{exchange}.ccxt takes a proxy"
            )
        case errors.AuthenticationError():
            return f"check TICKWIRE_{exchange.upper()}_API_KEY and its companions"
        case errors.RestrictedLocation():
            return f"the exchange does not serve this location; exchange.{exchange}.ccxt takes a proxy"
        case errors.NotSupported():
            return "ask for something that the exchange offers"
        case _:
            return "asking again would not help"


def unknown_symbol(exchange: str, symbol: str, symbols: Iterable[str]) -> UnknownSymbol:
    """The error for a symbol that is not listed, with the nearest that are."""
    near = difflib.get_close_matches(symbol.upper(), list(symbols), n=3, cutoff=0.5)
    return UnknownSymbol(
        f"{exchange} does not list {symbol}",
        f"did you mean {' or '.join(near)}?" if near else "write symbols as ccxt does, such as BTC/USDT",
    )
