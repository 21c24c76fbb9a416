"""Opens ccxt exchanges: which exist, which timeframes they offer, and one patched instance for each service.

ccxt is imported on first use, and only the exchanges that are used, because the whole import takes seconds of CPU
(`ccxt_patches.lazy_packages`); services import its base before they serve (`preload`). What an opened exchange does
differently from ccxt's own is listed in `tickwire.exchange.ccxt_patches`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tickwire.errors import ConfigError, UnknownExchange, UnsupportedKind, UnsupportedTimeframe
from tickwire.exchange.ccxt_patches import exact_json, lazy_packages, monotonic_time
from tickwire.exchange.ccxt_types import OpenedExchange
from tickwire.model.nearest import did_you_mean, nearest
from tickwire.model.timeframes import offered
from tickwire.process.imports import uncollected
from tickwire.redaction import hide
from tickwire.settings import CREDENTIALS, ExchangeSettings
from tickwire.venues.registry import declared


@lru_cache(maxsize=1)
def ids() -> tuple[str, ...]:
    """Every exchange id, without importing ccxt. Raises ModuleNotFoundError where it is not installed."""
    spec = importlib.util.find_spec("ccxt")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError("No module named 'ccxt'", name="ccxt")
    folder = Path(spec.submodule_search_locations[0]) / "async_support"
    return tuple(sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__"))


def known(exchange: str) -> str:
    """Return the exchange id. Raises UnknownExchange, naming the nearest id, if ccxt has no such exchange."""
    if exchange not in ids():
        near = nearest(exchange, ids())
        raise UnknownExchange(
            f"there is no exchange {exchange!r}",
            did_you_mean(near) if near else "use a ccxt id, such as binance or okx",
        )
    return exchange


def preload(*, pro: bool = False) -> None:
    """Import what all exchanges share and what is declared of venues, before serving."""
    lazy_packages.install()
    with uncollected():
        declared()
        importlib.import_module("ccxt.async_support.base.exchange")
        if pro:
            importlib.import_module("ccxt.async_support.base.ws.client")


@lru_cache(maxsize=256)
def timeframes(exchange: str) -> tuple[str, ...]:
    """The timeframes that an exchange offers according to ccxt; those that are no timeframe are left out.

    Raises UnknownExchange.
    """
    described = _class(known(exchange))({})
    return offered(described.timeframes or {}) if described.has.get("fetchOHLCV") else ()


async def described(exchange: str) -> None:
    """Have ccxt describe an exchange in a thread, so that `timeframes` need not. Does nothing if there is no such one.

    ccxt's class and an instance of it take 14 ms of CPU at the first time (measured).
    """
    if exchange in ids():
        await asyncio.to_thread(timeframes, exchange)


def check_timeframe(exchange: str, timeframe: str) -> None:
    """Raise UnsupportedTimeframe if the exchange has no candles of this length."""
    offered = timeframes(exchange)
    if timeframe not in offered:
        raise UnsupportedTimeframe(f"{exchange} has no {timeframe} candles", has(offered))


def has(offered: Collection[str]) -> str:
    """The timeframes that there are, as the remedy of an error."""
    return f"it has {', '.join(offered)}" if offered else "it offers no candles at all"


@asynccontextmanager
async def open_exchange(
    exchange: str,
    settings: ExchangeSettings,
    credentials: Mapping[str, str] | None = None,
    *,
    pro: bool = False,
    extended: Callable[[type[Any]], type[Any]] = lambda kind: kind,
) -> AsyncIterator[OpenedExchange]:
    """Open an exchange of `ccxt.async_support`, or of `ccxt.pro` with `pro`, and close it at the end of the block.

    `extended` derives the class that is instantiated from the patched one. `settings.ccxt` is passed on unchanged, and
    every URL goes through `settings.gateway` if there is one.

    Raises UnknownExchange, UnsupportedKind if ccxt.pro lacks the exchange, and ConfigError if ccxt refuses the table.
    """
    # An import takes long, and an instance 8 ms of CPU: not on the loop.
    kind = extended(await asyncio.to_thread(_patched_class, known(exchange), pro=pro))
    try:
        opened = await asyncio.to_thread(kind, {**(credentials or {}), **settings.ccxt})
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise ConfigError(f"ccxt refuses the table exchange.{exchange}.ccxt: {error!r}", "correct it") from error
    hide(keys_of(opened))
    if settings.gateway is not None:
        opened.urls = through_gateway(opened.urls, settings.gateway, opened.hostname)
    if opened.verify is True and opened.ssl_context is None and not opened.options.get("include_OS_certificates"):
        opened.ssl_context = await asyncio.to_thread(_ssl_context, opened.cafile)
    monotonic_time.install_throttler_clock()
    # ccxt keeps clients at class level: two loops in one process (tests) must not share them.
    opened.clients = {}
    # The delay is for sockets of ccxt.pro; an exchange without them need not wait.
    opened.timeout_on_exit = opened.timeout_on_exit if pro else 0
    try:
        yield opened
    finally:
        await opened.close()


def keys_of(exchange: Any) -> list[str]:
    """The credentials of an exchange, from whatever source."""
    return [value for name in CREDENTIALS.values() if isinstance(value := getattr(exchange, name, None), str)]


@cache
def _ssl_context(cafile: str | None) -> ssl.SSLContext:
    """The context that ccxt creates for each exchange by itself; creating one takes long."""
    return ssl.create_default_context(cafile=cafile)


def through_gateway(urls: Any, gateway: str, hostname: str | None = None) -> Any:
    """Replace every URL of a nested table by `<gateway>/<host>/<path>`, with ws for wss.

    The original host stays in the path, because ccxt searches URLs for words (`/stream`, `spot`).
    """
    if isinstance(urls, dict):
        return {name: through_gateway(url, gateway, hostname) for name, url in urls.items()}
    if isinstance(urls, list):
        return [through_gateway(url, gateway, hostname) for url in urls]
    if not isinstance(urls, str):
        return urls
    target = urls.replace("{hostname}", hostname or "{hostname}")
    scheme = urlsplit(target).scheme
    if scheme not in ("http", "https", "ws", "wss"):
        return urls
    rest = target.split("://", 1)[1]
    base = gateway if scheme.startswith("http") else "ws" + gateway.removeprefix("http")
    return f"{base}/{rest}"


def page_limit(features: Any, market: Any, method: str) -> int | None:
    """The largest page of a method for a market by ccxt's `features`; None if it is not stated."""
    branch = (features or {}).get(market.get("type") or "spot") or {}
    if not market.get("spot") and method not in branch:
        branch = branch.get("linear" if market.get("linear") else "inverse") or {}
    limit = (branch.get(method) or {}).get("limit")
    return limit if isinstance(limit, int) and limit >= 2 else None


def _class(exchange: str, *, pro: bool = False) -> type[Any]:
    lazy_packages.install()
    package = importlib.import_module("ccxt.pro" if pro else "ccxt.async_support")
    kind: type[Any] | None = getattr(package, exchange, None)
    if kind is None:
        raise UnsupportedKind(f"{exchange} has no live feeds", "its candles can be fetched")
    if pro:
        exact_json.install()
    return kind


def _patched_class(exchange: str, *, pro: bool) -> type[Any]:
    kind = _class(exchange, pro=pro)
    # It imports ccxt, which must happen after `lazy_packages.install`.
    from tickwire.exchange.ccxt_patches import rest_traps

    return rest_traps.with_rest_traps(kind)
