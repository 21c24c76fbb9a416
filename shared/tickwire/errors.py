"""All expected failures, one exception type each.

The same errors are sent over the bus (`tickwire.model.messages.ErrorReply`) and end commands. `str(error)` is always
one line: what is wrong, then the remedy.
"""

from __future__ import annotations

from typing import ClassVar

from tickwire.redaction import redacted

LONGEST = 1_000
"""Most characters of an error's line, which may quote received data."""


def _line(text: str) -> str:
    """The text as one line without secrets; the middle is left out if it is too long."""
    line = " ".join(redacted(text).split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} … {line[-LONGEST // 2 + 3 :]}"


class TickwireError(Exception):
    """An expected failure. `message` says what is wrong, `remedy` what to do; both are one line."""

    code: ClassVar[str] = "error"
    """The name of the error in messages; stable."""
    status: ClassVar[int] = 500
    """`Nats-Service-Error-Code`: an HTTP status."""

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message = _line(message)
        self.remedy = _line(remedy)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class BadRequest(TickwireError):
    """The request is invalid: a missing field, `since` after `until`, an unreadable date."""

    code = "bad_request"
    status = 400


class UnknownExchange(TickwireError):
    """No exchange has this ccxt id."""

    code = "unknown_exchange"
    status = 404


class UnknownSymbol(TickwireError):
    """The exchange does not list this symbol."""

    code = "unknown_symbol"
    status = 404


class UnsupportedTimeframe(TickwireError):
    """The exchange has no candles of this timeframe, or it is not a timeframe."""

    code = "unsupported_timeframe"
    status = 400


class UnsupportedKind(TickwireError):
    """The exchange does not offer this kind of feed."""

    code = "unsupported_kind"
    status = 400


class NotCached(TickwireError):
    """The cache has no candles of this key."""

    code = "not_cached"
    status = 404


class NotArchived(TickwireError):
    """The archive has no files of this feed; of a replay: nor has the tape messages of it."""

    code = "not_archived"
    status = 404


class BookUnknown(TickwireError):
    """The book at a moment is not known: it was not followed then, or that is in a gap."""

    code = "book_unknown"
    status = 404


class ConfigError(TickwireError):
    """The configuration is invalid or incomplete."""

    code = "config"
    status = 400


class Forbidden(TickwireError):
    """The broker rejects the credentials, or does not permit the operation."""

    code = "forbidden"
    status = 403


class BrokerUnavailable(TickwireError):
    """No NATS server answers at the configured URL, or it refuses the connection."""

    code = "broker_unavailable"
    status = 503


class BrokerChanged(TickwireError):
    """The broker, or one of its streams, was wiped, replaced or recreated."""

    code = "broker_changed"
    status = 503


class Unacknowledged(BrokerUnavailable):
    """The broker did not acknowledge a message, which it may have accepted."""


class NoSuchService(TickwireError):
    """No service answers this subject: it is not running."""

    code = "no_such_service"
    status = 503


class RequestTimeout(TickwireError):
    """The service is running and did not answer in time."""

    code = "timeout"
    status = 504


class NotLoaded(TickwireError):
    """The markets of the exchange are being loaded."""

    code = "not_loaded"
    status = 503


class ExchangeFailed(TickwireError):
    """The exchange was unreachable, or refused the request, after all sensible retries."""

    code = "exchange_failed"
    status = 502


class CacheFileError(TickwireError):
    """A file in the cache folder was not written by the cache. `line` counts from 1; 0 is the whole file."""

    code = "cache_file"
    status = 409

    def __init__(self, message: str, remedy: str = "", *, path: str = "", line: int = 0) -> None:
        super().__init__(message, remedy)
        self.path = path
        self.line = line


class PageRejected(TickwireError):
    """The cache rejected a page of candles for good: it does not fit the candles of the key in the cache."""

    code = "page_rejected"
    status = 409


class StorageError(TickwireError):
    """The disk refused an operation: full, read-only, not writable or broken."""

    code = "storage"
    status = 507


class Fenced(TickwireError):
    """Another instance has taken over a lease that this one had."""

    code = "fenced"
    status = 409


class Busy(TickwireError):
    """Too many requests: this one was not begun, and has no effect."""

    code = "busy"
    status = 429


class JobCancelled(TickwireError):
    """A fetch job was ended by `fetcher.cancel`; stored candles are kept."""

    code = "cancelled"
    status = 409


class JobParked(TickwireError):
    """A fetch job was given up because the fetcher's process ended each time the job ran."""

    code = "parked"
    status = 500


class InternalError(TickwireError):
    """A bug: the request failed; the service continues, and its log has the details."""

    code = "internal"
    status = 500


def _all_errors() -> dict[str, type[TickwireError]]:
    kinds: list[type[TickwireError]] = [TickwireError, *TickwireError.__subclasses__()]
    return {kind.code: kind for kind in kinds}


def from_code(code: str, message: str, remedy: str) -> TickwireError:
    """The error of a service's reply; an unknown code becomes a plain TickwireError."""
    return _all_errors().get(code, TickwireError)(message, remedy)
