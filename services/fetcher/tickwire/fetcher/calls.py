"""Calls to one exchange: bounded concurrency, retries, and its errors as TickwireErrors.

Retried are ccxt's `OperationFailed` and its subclasses (network, rate limit, maintenance, timeout, bad response), and
nothing else. The semaphore is held during the call only: delays are outside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, Protocol, TypeVar

from ccxt.base import errors

from tickwire.errors import ExchangeFailed, TickwireError, UnknownSymbol
from tickwire.exchange.gate import Gate
from tickwire.exchange.guarded_call import guarded_call
from tickwire.exchange.reachability import refusal_remedy, trouble
from tickwire.fetcher.metrics import FetcherMetrics
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.process.backoff import Backoff
from tickwire.redaction import described
from tickwire.settings import FetcherSettings

log = logs.get(__name__)

T = TypeVar("T")


class RequestRefused(ExchangeFailed):
    """The exchange refused this request. It may answer others, for example of another range."""


_REFUSES_ALL = (errors.AuthenticationError, errors.RestrictedLocation, errors.NotSupported, errors.InvalidNonce)
"""Refusals that apply to every request of the kind: because of the account, the location or what is offered."""

LASTING_ATTEMPTS = 2
"""Attempts where the cause is this machine's network (see `reachability`); the second, in case it was not."""
MAX_RETRY_AFTER_S = 900.0
"""The longest `Retry-After` that a job waits for; a longer one fails the job."""


class FailedAttempt(NamedTuple):
    """Why an attempt failed, and the earliest time of the next one (ms)."""

    reason: str
    next_try_at: int


OnRetry = Callable[[FailedAttempt], Awaitable[None]]
"""Called with each failed attempt that is followed by another; an exception of it ends the call."""


async def ignore_retry(_: FailedAttempt) -> None:
    """An OnRetry that does nothing."""


class _Gated(Protocol):
    """What is needed of an exchange of `tickwire.exchange.opening.open_exchange`."""

    id: str
    gate: Gate


class Calls:
    """The calls to one opened exchange, shared by all its jobs."""

    def __init__(
        self,
        exchange: _Gated,
        settings: FetcherSettings,
        concurrency: int,
        metrics: FetcherMetrics,
        secrets: Iterable[str] = (),
    ) -> None:
        self._exchange = exchange
        self._settings = settings
        self._metrics = metrics
        self.concurrency = concurrency
        """The most attempts at the same time."""
        self._permits = asyncio.Semaphore(concurrency)
        self._secrets = tuple(secrets)
        self._failing = Episode(log, "an exchange fails", exchange=exchange.id)
        self._retrying = 0
        """Calls that have failed and will be retried."""

    async def __call__(self, what: str, call: Callable[[], Awaitable[T]], on_retry: OnRetry = ignore_retry) -> T:
        """The result of `call`, retried as the settings allow. `what` names the call in errors.

        Raises ExchangeFailed (RequestRefused where other requests may be answered), UnknownSymbol.
        """
        backoff = Backoff(self._settings.backoff_s, self._settings.max_backoff_s, at_once=False)
        try:
            while True:
                if backoff.failures:
                    self._metrics.retries.labels(self._exchange.id).inc()
                await self._wait_for_gate(what)
                try:
                    async with self._permits:
                        result = await self._measured(what, call)
                    break
                except errors.OperationFailed as error:
                    self._retrying += not backoff.failures
                    wait_s = backoff.next()
                    if backoff.failures >= self._attempts(error):
                        raise
                    await on_retry(self._failed_attempt(error, wait_s))
                await asyncio.sleep(wait_s)
            if self._retrying <= bool(backoff.failures):
                # No other call is being retried.
                self._failing.ends()
            return result
        except errors.BaseError as error:
            raise self._translated(what, error) from error
        finally:
            self._retrying -= bool(backoff.failures)

    def _attempts(self, error: Exception) -> int:
        """The most attempts of a call that fails with `error`."""
        most = self._settings.attempts
        return min(most, LASTING_ATTEMPTS) if trouble(error, self._exchange.id) is not None else most

    def _failed_attempt(self, error: Exception, wait_s: float) -> FailedAttempt:
        wait_s = max(wait_s, self._exchange.gate.remaining_s)
        return FailedAttempt(described(error, self._secrets), now_ms() + round(wait_s * 1000))

    async def _measured(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        """Make one attempt, counted and timed."""
        try:
            with self._metrics.requests.labels(self._exchange.id).time():
                return await guarded_call(call)
        except errors.BaseError as error:
            self._metrics.failures.labels(self._exchange.id, type(error).__name__).inc()
            if can_retry(error):
                self._failing.occurs(what=what, error=described(error, self._secrets))
            raise

    async def _wait_for_gate(self, what: str) -> None:
        """Wait until the exchange's `Retry-After` has passed. Raises ExchangeFailed when that is too long."""
        remaining = self._exchange.gate.remaining_s
        if remaining > MAX_RETRY_AFTER_S:
            raise ExchangeFailed(
                f"{self._exchange.id} accepts no requests for {remaining:.0f} s, so {what} was not requested",
                "wait that long, and lower exchange.<id>.concurrency",
            )
        await self._exchange.gate.passed()

    def _translated(self, what: str, error: errors.BaseError) -> TickwireError:
        """The TickwireError for the last failure of a call."""
        text = f"{self._exchange.id}: {what}: {described(error, self._secrets)}"
        if isinstance(error, errors.BadSymbol):
            return UnknownSymbol(text, "see the exchange's list of symbols")
        if can_retry(error):
            attempts = f"(after {self._attempts(error)} attempts)"
            if (found := trouble(error, self._exchange.id)) is not None:
                return ExchangeFailed(f"{self._exchange.id}: {found.what}: {text} {attempts}", found.remedy)
            return ExchangeFailed(f"{text} {attempts}", "fetch again later")
        kind = ExchangeFailed if isinstance(error, _REFUSES_ALL) else RequestRefused
        return kind(text, _remedy(error, self._exchange.id))


def can_retry(error: Exception) -> bool:
    """Whether another attempt may succeed."""
    return isinstance(error, errors.OperationFailed)


def _remedy(error: errors.BaseError, exchange: str) -> str:
    if isinstance(error, errors.NotSupported):
        return "request something that the exchange offers"
    return refusal_remedy(error, exchange) or "another attempt would not help"
