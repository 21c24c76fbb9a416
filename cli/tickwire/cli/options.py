"""Options and arguments that commands share. Every command imports this module, so it imports nothing heavy."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tickwire.cli import completion

GROUP: dict[str, Any] = {
    "rich_markup_mode": None,
    "no_args_is_help": True,
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
"""Settings of every group of commands."""

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="PATH", help="Settings; else $TICKWIRE_CONFIG, else ./tickwire.toml."),
]
Watching = Annotated[bool, typer.Option("--watch", help="Print again each second, until Ctrl-C.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JsonLines = Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")]
Exchange = Annotated[str, typer.Argument(metavar="EXCHANGE", help="A ccxt id.", autocompletion=completion.exchanges)]
Symbol = Annotated[str, typer.Argument(metavar="SYMBOL", help="A ccxt symbol.")]
Exchanges = Annotated[
    str, typer.Argument(metavar="EXCHANGES", help="ccxt ids: binance,okx", autocompletion=completion.exchanges)
]
Symbols = Annotated[str, typer.Argument(metavar="SYMBOLS", help="ccxt symbols: BTC/USDT,ETH/USDT")]
Timeframes = Annotated[str, typer.Argument(metavar="TIMEFRAMES", help="1m,1h,1d", autocompletion=completion.timeframes)]
SomeExchanges = Annotated[str | None, typer.Argument(metavar="[EXCHANGES]", help="Only these; all by default.")]
SomeSymbols = Annotated[str | None, typer.Argument(metavar="[SYMBOLS]", help="Only these; all by default.")]
SomeTimeframes = Annotated[str | None, typer.Argument(metavar="[TIMEFRAMES]", help="Only these; all by default.")]
Kind = Annotated[
    str, typer.Argument(metavar="KIND", help="trade, book, ticker or candle", autocompletion=completion.kinds)
]
SomeKind = Annotated[
    str | None, typer.Argument(metavar="KIND", help="trade, book, ticker or candle", autocompletion=completion.kinds)
]
CandleTimeframes = Annotated[
    str | None,
    typer.Argument(metavar="[TIMEFRAMES]", help="For candles: 1m,1h", autocompletion=completion.timeframes),
]
Subscriber = Annotated[str, typer.Option("--subscriber", metavar="NAME", help="Name of the subscriber; any name.")]
Depth = Annotated[int | None, typer.Option("--depth", metavar="N", min=1, help="Levels a side of a book.")]
Cadence = Annotated[int | None, typer.Option("--cadence", metavar="MS", min=0, help="Pause between books (ms).")]
TIME = "ISO 8601 (UTC by default), a year, a month, yesterday, ms epoch, or an age: 30d, 12h, 90m, 2w, 1y."


class Format(StrEnum):
    """Formats of candles."""

    table = "table"
    chart = "chart"
    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"


class TradeFormat(StrEnum):
    """Formats of trades."""

    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"


class ArchivedKind(StrEnum):
    """What is archived."""

    trade = "trade"
    book_delta = "book_delta"
    candle = "candle"
    ticker = "ticker"


class MarketKind(StrEnum):
    """Kinds of market."""

    spot = "spot"
    linear = "linear"
    inverse = "inverse"


class Service(StrEnum):
    """Services that `tickwire service` runs."""

    fetcher = "fetcher"
    streamer = "streamer"
    cache = "cache"
    sink = "sink"
    archive = "archive"
    web = "web"


class Level(StrEnum):
    """Levels of log messages."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"
