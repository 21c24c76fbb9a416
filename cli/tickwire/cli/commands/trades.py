"""The group `tickwire trades`: fetch, get."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tickwire.cli.invoke import ask, invoke
from tickwire.cli.options import GROUP, TIME, Config, Exchange, Exchanges, Json, JsonLines, Symbol, Symbols, TradeFormat

app = typer.Typer(help="Fetch and read archived trades.", **GROUP)


@app.command()
def fetch(
    exchanges: Exchanges,
    symbols: Symbols,
    since: Annotated[str, typer.Option("--since", metavar="T", help=TIME)],
    until: Annotated[str | None, typer.Option("--until", metavar="T", help="As --since; today by default.")] = None,
    config: Config = None,
    json: Json = False,
) -> int:
    """Fetch past trades into the archive.

    Every combination of the comma-separated names is one job. Only what the archive lacks is requested, of days (UTC)
    that have ended, from exchanges that give history of trades. Ctrl-C detaches; the jobs continue. Exit code 0 when
    everything is complete, 3 when the exchange did not give some trades, 1 when something failed.

    Example: tickwire trades fetch binance,okx BTC/USDT --since 2026-03-01 --until 2026-03-08
    """
    from tickwire.cli.archive import fetch as module

    return invoke(module.fetch, config, module.FetchOptions(exchanges, symbols, since, until), json)


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
    json: JsonLines = False,
) -> int:
    """Read trades from the archive.

    Writes CSV, JSON lines, or a Parquet file. Columns are timestamp and received (ms, UTC), id, side, price, amount,
    source (live, rest, history or file) and sequence (of the tape's message). Ranges that are not archived are reported
    on standard error with exit code 3.

    Example: tickwire trades get binance BTC/USDT --since 2026-03-27 --until 2026-03-28 --format parquet -o day.parquet
    """
    from tickwire.cli.archive import trades as module

    form = TradeFormat.jsonl if json else form
    return ask(module.get, config, module.GetOptions(exchange, symbol, since, until), form, output)
