"""Settings of a simulated exchange: where to listen, which markets to generate or play, which clock to use."""

from __future__ import annotations

import tomllib
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from tickwire.errors import ConfigError


class SymbolConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """One generated market. `symbol` is ccxt's (`BTC/USDT`); `tick` and `lot` are decimal texts."""

    symbol: str
    price: float = 100.0
    """The price that the market moves around."""
    tick: str = "0.01"
    lot: str = "0.001"
    amount: float = 1.0
    """The mean amount of a trade, in base units."""
    history_rate: int | None = None
    live_rate: float | None = None
    levels: int = 500
    """Levels a side of the book."""
    quiet: tuple[int, int] | None = None
    """A time `[since, until)` (ms) of the past in which there is one trade."""


DEFAULT_SYMBOLS = (
    SymbolConfig("BTC/USDT", 60_000, "0.01", "0.00001", 0.05),
    SymbolConfig("ETH/USDT", 3_000, "0.01", "0.0001", 0.8),
    SymbolConfig("SOL/USDT", 150, "0.01", "0.001", 12),
    SymbolConfig("XRP/USDT", 0.6, "0.0001", "1", 2_500),
    SymbolConfig("BNB/USDT", 500, "0.1", "0.001", 3),
    SymbolConfig("DOGE/USDT", 0.15, "0.00001", "1", 9_000),
    SymbolConfig("ETH/BTC", 0.05, "0.00001", "0.0001", 1.5),
    SymbolConfig("XMR/BTC", 0.003, "0.000001", "0.001", 8),
    SymbolConfig("XRP/ETH", 0.0002, "0.00000001", "1", 900),
)


class PlayCandles(Struct, frozen=True, forbid_unknown_fields=True):
    """Play candles of `timeframe` from a CSV file `timestamp,open,high,low,close,volume` (ms, open time)."""

    symbol: str
    timeframe: str
    path: str


class PlayTrades(Struct, frozen=True, forbid_unknown_fields=True):
    """Play trades from a CSV file `timestamp,id,side,price,amount` (ms; side is the taker's)."""

    symbol: str
    path: str


class SimulatorConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """A simulated exchange. All times are ms epoch."""

    host: str = "127.0.0.1"
    port: int = 0
    """0: any free port."""
    seed: int = 1
    symbols: tuple[SymbolConfig, ...] = DEFAULT_SYMBOLS
    markets: int = 0
    """Where there are fewer, more are generated: `T001/USDT` and so on, with books of 20 levels."""
    listed: int = 1_672_531_200_000
    """Every generated market has its first trade in this minute (default: 2023-01-01)."""
    history_rate: int = 12
    """Trades per minute in the past, and also from now on without a `live_rate`."""
    live_rate: float | None = None
    """Trades per second from `live_from` on; absent: `history_rate` continues."""
    live_from: int | None = None
    """Absent: the minute in which the simulator starts."""
    now: int | None = None
    """The exchange's clock at the start; absent: the wall clock, or, where files are played, their end."""
    speed: float | None = None
    """Speed of that clock; absent: 1 on the wall clock, 0 (it stands still) where `now` is given or files are played.

    Where a speed is given and files are played, the clock starts at their beginning.
    """
    ping_s: float = 20.0
    """Seconds between pings to a socket; it is aborted when three stay unanswered (Binance's times)."""
    weight_limit: int | None = None
    """Refuse requests above this weight per minute, as Binance does at 6000; absent: never."""
    limits: bool = False
    """Enforce the documented limits of each venue's sockets: lifetime, subscriptions, messages a second."""
    rules: dict[str, dict[str, Any]] = {}
    """Fields of `rules.Rules` to change, by venue, such as `{"okx": {"lifetime_s": 10}}`; enforced without `limits`."""
    play: tuple[PlayCandles, ...] = ()
    play_trades: tuple[PlayTrades, ...] = ()
    play_wire: tuple[str, ...] = ()
    """Recordings of raw answers and messages, each by the prefix of its files; see `recordings/playback.py`."""


def load(path: Path) -> dict[str, Any]:
    """Read the settings of a TOML file, unchecked. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def checked(settings: dict[str, Any]) -> SimulatorConfig:
    """Validate settings, given by the names of SimulatorConfig's fields. Raises ConfigError.

    A symbol may be a bare name; it gets the defaults of that name.
    """
    known = {spec.symbol: spec for spec in DEFAULT_SYMBOLS}
    symbols = settings.get("symbols")
    if isinstance(symbols, list | tuple):
        named = [known.get(each, {"symbol": each}) if isinstance(each, str) else each for each in symbols]
        settings = settings | {"symbols": [msgspec.to_builtins(each) for each in named]}
    try:
        config = msgspec.convert(settings, SimulatorConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"the simulator's settings: {error}") from error
    for spec in config.symbols:
        _check_symbol(spec)
    _check_rates(config.history_rate, config.live_rate)
    if not 0 <= config.markets <= 2_000:
        raise ConfigError(f"markets {config.markets} is not between 0 and 2000")
    if not 0.01 <= config.ping_s <= 86_400:
        raise ConfigError(f"ping_s {config.ping_s} is not between 0.01 and 86400 seconds")
    if not 0 <= config.port < 65_536:
        raise ConfigError(f"port {config.port} is not between 0 and 65535")
    if config.speed is not None and not 0 <= config.speed <= 1_000_000:
        raise ConfigError(f"speed {config.speed} is not between 0 and 1000000")
    return config


def generated_symbols(config: SimulatorConfig) -> tuple[SymbolConfig, ...]:
    """Return the generated markets: the configured symbols, and more up to `markets`."""
    missing = max(0, config.markets - len(config.symbols))
    return (*config.symbols, *(SymbolConfig(f"T{n:03}/USDT", price=1.0 + n, levels=20) for n in range(1, missing + 1)))


def pair(symbol: str) -> tuple[str, str]:
    """Split `BTC/USDT` into (BTC, USDT). Raises ConfigError."""
    base, slash, quote = symbol.partition("/")
    if not (slash and base.isalnum() and quote.isalnum()):
        raise ConfigError(f"{symbol!r} is not a spot symbol", "write it as ccxt does, such as BTC/USDT")
    return base, quote


def _check_symbol(spec: SymbolConfig) -> None:
    pair(spec.symbol)
    for name, text in (("tick", spec.tick), ("lot", spec.lot)):
        try:
            step = Decimal(text)
        except InvalidOperation:
            step = Decimal(0)
        if not (step > 0 and -8 <= int(step.normalize().as_tuple().exponent) <= 4):
            raise ConfigError(f"{spec.symbol}: {name} {text!r} is not a step between 0.00000001 and 10000")
    if not 1 <= spec.levels <= 5_000:
        raise ConfigError(f"{spec.symbol}: levels {spec.levels} is not between 1 and 5000")
    if spec.price <= 0 or spec.amount <= 0:
        raise ConfigError(f"{spec.symbol}: price and amount must be above zero")
    if spec.quiet is not None and not 0 <= spec.quiet[0] < spec.quiet[1]:
        raise ConfigError(f"{spec.symbol}: quiet {list(spec.quiet)} is not a time: its end must be later")
    _check_rates(spec.history_rate, spec.live_rate)


def _check_rates(history: int | None, live: float | None) -> None:
    if history is not None and not 1 <= history <= 60_000:
        raise ConfigError(f"history_rate {history} is not between 1 and 60000 trades a minute")
    if live is not None and not 0.01 <= live <= 20_000:
        raise ConfigError(f"live_rate {live} is not between 0.01 and 20000 trades a second")
