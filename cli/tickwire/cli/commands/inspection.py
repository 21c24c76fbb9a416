"""Commands that look at what runs, or change how much it logs: status, url, doctor, venues, markets, log."""

from __future__ import annotations

from typing import Annotated

import typer

from tickwire.cli.invoke import invoke
from tickwire.cli.options import GROUP, Config, Exchange, Json, Level, Watching

app = typer.Typer(**GROUP)


@app.command()
def status(config: Config = None, watching: Watching = False, json: Json = False) -> int:
    """Print what runs: services, leases, jobs, feeds, streams, and how much is cached."""
    from tickwire.cli.status import status as module

    return invoke(module.status, config, watching, json)


@app.command()
def url(
    config: Config = None,
    websocket: Annotated[bool, typer.Option("--websocket", help="The URL of nats.websocket_port.")] = False,
    json: Json = False,
) -> int:
    """Print the URL of the broker with its token, for programs in other languages.

    The token gives full access to the broker: pass it in the environment, not on a command line.

    Example: export NATS_URL=$(tickwire url)
    """
    from tickwire.cli import broker_url

    return invoke(broker_url.url, config, websocket, json)


@app.command()
def doctor(
    exchange: Exchange,
    symbol: Annotated[str | None, typer.Option("--symbol", metavar="SYMBOL", help="The market to try.")] = None,
    config: Config = None,
    json: Json = False,
) -> int:
    """Try each step on the way to an exchange, and print which one fails and the remedy.

    Name, connection, TLS, markets, clock, candles, WebSocket, live trades; from this machine, without any service.
    """
    from tickwire.cli.doctor import command

    return invoke(command.doctor, config, exchange, symbol, json)


@app.command()
def venues(
    exchange: Annotated[str | None, typer.Argument(metavar="[EXCHANGE]", help="A ccxt id, such as kraken.")] = None,
    json: Json = False,
) -> int:
    """Print what works on which exchange, and whether that is proven; for one exchange, its facts.

    Needs no network and no running service.
    """
    from tickwire.cli.venues import command

    return invoke(command.venues, exchange, json)


@app.command()
def markets(
    exchange: Exchange,
    words: Annotated[list[str] | None, typer.Argument(metavar="[WORDS]...", help="Parts of a symbol: btc usdt")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="The most that are printed.")] = 50,
    config: Config = None,
    json: Json = False,
) -> int:
    """Print the markets that an exchange lists, those that have all words; asks a running fetcher.

    Example: tickwire markets binance btc usdt
    """
    from tickwire.cli.venues import markets as module

    return invoke(module.markets, config, exchange, words or [], limit, json)


@app.command()
def log(
    level: Annotated[Level, typer.Argument(metavar="LEVEL", help="debug, info, warning or error")],
    logger: Annotated[str, typer.Argument(metavar="[LOGGER]", help="Such as tickwire.fetcher.")] = "tickwire",
    config: Config = None,
    json: Json = False,
) -> int:
    """Change how much the running services log."""
    from tickwire.cli.status import log as module

    return invoke(module.log, config, level.value, logger, json)
