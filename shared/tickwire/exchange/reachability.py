"""Lasting reasons why an exchange cannot be reached, with their remedies.

HTTP 451 (RFC 7725) and 403 (RFC 9110) refuse every request, as do wrong credentials; a name without an address and a
failed TLS handshake are caused by this machine or its network. A 403 of a firewall that limits the rate of requests is
not lasting.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import aiohttp

from tickwire.errors import ExchangeFailed
from tickwire.redaction import described

_PASSING = re.compile(r"too (frequent|many|much)|rate.?limit|throttl", re.IGNORECASE)


class Trouble(NamedTuple):
    """The reason and the remedy."""

    what: str
    remedy: str


def refuses(status: int, headers: Mapping[str, str], body: str) -> bool:
    """Whether an answer refuses every request from here for good."""
    if status != 403:
        return status == 451
    # Only then: the search in a page of 1,000 candles takes longer than to parse it.
    return not any(name.lower() == "retry-after" for name in headers) and _PASSING.search(body) is None


def trouble(error: BaseException, exchange: str) -> Trouble | None:
    """The reason if an error is about the name or TLS; None for an error that may pass by itself."""
    proxy = f"a proxy goes into exchange.{exchange}.ccxt"
    for each in _beneath(error):
        if isinstance(each, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
            return Trouble(
                "its TLS certificate is not trusted",
                "check the clock and the certificates of this machine, and proxies",
            )
        if isinstance(each, aiohttp.ClientConnectorSSLError | ssl.SSLError):
            return Trouble("TLS cannot be agreed on with it", f"check what is between this machine and it; {proxy}")
        if isinstance(each, aiohttp.ClientConnectorDNSError | socket.gaierror):
            return Trouble("its name has no address here", f"check the network and DNS of this machine; {proxy}")
    return None


def refusal_remedy(error: BaseException, exchange: str) -> str | None:
    """What to do about an exchange that refuses this location, address or key; None for any other error."""
    from ccxt.base import errors

    key = f"TICKWIRE_{exchange.upper()}_API_KEY"
    proxy = f"exchange.{exchange}.ccxt takes a proxy"
    match error:
        case errors.PermissionDenied():
            return f"the exchange refuses this IP address or {key}: check both; {proxy}"
        case errors.AuthenticationError():
            return f"check {key} and its companions"
        case errors.RestrictedLocation():
            return f"the exchange does not serve this location; {proxy}"
        case _:
            return None


def markets_failed(error: BaseException, exchange: str) -> ExchangeFailed:
    """The error for ccxt's failure to load the markets of an exchange."""
    text = f"markets: {described(error)}"
    if (found := trouble(error, exchange)) is not None:
        return ExchangeFailed(f"{exchange}: {found.what}: {text}", found.remedy)
    return ExchangeFailed(f"{exchange}: {text}", refusal_remedy(error, exchange) or "try again later")


def _beneath(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
