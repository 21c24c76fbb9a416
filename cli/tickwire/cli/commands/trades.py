"""The group `tickwire trades`: get."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tickwire.cli.invoke import invoke
from tickwire.cli.options import GROUP, TIME, Config, Exchange, Symbol, TradeFormat

app = typer.Typer(help="Read archived trades.", **GROUP)


@app.callback()
def group() -> None:
    """Read archived trades."""


@app.command()
def get(
    exchange: Exchange,
    symbol: Symbol,
    since: Annotated[str, typer.Option("--since", metavar="T", help=TIME)],
    until: Annotated[str | None, typer.Option("--until", metavar="T", help="As --since; exclusive.")] = None,
    form: Annotated[TradeFormat, typer.Option("--format", help="Output format.")] = TradeFormat.csv,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="A file instead of standard output.")
    ] = None,
    config: Config = None,
) -> int:
    """Read trades from the archive.

    Writes CSV, JSON lines, or a Parquet file. Columns are timestamp and received (ms, UTC), id, side, price, amount,
    source (live or rest) and sequence (of the tape's message). Ranges that are not archived are reported on standard
    error with exit code 3.

    Example: tickwire trades get binance BTC/USDT --since 2026-03-27 --until 2026-03-28 --format parquet -o day.parquet
    """
    from tickwire.cli.archive import trades as module

    return invoke(module.get, config, module.GetOptions(exchange, symbol, since, until), form, output)
