"""The group `tickwire candles`: fetch, follow, get, chart, list, verify, audit, adopt, repair."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tickwire.cli.invoke import ask, invoke
from tickwire.cli.options import (
    GROUP,
    TIME,
    Config,
    Exchange,
    Exchanges,
    Format,
    Json,
    JsonLines,
    SomeExchanges,
    SomeSymbols,
    SomeTimeframes,
    Symbol,
    Symbols,
    Timeframes,
)

app = typer.Typer(help="Fetch, read and check candles.", **GROUP)


@app.command()
def fetch(
    exchanges: Exchanges,
    symbols: Symbols,
    timeframes: Timeframes,
    since: Annotated[str, typer.Option("--since", metavar="T", help=TIME)] = "30d",
    until: Annotated[str | None, typer.Option("--until", metavar="T", help="As --since; now by default.")] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Fetch cached candles again.")] = False,
    config: Config = None,
    json: Json = False,
) -> int:
    """Fetch candles into the cache.

    Every combination of the comma-separated names is one job. Only missing candles are requested from the exchange.
    Ctrl-C detaches; the jobs continue. Exit code 0 when everything is complete, 3 when the exchange did not give some
    candles, 1 when something failed.

    Example: tickwire candles fetch binance,okx BTC/USDT,ETH/USDT 1m,1h --since 2024-01-01
    """
    from tickwire.cli.arguments import KeyNames
    from tickwire.cli.candles import fetch as module

    options = module.FetchOptions(KeyNames(exchanges, symbols, timeframes), since, until, refresh=refresh)
    return invoke(module.fetch, config, options, json)


@app.command()
def follow(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids that a detached fetch printed.")],
    config: Config = None,
    json: Json = False,
) -> int:
    """Follow fetch jobs to their end.

    Results are kept for an hour.
    """
    from tickwire.cli.candles import fetch as module

    return invoke(module.follow, config, jobs, json)


@app.command()
def get(
    exchanges: Exchanges,
    symbols: Symbols,
    timeframes: Timeframes,
    since: Annotated[str | None, typer.Option("--since", metavar="T", help=TIME)] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="T", help="As --since; exclusive.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", help="Only the oldest N of each key.")] = None,
    last: Annotated[int | None, typer.Option("--last", metavar="N", help="Only the newest N of each key.")] = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Fetch missing candles first.")] = False,
    form: Annotated[Format, typer.Option("--format", help="Output format.")] = Format.table,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="A file instead of standard output.")
    ] = None,
    config: Config = None,
    json: JsonLines = False,
) -> int:
    """Read candles from the cache.

    Writes a table, a chart, CSV, JSON lines, or a Parquet file. Columns are timestamp (ms, UTC, when the candle opens),
    open, high, low, close, volume; preceded by exchange, symbol and timeframe where several keys are read. A long table
    shows only its beginning and end.

    Missing candles of the range, or without a range of everything cached, are reported on standard error with exit
    code 3.
    """
    from tickwire.cli.arguments import KeyNames
    from tickwire.cli.candles import get as module

    options = module.GetOptions(
        KeyNames(exchanges, symbols, timeframes), since, until, limit=limit, last=last, fetch=fetch
    )
    return invoke(module.get, config, options, Format.jsonl if json else form, output)


@app.command()
def chart(
    exchanges: Exchanges,
    symbols: Symbols,
    timeframes: Timeframes,
    since: Annotated[str | None, typer.Option("--since", metavar="T", help=TIME)] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="T", help="As --since; exclusive.")] = None,
    last: Annotated[int | None, typer.Option("--last", metavar="N", help="Only the newest N of each key.")] = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Fetch missing candles first.")] = False,
    config: Config = None,
) -> int:
    """Draw cached candles in the terminal.

    One chart for each key, of the newest candles that fit into its width; intervals without a candle are empty.
    Missing candles of the range are reported as `candles get` does, with exit code 3.

    Example: tickwire candles chart binance BTC/USDT 1h --since 7d --fetch
    """
    from tickwire.cli.arguments import KeyNames
    from tickwire.cli.candles import get as module

    names = KeyNames(exchanges, symbols, timeframes)
    options = module.GetOptions(names, since, until, last=last, fetch=fetch)
    return invoke(module.get, config, options, Format.chart, None)


@app.command("list")
def list_(
    exchanges: SomeExchanges = None,
    symbols: SomeSymbols = None,
    timeframes: SomeTimeframes = None,
    config: Config = None,
    json: Json = False,
) -> int:
    """Print what is cached.

    Exit code 1 when a file is damaged.
    """
    from tickwire.cli.arguments import KeyFilter
    from tickwire.cli.candles import inventory

    return ask(inventory.list_, config, KeyFilter(exchanges, symbols, timeframes), json)


@app.command()
def verify(
    exchanges: SomeExchanges = None,
    symbols: SomeSymbols = None,
    timeframes: SomeTimeframes = None,
    config: Config = None,
    json: Json = False,
) -> int:
    """Check the cached files.

    Checks order, duplicates, holes and malformed lines, and says where the rows come from: the exchange, the tape
    (built from trades), or audited (compared with the exchange). Exit code 1 when there is a problem.
    """
    from tickwire.cli.arguments import KeyFilter
    from tickwire.cli.candles import inventory

    return ask(inventory.verify, config, KeyFilter(exchanges, symbols, timeframes), json)


@app.command()
def audit(
    exchange: Exchange,
    symbol: Symbol,
    timeframe: Annotated[str, typer.Argument(metavar="TIMEFRAME", help="Such as 1m.")],
    since: Annotated[str | None, typer.Option("--since", metavar="T", help=TIME)] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="T", help="As --since; now by default.")] = None,
    config: Config = None,
    json: Json = False,
) -> int:
    """Compare cached candles with the exchange's own.

    Fetches again what is cached of the range (all of it by default) and has settled, prints what differed, and
    replaces it. Where an archive has complete days of the range, compares it with candles rebuilt from their trades,
    too: what differs there is printed, and the exchange's own candles stay. Ctrl-C cancels. Exit code 0 when everything
    is equal, 1 when something differed or failed, 3 when something could not be compared.
    """
    from tickwire.cli.arguments import KeyNames
    from tickwire.cli.candles import audit as module

    options = module.AuditOptions(KeyNames(exchange, symbol, timeframe), since, until)
    return invoke(module.audit, config, options, json)


@app.command()
def adopt(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    config: Config = None,
    json: Json = False,
) -> int:
    """Assign the cache folder to this broker, where it belonged to another one.

    Candles and their metadata are kept. The caches of the other broker are refused from then on. Run it on the machine
    of the folder, while no cache uses the folder.
    """
    from tickwire.cli.candles import adopt as module

    return invoke(module.adopt, config, yes, json)


@app.command()
def repair(
    exchange: Exchange,
    symbol: Symbol,
    timeframe: Annotated[str, typer.Argument(metavar="TIMEFRAME", help="Such as 1m.")],
    config: Config = None,
    json: Json = False,
) -> int:
    """Move a damaged file aside and keep its good rows.

    Prints which ranges to fetch again.
    """
    from tickwire.cli.arguments import KeyNames
    from tickwire.cli.candles import inventory

    return invoke(inventory.repair, config, KeyNames(exchange, symbol, timeframe), json)
