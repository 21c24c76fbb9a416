"""Opening exchanges: which there are, which timeframes they have, one connection to each with the traps covered.

ccxt is imported on first use, only the exchanges that are used, because that takes CPU
(`tickwire.exchange.ccxt_import`); services import its base before they serve (`preload`).

Traps of ccxt 4.5.90 that are covered here:
- Truncated JSON, an empty body and an HTML page with status 200 all become an empty list of candles (measured):
  here they raise BadResponse.
- A body that breaks off becomes ExchangeError, the class of what must not be retried: here it is NetworkError.
- An integer beyond 64 bits becomes a float: here it keeps its digits (`tickwire.exchange.exact_json`).
- `Retry-After` is not looked at: here no request leaves while it runs.
- A listing of thousands of markets is parsed in one turn of the loop: here beside it
  (`tickwire.exchange.market_loading`).
"""

from __future__ import annotations

import asyncio
import difflib
import gc
import importlib.util
import ssl
import time
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from tickwire.errors import ConfigError, UnknownExchange, UnsupportedKind, UnsupportedTimeframe
from tickwire.exchange import ccxt_import, ccxt_patches, exact_json, market_loading, ohlcv, reachability
from tickwire.exchange.clock import ExchangeClock
from tickwire.model.timeframes import understood
from tickwire.model.times import now_ms
from tickwire.redaction import excerpt, hide
from tickwire.settings import CREDENTIALS, ExchangeSettings


class Gate:
    """Shut while the exchange wants to be left alone."""

    def __init__(self) -> None:
        self._until = 0.0

    def shut(self, seconds: float) -> None:
        """Let nothing through for so long, or longer if it is already shut for longer."""
        self._until = max(self._until, time.monotonic() + seconds)

    @property
    def remaining_s(self) -> float:
        """How long it stays shut, 0.0 when it is open."""
        return max(0.0, self._until - time.monotonic())

    async def passed(self) -> None:
        """Wait until it is open."""
        while (remaining := self.remaining_s) > 0:  # noqa: ASYNC110
            # It may be shut for longer meanwhile.
            await asyncio.sleep(remaining)


def retry_after_s(value: str, now: float) -> float | None:
    """The seconds that a `Retry-After` header asks for (RFC 9110, 10.2.3): a number, or a date after `now` (s)."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return None


def sent_s(headers: Mapping[str, str]) -> float:
    """When an answer was sent (s), by its own `Date` header; by our clock where it has none."""
    date = next((value for name, value in headers.items() if name.lower() == "date"), "")
    try:
        return parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return time.time()


@lru_cache(maxsize=1)
def ids() -> tuple[str, ...]:
    """Every exchange id, without importing ccxt."""
    spec = importlib.util.find_spec("ccxt")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0]) / "async_support"
    return tuple(sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__"))


def known(exchange: str) -> str:
    """The exchange id itself. Raises UnknownExchange, with the nearest name, when ccxt has no such exchange."""
    if exchange not in ids():
        near = difflib.get_close_matches(exchange.lower(), ids(), n=1)
        raise UnknownExchange(
            f"there is no exchange {exchange!r}",
            f"did you mean {near[0]}?" if near else "use a ccxt id, such as binance or okx",
        )
    return exchange


def preload(*, pro: bool = False) -> None:
    """Import what all exchanges need now rather than in the middle of serving."""
    ccxt_import.install()
    importlib.import_module("ccxt.async_support.base.exchange")
    if pro:
        importlib.import_module("ccxt.async_support.base.ws.client")
    # Its very many objects live for ever; a full collection over them was measured to hold up the loop for 0.2 s.
    gc.collect()
    gc.freeze()


@lru_cache(maxsize=256)
def timeframes(exchange: str) -> tuple[str, ...]:
    """The timeframes that an exchange offers, by ccxt's description of it, as far as they are ones.

    Raises UnknownExchange.
    """
    described = _class(known(exchange))({})
    return understood(described.timeframes or ()) if described.has.get("fetchOHLCV") else ()


def check_timeframe(exchange: str, timeframe: str) -> None:
    """Raises UnsupportedTimeframe when the exchange has no candles of this length."""
    offered = timeframes(exchange)
    if timeframe not in offered:
        raise UnsupportedTimeframe(
            f"{exchange} has no {timeframe} candles",
            f"it has {', '.join(offered)}" if offered else "it offers no candles at all",
        )


@asynccontextmanager
async def open_exchange(
    exchange: str,
    settings: ExchangeSettings,
    credentials: Mapping[str, str] | None = None,
    *,
    pro: bool = False,
    extended: Callable[[type[Any]], type[Any]] = lambda kind: kind,
) -> AsyncIterator[Any]:
    """An exchange of `ccxt.async_support` (of `ccxt.pro` with `pro`), closed on the way out.

    Its `gate` is a Gate, its `clock` an ExchangeClock.

    `extended` makes the class that is instantiated of the one that covers the traps.

    `settings.ccxt` is handed over as it stands, and every URL goes through `settings.gateway` where there is one.
    Raises UnknownExchange, UnsupportedKind where `pro` is not to be had, and ConfigError when ccxt refuses the table.
    """
    # What takes longest, an import and the authorities of TLS, beside the loop.
    kind = extended(_careful(cast(Hashable, await asyncio.to_thread(_class, known(exchange), pro=pro))))
    try:
        opened = kind({**(credentials or {}), **settings.ccxt})
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise ConfigError(f"ccxt refuses the table exchange.{exchange}.ccxt: {error!r}", "correct it") from error
    hide(keys_of(opened))
    if settings.gateway is not None:
        opened.urls = through_gateway(opened.urls, settings.gateway, opened.hostname)
    if opened.verify is True and opened.ssl_context is None and not opened.options.get("include_OS_certificates"):
        opened.ssl_context = await asyncio.to_thread(_authorities, opened.cafile)
    ccxt_patches.throttling()
    # Two loops in one process (tests) must not share what ccxt keeps at class level.
    opened.clients = {}
    # Grace for sockets of ccxt.pro; REST alone has none to wait for.
    opened.timeout_on_exit = opened.timeout_on_exit if pro else 0
    try:
        yield opened
    finally:
        await opened.close()


def keys_of(exchange: Any) -> list[str]:
    """The credentials that an exchange of ccxt's has, wherever it has them from."""
    return [value for name in CREDENTIALS.values() if isinstance(value := getattr(exchange, name, None), str)]


@cache
def _authorities(cafile: str | None) -> ssl.SSLContext:
    """As ccxt makes one for each exchange."""
    return ssl.create_default_context(cafile=cafile)


def through_gateway(urls: Any, gateway: str, hostname: str | None = None) -> Any:
    """Every URL of a nested table as `<gateway>/<host>/<path>`, ws for wss; everything else as it is.

    The original host stays in the path, because ccxt looks for words in URLs (`/stream`, `spot`).
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
    """The largest page of a method of a market, by ccxt's `features`; None where it does not say."""
    branch = (features or {}).get(market.get("type") or "spot") or {}
    if not market.get("spot") and method not in branch:
        branch = branch.get("linear" if market.get("linear") else "inverse") or {}
    limit = (branch.get(method) or {}).get("limit")
    return limit if isinstance(limit, int) and limit >= 2 else None


@cache
def _careful(kind: Any) -> type[Any]:
    """The exchange class with the traps covered."""
    errors = _errors()
    import aiohttp

    class Careful(kind):  # type: ignore[misc]
        def __init__(self, config: dict[str, Any]) -> None:
            self.gate = Gate()
            self._answered = 0
            self._turn = asyncio.Lock()
            super().__init__(config)
            self.clock = ExchangeClock(self.fetch_time if self.has.get("fetchTime") else None)

        def milliseconds(self) -> int:
            # Requests end at "now" and are signed with it: the exchange's, where it is known.
            clock: ExchangeClock | None = self.__dict__.get("clock")
            told = None if clock is None else clock.now()
            return now_ms() if told is None else told

        async def fetch(self, url: Any, method: Any = "GET", headers: Any = None, body: Any = None) -> Any:
            await self.gate.passed()
            try:
                answer = await super().fetch(url, method, headers, body)
            except errors.ExchangeError as error:
                if isinstance(error.__cause__, aiohttp.ClientError):
                    raise errors.NetworkError(f"{error}: {error.__cause__!r}") from error
                raise
            # Pages that came together are parsed one at a time, and the loop turns between them.
            async with self._turn:
                await asyncio.sleep(0)
            return answer

        def on_rest_response(
            self, code: Any, reason: Any, url: Any, method: Any, headers: Any, body: Any, *request: Any
        ) -> Any:
            self._answered = int(code)
            self.clock.observe(headers)
            asked = next((value for name, value in headers.items() if name.lower() == "retry-after"), None)
            if asked is not None and code >= 400:
                self.gate.shut(retry_after_s(asked, sent_s(headers)) or 0.0)
            text = super().on_rest_response(code, reason, url, method, headers, body, *request)
            if reachability.refuses(self._answered, headers, text):
                # ccxt takes both for an exchange that is away, which passes.
                kind = errors.RestrictedLocation if self._answered == 451 else errors.PermissionDenied
                raise kind(f"{self.id} {method} {url} {code} {reason} {excerpt(text, 200)}")
            if method == "GET" and 200 <= code < 300 and (not text or text.startswith("<")):
                raise errors.BadResponse(f"{self.id} GET {url} answered {excerpt(text, 60)!r}, which is not JSON")
            return text

        def set_markets(self, *described: Any) -> Any:
            made = super().set_markets(*described)
            # Thousands of tables that live as long as the exchange: see `preload`.
            gc.freeze()
            return made

        async def load_markets_helper(self, reload: bool = False, params: Any = None) -> Any:
            if self.markets and not reload:
                return await super().load_markets_helper(reload, params or {})
            load = super().load_markets_helper.__func__
            return await market_loading.beside(self, lambda twin: load(twin, reload, params or {}))

        def parse_ohlcvs(
            self,
            ohlcvs: Any,
            market: Any = None,
            timeframe: str = "1m",
            since: Any = None,
            limit: Any = None,
            tail: bool = False,
        ) -> Any:
            if isinstance(ohlcvs, dict):
                # One list for each column, at some venues, which have a parser of their own for it.
                return super().parse_ohlcvs(ohlcvs, market, timeframe, since, limit, tail)
            # ccxt takes a text for a list of letters, each of which is no candle: an empty page.
            if ohlcvs is not None and not isinstance(ohlcvs, list):
                raise errors.BadResponse(f"{self.id} answered {str(ohlcvs)[:60]!r} for candles")
            rows = ohlcv.parsed(ohlcvs or [], lambda row: self.parse_ohlcv(row, market))
            sound = [row for row in rows if isinstance(row, list) and row and isinstance(row[0], int)]
            return self.filter_by_since_limit(self.sort_by(sound, 0), since, limit, 0, tail)

        async def fetch_whole_page(
            self, symbol: str, timeframe: str, since: int | None, limit: int, until: int | None = None
        ) -> Any:
            """Candles as the exchange gave them, before ccxt cuts them to `since` and `limit`.

            What cannot be read stands between them as it is. Where one answer is put together of several pages, or
            not parsed as pages are, it is what `fetch_ohlcv` makes of it.
            """
            with ohlcv.whole_pages() as pages:
                rows = await self.fetch_ohlcv(
                    symbol, timeframe, since, limit, {} if until is None else {"until": until}
                )
            return pages[0] if len(pages) == 1 else rows

        def on_json_response(self, body: str) -> Any:
            try:
                return exact_json.loads(body)
            except ValueError as error:
                # With an error status, the status says more than the broken body.
                if 200 <= self._answered < 300:
                    raise errors.BadResponse(f"{self.id} answered broken JSON: {error}") from error
                raise

    Careful.__name__ = kind.__name__
    return Careful


def _class(exchange: str, *, pro: bool = False) -> type[Any]:
    ccxt_import.install()
    package = importlib.import_module("ccxt.pro" if pro else "ccxt.async_support")
    kind: type[Any] | None = getattr(package, exchange, None)
    if kind is None:
        raise UnsupportedKind(f"{exchange} has no live feeds", "its candles can be fetched")
    if pro:
        exact_json.install()
    return kind


def _errors() -> Any:
    ccxt_import.install()
    return importlib.import_module("ccxt.base.errors")
