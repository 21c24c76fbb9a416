"""Every failure that tickwire foresees, as one typed exception each.

The same errors travel over the bus (`tickwire.model.messages.ErrorReply`) and end a command: `str(error)` is
always one line, what is wrong and then the remedy.
"""

from __future__ import annotations

from typing import ClassVar

from tickwire.redaction import redacted

LONGEST = 1_000
"""Characters of an error's line: it may quote what somebody sent."""


def _line(text: str) -> str:
    """One line without secrets, with its middle left out where it is too long."""
    line = " ".join(redacted(text).split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} … {line[-LONGEST // 2 + 3 :]}"


class TickwireError(Exception):
    """A foreseen failure. `message` says what is wrong, `remedy` what to do; both are one line."""

    code: ClassVar[str] = "error"
    """The error's name on the wire; stable."""
    status: ClassVar[int] = 500
    """`Nats-Service-Error-Code`, by HTTP's numbers."""

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message = _line(message)
        self.remedy = _line(remedy)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class BadRequest(TickwireError):
    """A request that cannot be meant: a missing field, `since` after `until`, an unreadable date."""

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
    """The exchange has no candles of this timeframe, or it is no timeframe at all."""

    code = "unsupported_timeframe"
    status = 400


class UnsupportedKind(TickwireError):
    """The exchange does not offer this kind of feed."""

    code = "unsupported_kind"
    status = 400


class NotCached(TickwireError):
    """The cache holds nothing of this key."""

    code = "not_cached"
    status = 404


class ConfigError(TickwireError):
    """The configuration does not say anything tickwire can run with."""

    code = "config"
    status = 400


class Forbidden(TickwireError):
    """The broker does not know us, or does not permit what was tried."""

    code = "forbidden"
    status = 403


class BrokerUnavailable(TickwireError):
    """No NATS server answers at the configured URL, or it refuses us."""

    code = "broker_unavailable"
    status = 503


class BrokerChanged(TickwireError):
    """The broker, or one of its streams, is not the one that it was: it was wiped, replaced or made anew."""

    code = "broker_changed"
    status = 503


class Unacknowledged(BrokerUnavailable):
    """The broker did not say whether it took a message: it may have."""


class NoSuchService(TickwireError):
    """Nobody serves this subject: the service is not running."""

    code = "no_such_service"
    status = 503


class RequestTimeout(TickwireError):
    """The service is there and did not answer in time."""

    code = "timeout"
    status = 504


class ExchangeFailed(TickwireError):
    """The exchange could not be asked, or refused, after all retries that make sense."""

    code = "exchange_failed"
    status = 502


class CacheFileError(TickwireError):
    """A file in the cache folder is not one that the cache wrote. `line` counts from 1; 0 is the whole file."""

    code = "cache_file"
    status = 409

    def __init__(self, message: str, remedy: str = "", *, path: str = "", line: int = 0) -> None:
        super().__init__(message, remedy)
        self.path = path
        self.line = line


class PageRejected(TickwireError):
    """The cache passed over a page of candles for good: it does not fit what the cache has of the key."""

    code = "page_rejected"
    status = 409


class StorageError(TickwireError):
    """The disk refused: full, read-only, unwritable or broken."""

    code = "storage"
    status = 507


class Fenced(TickwireError):
    """Another instance has taken over what this one still believed to hold."""

    code = "fenced"
    status = 409


class Busy(TickwireError):
    """So much is asked already that this request was not begun; nothing came of it."""

    code = "busy"
    status = 429


class JobCancelled(TickwireError):
    """A fetch job was ended by `fetcher.cancel`; what it stored is kept."""

    code = "cancelled"
    status = 409


class JobParked(TickwireError):
    """A fetch job was given up because the fetcher's process ended each time it ran."""

    code = "parked"
    status = 500


class InternalError(TickwireError):
    """A bug: the request that met it failed; the service goes on, and its log has the details."""

    code = "internal"
    status = 500


def _all_errors() -> dict[str, type[TickwireError]]:
    kinds: list[type[TickwireError]] = [TickwireError, *TickwireError.__subclasses__()]
    return {kind.code: kind for kind in kinds}


def from_code(code: str, message: str, remedy: str) -> TickwireError:
    """Rebuild the error that a service answered with; an unknown code becomes a plain TickwireError."""
    return _all_errors().get(code, TickwireError)(message, remedy)
