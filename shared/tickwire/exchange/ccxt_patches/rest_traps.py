"""Traps of ccxt's REST in the form of a mixin class, each with what it does instead.

ccxt 4.5.90, all measured or read:
- Truncated JSON, an empty body and an HTML page with status 200 become an empty list of candles: here BadResponse.
- A body that breaks off becomes ExchangeError, the class of errors that must not be retried: here NetworkError.
- An integer beyond 64 bits becomes a float: here it keeps its digits (`exact_json`), also where it is used
  (`exact_integers`).
- `Retry-After` is ignored: here no request is sent before it has passed (`gate`).
- 451 and 403 become ExchangeNotAvailable, which is retried: here RestrictedLocation and PermissionDenied.
- 21 classes read 429 and 503 with a body that is not their own as a plain ExchangeError, which is not retried
  (cryptocom, deepcoin: any body; bybit, kucoin, okx: JSON without their code): here the error that the status stands
  for.
- "Now" is this machine's wall clock: here the exchange's clock, as far as it is known.
- A listing of thousands of markets is parsed in one turn of the loop: here in slices in a thread (`market_loading`,
  `large_json`).
- Trades of one millisecond are sorted by id: here they stay in the venue's order (`venue_order`).
- A text in place of candles is an empty page: here BadResponse. Pages are parsed by column (`ohlcv`).

Upstream: the empty page for an empty body is intended (https://github.com/ccxt/ccxt/pull/19352), and so is the class of
errors for 451 (https://github.com/ccxt/ccxt/issues/16044 shows it); no issue found about the rest.
"""

from __future__ import annotations

import gc
from collections.abc import Hashable
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import aiohttp
from ccxt.base import errors

from tickwire.exchange import ohlcv, reachability
from tickwire.exchange.ccxt_patches import exact_json, large_json, market_loading
from tickwire.exchange.ccxt_patches.exact_integers import ExactIntegers
from tickwire.exchange.ccxt_patches.venue_order import VenueOrder
from tickwire.exchange.clock import ExchangeClock
from tickwire.exchange.gate import Gate, retry_after_s, sent_s
from tickwire.model.times import now_ms
from tickwire.process.loop_yield import StepPerTurn
from tickwire.redaction import excerpt
from tickwire.venues.candle_forms import CandleColumns, CandleTexts
from tickwire.venues.registry import dialect_of
from tickwire.venues.units import kind_of

if TYPE_CHECKING:
    from ccxt.async_support.base.exchange import Exchange
else:
    Exchange = object


_LIMITED = (418, 429)
"""HTTP statuses of a client that sends too much."""


class RestTraps(Exchange):  # type: ignore[misc]
    """Goes before an exchange class of ccxt among the bases of a class; see the module."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.gate = Gate()
        self._answered = 0
        self.steps = StepPerTurn()
        super().__init__(config)
        self.clock = ExchangeClock(self.fetch_time if self.has.get("fetchTime") else None)

    def milliseconds(self) -> int:
        # ccxt ends time ranges at it and signs requests with it.
        clock: ExchangeClock | None = self.__dict__.get("clock")
        now = None if clock is None else clock.now()
        return now_ms() if now is None else now

    async def fetch(self, url: Any, method: Any = "GET", headers: Any = None, body: Any = None) -> Any:
        await self.gate.passed()
        try:
            answer = await super().fetch(url, method, headers, body)
        except errors.ExchangeError as error:
            if isinstance(error.__cause__, aiohttp.ClientError):
                raise errors.NetworkError(f"{error}: {error.__cause__!r}") from error
            raise
        # Pages that arrive together are parsed one in each turn of the loop.
        async with self.steps:
            if isinstance(answer, large_json.Unparsed) and not large_json.is_postponed(answer.text):
                answer = self.parsed_later(answer)
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
            # ccxt treats both as an exchange that is temporarily unavailable.
            kind = errors.RestrictedLocation if self._answered == 451 else errors.PermissionDenied
            raise kind(f"{self.id} {method} {url} {code} {reason} {excerpt(text, 200)}")
        if method == "GET" and 200 <= code < 300 and (not text or text.startswith("<")):
            raise errors.BadResponse(f"{self.id} GET {url} answered {excerpt(text, 60)!r}, which is not JSON")
        return text

    def handle_errors(self, code: Any, reason: Any, url: Any, method: Any, headers: Any, body: Any, *more: Any) -> Any:
        if more and isinstance(more[0], large_json.Unparsed):
            # Whoever parses it calls this method again.
            more[0].answer = (code, reason, url, method, headers, body, *more[1:])
            return None
        try:
            return super().handle_errors(code, reason, url, method, headers, body, *more)
        except errors.ExchangeError as error:
            # An error that the venue's own code stands for is kept, but whoever is limited may ask again.
            if code in _LIMITED or (code >= 500 and type(error) is errors.ExchangeError):
                self.handle_http_status_code(code, reason, url, method, excerpt(body or "", 200))
            raise

    def set_markets(self, *described: Any) -> Any:
        made = super().set_markets(*described)
        # Thousands of dicts that live as long as the exchange: see `opening.preload`.
        gc.freeze()
        return made

    def parsed_later(self, answer: large_json.Unparsed) -> Any:
        """Parse what was left unparsed, in any thread. Raises as `fetch` does."""
        code, reason, url, method, headers, body, *more = answer.answer
        parsed = self.parsed(answer.text)
        self.handle_errors(code, reason, url, method, headers, body, parsed, *more)
        return parsed

    def parsed(self, text: str) -> Any:
        """Parse the text of an answer: a page of candles by the form that this task requests. Raises BadResponse."""
        form = ohlcv.form.get()
        if form is not None and (page := form.read(text)) is not None:
            return page
        try:
            return large_json.loads(text) if form is None else exact_json.loads(text)
        except ValueError as error:
            raise errors.BadResponse(f"{self.id} answered broken JSON: {error}") from error

    async def load_markets_helper(self, reload: bool = False, params: Any = None) -> Any:
        if self.markets and not reload:
            return await super().load_markets_helper(reload, params or {})
        load = super().load_markets_helper.__func__
        return await market_loading.beside(self, lambda twin: load(twin, reload, params or {}))

    def convert_trading_view_to_ohlcv(self, ohlcvs: Any, *names: Any, **options: Any) -> Any:
        convert = super().convert_trading_view_to_ohlcv
        if isinstance(ohlcvs, CandleColumns):
            return ohlcvs.converted(lambda columns: convert(columns, *names, **options))
        return convert(ohlcvs, *names, **options)

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
            # Some venues send one list for each column; ccxt has a parser for that.
            return super().parse_ohlcvs(ohlcvs, market, timeframe, since, limit, tail)
        # ccxt iterates over a text, and drops each letter: an empty page.
        if ohlcvs is not None and not isinstance(ohlcvs, list):
            raise errors.BadResponse(f"{self.id} answered {str(ohlcvs)[:60]!r} for candles")
        if isinstance(ohlcvs, CandleTexts):
            if (typed := ohlcv.typed(ohlcvs, lambda row: self.parse_ohlcv(row, market))) is not None:
                # Only `fetch_whole_page` requests them, and takes them as they are.
                return typed
            ohlcvs = ohlcvs.candles()
        rows = ohlcv.parsed(ohlcvs or [], lambda row: self.parse_ohlcv(row, market))
        sound = [row for row in rows if isinstance(row, list) and row and isinstance(row[0], int)]
        return self.filter_by_since_limit(self.sort_by(sound, 0), since, limit, 0, tail)

    async def fetch_whole_page(
        self, symbol: str, timeframe: str, since: int | None, limit: int, until: int | None = None
    ) -> Any:
        """A page of candles before ccxt cuts it to `since` and `limit`.

        A candle that cannot be parsed is a text. If ccxt joins several pages, or does not parse them as pages, the
        result is that of `fetch_ohlcv`.
        """
        market = (self.markets or {}).get(symbol)
        form = None if market is None else dialect_of(self.id).candles.of(kind_of(market))
        with ohlcv.whole_pages(form) as pages:
            rows = await self.fetch_ohlcv(symbol, timeframe, since, limit, {} if until is None else {"until": until})
        return pages[0] if len(pages) == 1 else rows

    def on_json_response(self, body: str) -> Any:
        if 200 <= self._answered < 300 and (ohlcv.form.get() is not None or large_json.is_postponed(body)):
            # `fetch` has it parsed.
            return large_json.Unparsed(body)
        try:
            return exact_json.loads(body)
        except ValueError as error:
            # With an error status, ccxt raises a better error for the status.
            if 200 <= self._answered < 300:
                raise errors.BadResponse(f"{self.id} answered broken JSON: {error}") from error
            raise


def with_rest_traps(kind: type[Any]) -> type[Any]:
    """The exchange class with the traps covered; the same one each time."""
    return _covered(cast(Hashable, kind))


@cache
def _covered(kind: Any) -> type[Any]:
    return type(kind.__name__, (RestTraps, ExactIntegers, VenueOrder, kind), {})
