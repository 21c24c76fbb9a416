"""The guard around every call into ccxt: whatever ccxt raises becomes one of ccxt's own errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import ClientError
from ccxt.base import errors

from tickwire.errors import TickwireError

T = TypeVar("T")


async def guarded_call(call: Callable[[], Awaitable[T]]) -> T:
    """Await a call into ccxt. Raises ccxt's errors and TickwireError, and no others.

    NetworkError replaces what a connection raises (a socket that closes before a frame is sent: the builtin
    ConnectionError; an answer that breaks off: an ExchangeError of ccxt 4.5.90). BadResponse replaces every other
    exception: ccxt's parsers raise builtin exceptions for answers of an unexpected form.
    """
    try:
        return await call()
    except errors.ExchangeError as error:
        if isinstance(error.__cause__, ClientError | OSError):
            raise errors.NetworkError(f"{error}: {error.__cause__!r}") from error
        raise
    except (errors.BaseError, TickwireError):
        raise
    except (OSError, ClientError) as error:
        raise errors.NetworkError(f"the connection failed: {error!r}") from error
    except Exception as error:
        raise errors.BadResponse(f"the answer cannot be read: {error!r}") from error
