"""The exchange behind the protocols: its symbols, where their trades and candles come from, and its clock."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from tickwire.model.times import now_ms
from tickwire.simulator.candles import INTERVALS, DerivedCandles, Tape
from tickwire.simulator.clock import Clock
from tickwire.simulator.config import SimulatorConfig, made, pair
from tickwire.simulator.market import MINUTE_MS, GeneratedTrades, Trades, Units, key_of
from tickwire.simulator.played import PlayedCandles, PlayedTrades


@dataclass(frozen=True, slots=True)
class Terms:
    """What one contract is: `size` of the base currency, or of the quote currency where `inverse`."""

    size: Decimal
    inverse: bool
    suffix: str = ""
    """What Binance adds to its name."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """One symbol. `tape` is absent where only candles are played."""

    base: str
    quote: str
    key: int
    """What its random numbers besides trades (the book's sizes) depend on."""
    units: Units
    candles: DerivedCandles | PlayedCandles
    tape: Tape | None
    intervals: tuple[str, ...] = INTERVALS
    levels: int = 500
    """How many levels each side of the book has."""
    terms: Terms | None = None
    """Of a contract."""

    @property
    def id(self) -> str:
        """Binance's name for it: `BTCUSDT`."""
        return self.base + self.quote + (self.terms.suffix if self.terms else "")


class Exchange:
    """All symbols and the clock."""

    def __init__(self, config: SimulatorConfig) -> None:
        """Make or read the markets. Raises ConfigError for a file that is not what it should be."""
        self.instruments: dict[str, Instrument] = {}
        self._unlisted: dict[str, Instrument] = {}
        self.contracts: dict[tuple[str, Terms], Instrument] = {}
        """Those asked for so far, by base currency."""
        spans = []
        for candles in config.play:
            played = PlayedCandles(Path(candles.path), candles.timeframe)
            spans.append(played.span)
            self._add(config, candles.symbol, Units(8, 1, 8, 1), played, None, played.intervals())
        for trades in config.play_trades:
            tape = PlayedTrades(Path(trades.path))
            spans.append(tape.span)
            self._add(config, trades.symbol, tape.units, DerivedCandles(tape), tape)
        self.clock = _clock(config, spans)
        now = self.clock.now()
        for spec in made(config):
            base, quote = pair(spec.symbol)
            if base + quote in self.instruments:
                continue
            market = GeneratedTrades(config.seed, spec, config.listed, spec.history_rate or config.history_rate)
            rate = spec.live_rate or config.live_rate
            if rate is not None:
                since = now if config.live_from is None else config.live_from
                market.set_rate(rate, since // MINUTE_MS * MINUTE_MS)
            self._add(config, spec.symbol, market.units, DerivedCandles(market), market, levels=spec.levels)

    def _add(
        self,
        config: SimulatorConfig,
        symbol: str,
        units: Units,
        candles: DerivedCandles | PlayedCandles,
        tape: Tape | None,
        intervals: tuple[str, ...] = INTERVALS,
        levels: int = 500,
    ) -> None:
        base, quote = pair(symbol)
        key = key_of(config.seed, symbol, "book")
        self.instruments[base + quote] = Instrument(base, quote, key, units, candles, tape, intervals, levels)

    def listing(self, instruments: dict[str, Instrument]) -> Exchange:
        """The same exchange with other instruments."""
        other = copy(self)
        other.instruments = instruments
        return other

    def list_(self, symbol: str, *, listed: bool) -> bool:
        """Put a symbol on the list, or take it off; whether there is such a symbol."""
        name = symbol.replace("/", "").replace("-", "")
        source, target = (self._unlisted, self.instruments) if listed else (self.instruments, self._unlisted)
        if name in source:
            target[name] = source.pop(name)
        return name in target

    def instrument(self, symbol: str) -> Instrument | None:
        """By Binance's name, by ccxt's or by OKX's (`BTC-USDT`)."""
        return self.instruments.get(symbol.replace("/", "").replace("-", ""))

    def set_rate(self, instrument: Instrument, rate: float) -> int:
        """Trade at `rate` per second from the next block of trades on; that time (ms). Generated markets only."""
        if not isinstance(instrument.tape, GeneratedTrades) or not isinstance(instrument.candles, DerivedCandles):
            raise ValueError(f"{instrument.id} is played from a file")
        since = instrument.tape.set_rate(rate, self.clock.now() + 1)
        instrument.candles.forget()
        return since

    def burst(self, instrument: Instrument, count: int, ms: int) -> Trades:
        """Trade `count` times within the next `ms`; those trades. Generated markets only."""
        if not isinstance(instrument.tape, GeneratedTrades) or not isinstance(instrument.candles, DerivedCandles):
            raise ValueError(f"{instrument.id} is played from a file")
        trades = instrument.tape.burst(count, ms, self.clock.now() + 1)
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
