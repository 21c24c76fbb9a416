"""Commands of feeds: watch, start, stop, ps, replay."""

from __future__ import annotations

from typing import Annotated

import typer

from tickwire.cli.invoke import invoke
from tickwire.cli.options import (
    GROUP,
    TIME,
    Cadence,
    CandleTimeframes,
    Config,
    Depth,
    Exchange,
    Exchanges,
    Json,
    Kind,
    SomeKind,
    Subscriber,
    Symbol,
    Symbols,
    Watching,
)

app = typer.Typer(**GROUP)


@app.command()
def watch(
    kind: Kind,
    exchange: Exchange,
    symbol: Symbol,
    timeframe: Annotated[str | None, typer.Argument(metavar="[TIMEFRAME]", help="For candles: 1m")] = None,
    depth: Depth = None,
    cadence: Cadence = None,
    count: Annotated[int | None, typer.Option("--count", metavar="N", help="End after N lines.")] = None,
    seconds: Annotated[float | None, typer.Option("--for", metavar="SECONDS", help="End after this time.")] = None,
    config: Config = None,
    json: Annotated[bool, typer.Option("--json", help="Print messages as they are on the bus, one a line.")] = False,
) -> int:
    """Show a feed as it happens.

    Trades scroll, a book is a ladder, candles are a moving chart; where output is not a terminal, each message is a
    line. The feed runs while a subscriber watches it. Missed messages are read back: every trade is shown, once.

    Example: tickwire watch candle binance BTC/USDT 1m
    """
    from tickwire.cli.arguments import FeedNames
    from tickwire.cli.feeds import watch as module

    names = FeedNames(kind, exchange, symbol, timeframe)
    options = module.WatchOptions(names, depth=depth, cadence=cadence, count=count, seconds=seconds, json=json)
    return invoke(module.watch, config, options)


@app.command()
def start(
    kind: Kind,
    exchanges: Exchanges,
    symbols: Symbols,
    timeframes: CandleTimeframes = None,
    subscriber: Subscriber = "cli",
    ttl: Annotated[
        int | None, typer.Option("--ttl", metavar="SECONDS", min=1, help="Expire after this time; never by default.")
    ] = None,
    depth: Depth = None,
    cadence: Cadence = None,
    deltas: Annotated[bool, typer.Option("--deltas", help="Publish every change of a book as well.")] = False,
    config: Config = None,
    json: Json = False,
) -> int:
    """Start feeds; they run until they are stopped.

    Every combination of the comma-separated names is one feed. Prints the subject that each is published on.

    Example: tickwire start candle binance,okx BTC/USDT,ETH/USDT 1m,1h
    """
    from tickwire.cli.arguments import FeedNames
    from tickwire.cli.feeds import interests

    names = FeedNames(kind, exchanges, symbols, timeframes)
    options = interests.StartOptions(names, subscriber, ttl=ttl, depth=depth, cadence=cadence, deltas=deltas)
    return invoke(interests.start, config, options, json)


@app.command()
def stop(
    kind: SomeKind = None,
    exchanges: Annotated[str | None, typer.Argument(metavar="EXCHANGES", help="ccxt ids: binance,okx")] = None,
    symbols: Annotated[str | None, typer.Argument(metavar="SYMBOLS", help="ccxt symbols: BTC/USDT,ETH/USDT")] = None,
    timeframes: CandleTimeframes = None,
    all_: Annotated[bool, typer.Option("--all", help="All feeds of the subscriber.")] = False,
    subscriber: Subscriber = "cli",
    config: Config = None,
    json: Json = False,
) -> int:
    """Stop feeds that were started.

    A feed ends with its last subscriber; `tickwire ps` prints who wants it.

    Example: tickwire stop trade binance BTC/USDT
    """
    from tickwire.cli.arguments import FeedNames
    from tickwire.cli.feeds import interests

    if all_ and kind is not None:
        raise typer.BadParameter("--all stops all feeds: leave their names out")
    if all_:
        return invoke(interests.stop, config, None, subscriber, json)
    if kind is None or exchanges is None or symbols is None:
        raise typer.BadParameter("name the feeds (KIND EXCHANGES SYMBOLS), or give --all")
    return invoke(interests.stop, config, FeedNames(kind, exchanges, symbols, timeframes), subscriber, json)


@app.command()
def ps(
    exchange: Annotated[str | None, typer.Argument(metavar="[EXCHANGE]", help="Only this one.")] = None,
    watching: Watching = False,
    config: Config = None,
    json: Json = False,
) -> int:
    """Print the feeds that have subscribers."""
    from tickwire.cli.feeds import listing

    return invoke(listing.ps, config, exchange, watching, json)


@app.command()
def replay(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the replay; any name.")],
    exchanges: Exchanges,
    symbols: Symbols,
    since: Annotated[str, typer.Option("--since", metavar="TIME", help=f"Begin here. {TIME}")],
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="End here; now by default.")] = None,
    speed: Annotated[
        str, typer.Option("--speed", metavar="FACTOR", help="So many times as fast as it happened, or max.")
    ] = "1",
    kinds: Annotated[
        str, typer.Option("--kinds", metavar="KINDS", help="trade, book, ticker, candle: trade,book")
    ] = "trade",
    timeframes: Annotated[str | None, typer.Option("--timeframes", metavar="NAMES", help="For candles: 1m,1h")] = None,
    depth: Depth = None,
    cadence: Cadence = None,
    config: Config = None,
    json: Json = False,
) -> int:
    """Publish the past again, on subjects replay.NAME.md.KIND.EXCHANGE.SYMBOL.

    Messages are as they were, in the order of the exchanges' timestamps: any program can be run against the past.
    Books are made of archived deltas, candles are the closed ones of the cache. Every combination of the
    comma-separated names is one feed. Ctrl-C ends it. Exit code 3 where something is missing.

    Example: tickwire replay friday binance,okx BTC/USDT --since 2h --speed 10 --kinds trade,book
    """
    from tickwire.cli.feeds import replay as module

    options = module.ReplayOptions(name, exchanges, symbols, since, until, speed, kinds, timeframes, depth, cadence)
    return invoke(module.replay, config, options, json)
