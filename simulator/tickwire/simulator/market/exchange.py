"""The exchange behind the protocols: its instruments, their trades and candles, and its clock."""

from __future__ import annotations

import re
from copy import copy
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from tickwire.model.times import now_ms
from tickwire.simulator.config import SimulatorConfig, generated_symbols, pair
from tickwire.simulator.market.candles import INTERVALS, DerivedCandles, TradeHistory
from tickwire.simulator.market.clock import Clock
from tickwire.simulator.market.generated import MINUTE_MS, GeneratedTrades, Trades, Units, key_of
from tickwire.simulator.market.played import PlayedCandles, PlayedTrades

_SEPARATORS = re.compile(r"[/_-]")


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a contract: `size` is in base currency, or in quote currency where `inverse`."""

    size: Decimal
    inverse: bool
    suffix: str = ""
    """What follows base and quote in the contract's id."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """One instrument. `history` is None where only candles are played."""

    base: str
    quote: str
    key: int
    """The key of its random numbers other than trades: the sizes of the book."""
    units: Units
    candles: DerivedCandles | PlayedCandles
    history: TradeHistory | None
    intervals: tuple[str, ...] = INTERVALS
    levels: int = 500
    """Levels a side of the book."""
    terms: Terms | None = None
    """None for a spot market."""

    @property
    def id(self) -> str:
        """The instrument's id: `BTCUSDT`."""
        return self.base + self.quote + (self.terms.suffix if self.terms else "")

    @property
    def names(self) -> tuple[str, ...]:
        """The names by which orders know it: its id, ccxt's symbol, and ccxt's symbol of its spot market."""
        pair = f"{self.base}/{self.quote}"
        settled = f"{pair}:{self.base if self.terms and self.terms.inverse else self.quote}"
        return self.id, self.base + self.quote, pair, settled


class Exchange:
    """All instruments and the clock."""

    def __init__(self, config: SimulatorConfig) -> None:
        """Generate the markets, or read them from files. Raises ConfigError for an invalid file."""
        self.instruments: dict[str, Instrument] = {}
        self._unlisted: dict[str, Instrument] = {}
        self.contracts: dict[tuple[str, Terms], Instrument] = {}
        """Contracts made so far, by base currency and terms."""
        spans = []
        for candles in config.play:
            played = PlayedCandles(Path(candles.path), candles.timeframe)
            spans.append(played.span)
            self._add(config, candles.symbol, played, None, intervals=played.intervals())
        for trades in config.play_trades:
            history = PlayedTrades(Path(trades.path))
            spans.append(history.span)
            self._add(config, trades.symbol, DerivedCandles(history), history)
        self.clock = _clock(config, spans)
        now = self.clock.now()
        for spec in generated_symbols(config):
            base, quote = pair(spec.symbol)
            if base + quote in self.instruments:
                continue
            market = GeneratedTrades(config.seed, spec, config.listed, spec.history_rate or config.history_rate)
            rate = spec.live_rate or config.live_rate
            if rate is not None:
                since = now if config.live_from is None else config.live_from
                market.set_rate(rate, since // MINUTE_MS * MINUTE_MS)
            self._add(config, spec.symbol, DerivedCandles(market), market, levels=spec.levels)

    def _add(
        self,
        config: SimulatorConfig,
        symbol: str,
        candles: DerivedCandles | PlayedCandles,
        history: TradeHistory | None,
        *,
        intervals: tuple[str, ...] = INTERVALS,
        levels: int = 500,
    ) -> None:
        base, quote = pair(symbol)
        units = Units(8, 1, 8, 1) if history is None else history.units
        key = key_of(config.seed, symbol, "book")
        self.instruments[base + quote] = Instrument(base, quote, key, units, candles, history, intervals, levels)

    def listing(self, instruments: dict[str, Instrument]) -> Exchange:
        """Return the same exchange with other instruments."""
        other = copy(self)
        other.instruments = instruments
        return other

    def list_(self, symbol: str, *, listed: bool) -> bool:
        """List a symbol, or take it off the list; return whether the symbol exists."""
        name = _SEPARATORS.sub("", symbol)
        source, target = (self._unlisted, self.instruments) if listed else (self.instruments, self._unlisted)
        if name in source:
            target[name] = source.pop(name)
        return name in target

    def instrument(self, symbol: str) -> Instrument | None:
        """Return the spot market with a name such as `BTCUSDT`, `BTC/USDT`, `BTC-USDT` or `BTC_USDT`."""
        return self.instruments.get(_SEPARATORS.sub("", symbol))

    def set_rate(self, instrument: Instrument, rate: float) -> int:
        """Trade at `rate` per second from the next block of trades on; return that time (ms).

        Raises ValueError for a market that is played from a file.
        """
        if not isinstance(instrument.history, GeneratedTrades) or not isinstance(instrument.candles, DerivedCandles):
            raise ValueError(f"{instrument.id} is played from a file")
        since = instrument.history.set_rate(rate, self.clock.now() + 1)
        instrument.candles.forget()
        return since

    def burst(self, instrument: Instrument, count: int, ms: int) -> Trades:
        """Trade `count` times within the next `ms`; return those trades.

        Raises ValueError for a market that is played from a file.
        """
        if not isinstance(instrument.history, GeneratedTrades) or not isinstance(instrument.candles, DerivedCandles):
            raise ValueError(f"{instrument.id} is played from a file")
        trades = instrument.history.burst(count, ms, self.clock.now() + 1)
        instrument.candles.forget()
        return trades


def _clock(config: SimulatorConfig, spans: list[tuple[int, int]]) -> Clock:
    now, speed = config.now, config.speed
    if now is None and spans:
        # Files are played to their end at once, or from their beginning at the speed asked for.
        now = min(since for since, _ in spans) if speed else max(until for _, until in spans)
    if speed is None:
        speed = 1.0 if now is None else 0.0
    return Clock(now if now is not None else now_ms(), speed)
