"""The group `tickwire archive`: days, import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tickwire.cli.invoke import ask, invoke
from tickwire.cli.options import GROUP, TIME, ArchivedKind, Config, Exchange, Json, MarketKind, Symbol

app = typer.Typer(help="Show what the archive has, and import files.", **GROUP)


@app.command()
def days(
    exchange: Exchange,
    symbol: Symbol,
    since: Annotated[str | None, typer.Option("--since", metavar="T", help=TIME)] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="T", help="As --since; all by default.")] = None,
    kind: Annotated[ArchivedKind, typer.Option("--kind", help="What was archived.")] = ArchivedKind.trade,
    config: Config = None,
    json: Json = False,
) -> int:
    """Print a calendar of archived days: rows, condition and gaps of each.

    A day is `complete` when it was watched from begin to end and nothing is missing; `gaps` when only the named ones
    are; `partial` when it was not watched throughout; `missing` when nothing was; `open` until it is certified.

    Example: tickwire archive days binance BTC/USDT --since 30d
    """
    from tickwire.cli.archive import days as module

    return ask(module.days, config, module.DaysOptions(exchange, symbol, since, until, kind.value), json)


@app.command("import")
def import_(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, and folders of files.")],
    exchange: Annotated[
        str | None, typer.Option("--exchange", metavar="ID", help="Their exchange; binance by default.")
    ] = None,
    market: Annotated[MarketKind, typer.Option("--market", help="The kind of their markets.")] = MarketKind.spot,
    config: Config = None,
    json: Json = False,
) -> int:
    """Import daily files of trades that a venue publishes.

    These are Binance's: BTCUSDT-aggTrades-2026-11-01.zip (and -trades-, where the feeds are of single trades), each
    with its .CHECKSUM beside it. What the archive has already is left as it is. Files that are damaged, or of no known
    market, are named, and the others imported: exit code 1; 3 when only trades within a file are missing.

    Example: tickwire archive import ~/downloads/binance
    """
    from tickwire.cli.archive import import_files as module

    return invoke(module.import_files, config, module.ImportOptions(paths, exchange, market.value), json)
