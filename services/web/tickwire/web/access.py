"""Who may use the page: decided from the head of a request. Pure.

The page is driven by the browser of a person, which also shows other sites. Three checks keep these out (OWASP,
Cross-Site Request Forgery Prevention): the name by which the page was asked for must be one of its own, else any name
that resolves to this machine would do (DNS rebinding); a request that names an origin must name the page's; and one
that changes something must be JSON, which no form can send.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from tickwire.errors import ConfigError
from tickwire.settings import WebSettings

SAFE = ("GET", "HEAD")


class Refusal(NamedTuple):
    """Why a request is refused: a status of HTTP and one line."""

    status: int
    text: str


class Asked(NamedTuple):
    """What is used of a request: its method, whether it opens a WebSocket, and its headers by lower-case names."""

    method: str
    is_socket: bool
    headers: Mapping[str, str]


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check(settings: WebSettings) -> None:
    """Raise ConfigError if the page would be open to whoever reaches its address."""
    if not is_loopback(settings.host) and settings.password is None and settings.user_header is None:
        raise ConfigError(
            f"web.host {settings.host} is reached from other machines, and there is neither a password nor a proxy",
            "set TICKWIRE_WEB_PASSWORD, or web.user_header to the header in which a proxy names the user",
        )


def refusal(settings: WebSettings, asked: Asked) -> Refusal | None:
    """Return why a request is refused; None if it is not."""
    named = asked.headers.get("host", "")
    if not _is_ours(settings, _hostname(named)):
        return Refusal(403, "this name is not one of the page's; add it to web.names")
    if not _same_origin(asked, named):
        return Refusal(403, "the request comes from another site, or through a proxy that does not pass its Host on")
    if asked.method not in SAFE:
        kind = asked.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return Refusal(415, "send JSON")
    if settings.user_header is not None and not asked.headers.get(settings.user_header.lower(), "").strip():
        return Refusal(403, f"the proxy did not name a user in {settings.user_header}")
    if settings.password is not None and not _knows(settings.password.get_secret_value(), asked.headers):
        return Refusal(401, "the password is missing or wrong")
    return None


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_ours(settings: WebSettings, name: str) -> bool:
    """An address cannot be rebound, a name can."""
    if name == "localhost" or name in {each.lower() for each in (settings.host, *settings.names)}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same_origin(asked: Asked, named: str) -> bool:
    origin = asked.headers.get("origin")
    if origin is not None:
        try:
            return bool(named) and urlsplit(origin).netloc.lower() == named.lower()
        except ValueError:
            return False
    # A browser says where a request comes from, one that opens the page from a link included; other programs do not.
    site = asked.headers.get("sec-fetch-site", "none")
    return site in ("same-origin", "none") or (asked.method in SAFE and not asked.is_socket)


def _knows(password: str, headers: Mapping[str, str]) -> bool:
    """Whether a request has the password, of any user (RFC 7617)."""
    scheme, _, encoded = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        given = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(given.partition(b":")[2], password.encode())
