"""The group `tickwire archive`: days."""

from __future__ import annotations

from typing import Annotated

import typer

from tickwire.cli.invoke import invoke
from tickwire.cli.options import GROUP, TIME, Config, Exchange, Json, Symbol

app = typer.Typer(help="Show what the archive has.", **GROUP)


@app.callback()
def group() -> None:
    """Show what the archive has."""


@app.command()
def days(
    exchange: Exchange,
    symbol: Symbol,
    since: Annotated[str | None, typer.Option("--since", metavar="T", help=TIME)] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="T", help="As --since; all by default.")] = None,
    config: Config = None,
    json: Json = False,
) -> int:
    """Print a calendar of archived trades: rows, condition and gaps of each day.

    A day is `complete` when it was watched from begin to end and no trade is missing; `gaps` when only the named ones
    are; `partial` when it was not watched throughout; `missing` when nothing was; `open` until it is certified.

    Example: tickwire archive days binance BTC/USDT --since 30d
    """
    from tickwire.cli.archive import days as module

    return invoke(module.days, config, module.DaysOptions(exchange, symbol, since, until), json)
