"""The command line. Everything heavy is imported by the command that needs it, so that help is instant."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tickwire.cli.options import Format, Level, Service
from tickwire.cli.output import encoding as output_encoding
from tickwire.process import optional_packages

if TYPE_CHECKING:
    import asyncio

# Typer's own copies of Click's errors have no public names but those of their subclass.
ClickException = typer.BadParameter.__mro__[2]

_GROUP: dict[str, Any] = {
    "rich_markup_mode": None,
    "no_args_is_help": True,
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
app = typer.Typer(
    help="Exchange market data on a bus: live feeds and candles from any exchange, over NATS, into a CSV cache.\n\n"
    "Start with `tickwire demo`, which needs no network, or `tickwire up` and then `tickwire watch` or "
    "`tickwire candles fetch`.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 something is still missing, 130 interrupted.",
    **_GROUP,
)
candles = typer.Typer(help="Fetch, read and check candles.", **_GROUP)
app.add_typer(candles, name="candles")
jobs_ = typer.Typer(help="See and cancel fetch jobs.", **_GROUP)
app.add_typer(jobs_, name="jobs")

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="PATH", help="Settings; else $TICKWIRE_CONFIG, else ./tickwire.toml."),
]
Watching = Annotated[bool, typer.Option("--watch", help="Again each second, until Ctrl-C.")]
Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]
Exchanges = Annotated[str, typer.Argument(metavar="EXCHANGES", help="ccxt ids: binance,okx")]
Symbols = Annotated[str, typer.Argument(metavar="SYMBOLS", help="ccxt symbols: BTC/USDT,ETH/USDT")]
Timeframes = Annotated[str, typer.Argument(metavar="TIMEFRAMES", help="1m,1h,1d")]
SomeExchanges = Annotated[str | None, typer.Argument(metavar="[EXCHANGES]", help="Only these; all by default.")]
SomeSymbols = Annotated[str | None, typer.Argument(metavar="[SYMBOLS]", help="Only these; all by default.")]
SomeTimeframes = Annotated[str | None, typer.Argument(metavar="[TIMEFRAMES]", help="Only these; all by default.")]
Kind = Annotated[str, typer.Argument(metavar="KIND", help="trade, book, ticker or candle")]
OfCandles = Annotated[str | None, typer.Argument(metavar="[TIMEFRAMES]", help="For candles: 1m,1h")]
Subscriber = Annotated[str, typer.Option("--subscriber", metavar="NAME", help="On whose behalf; any name.")]
Depth = Annotated[int | None, typer.Option("--depth", metavar="N", min=1, help="Levels a side of a book.")]
Cadence = Annotated[int | None, typer.Option("--cadence", metavar="MS", min=0, help="How often a book is published.")]
TIME = "ISO 8601 (UTC unless it says otherwise), ms epoch, or an age: 30d, 12h, 90m, 2w."


def _run(command: Callable[..., Awaitable[int | None]], *arguments: object) -> int:
    from tickwire.process import lifecycle

    async def main(stop: asyncio.Event) -> int | None:
        return await command(stop, *arguments)

    return lifecycle.run(main)


@app.command()
def up(
    config: Config = None,
    cache: Annotated[int, typer.Option("--cache", metavar="N", help="How many cache processes.")] = 1,
    fetcher: Annotated[int, typer.Option("--fetcher", metavar="N", help="How many fetcher processes.")] = 1,
    streamer: Annotated[int, typer.Option("--streamer", metavar="N", help="How many streamer processes.")] = 1,
) -> int:
    """Run everything in this terminal, kept alive.

    That is a broker unless nats.url is set, and every service; the sink only where sink.url is set. Other commands on
    the same data folder find the broker by themselves. Ctrl-C stops all.
    """
    from tickwire.cli.processes import up as services

    return _run(services.up, config, cache, fetcher, streamer)


@app.command()
def demo(config: Config = None) -> int:
    """Show it all on a simulated exchange, without a network.

    A backfill of several keys, what is cached, a chart, a check of every file; then live trades, book and candles,
    with the exchange's WebSocket cut for three seconds, and a count of what is on the tape: about half a minute.
    Everything it makes is in the folder demo of the data folder. A second run fetches only what is missing.
    """
    from tickwire.cli.demo import demo as module

    return _run(module.demo, config)


@app.command()
def service(
    name: Annotated[Service, typer.Argument(metavar="NAME", help="fetcher, streamer, cache or sink")],
    config: Config = None,
    instance: Annotated[
        str | None, typer.Option("--instance", metavar="ID", help="Unique name of this process; made up by default.")
    ] = None,
) -> int:
    """Run one service in this process, as containers do."""
    from tickwire.cli.processes import up as services

    return _run(services.service, config, name.value, instance)


@app.command()
def declare(config: Config = None) -> int:
    """Make the broker's streams as configured, where services are not permitted to do so by themselves."""
    from tickwire.cli.processes import up as services

    return _run(services.declare, config)


@app.command()
def health(config: Config = None) -> int:
    """Ask the service at metrics.port of this machine whether it is ready: 0 when it is, 1 when not."""
    from tickwire.observe import healthcheck as module

    return module.main(config)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def simulator(context: typer.Context) -> int:
    """Run a simulated exchange on loopback."""
    from tickwire.cli.processes import up as services

    return _run(services.simulator, context.args)


@app.command()
def status(config: Config = None, watching: Watching = False, json: Json = False) -> int:
    """Print what runs: services, leases, jobs, feeds, streams, and how much is cached."""
    from tickwire.cli.status import status as module

    return _run(module.status, config, watching, json)


@app.command()
def url(
    config: Config = None,
    websocket: Annotated[bool, typer.Option("--websocket", help="That of nats.websocket_port.")] = False,
    json: Json = False,
) -> int:
    """Print the URL of the broker with its token, for programs in other languages.

    Whoever has the token may do anything on the broker: hand it on in the environment, not on a command line.

    Example: export NATS_URL=$(tickwire url)
    """
    from tickwire.cli import connection

    return _run(connection.url, config, websocket, json)


@app.command()
def doctor(
    exchange: Annotated[str, typer.Argument(metavar="EXCHANGE", help="A ccxt id.")],
    symbol: Annotated[str | None, typer.Option("--symbol", metavar="SYMBOL", help="The market to look at.")] = None,
    config: Config = None,
    json: Json = False,
) -> int:
    """Try each step on the way to an exchange, and say which one fails and what to do.

    Name, connection, TLS, markets, clock, candles, WebSocket, live trades; from this machine, without any service.
    """
    from tickwire.cli import doctor as module

    return _run(module.doctor, config, exchange, symbol, json)


@app.command()
def watch(
    kind: Kind,
    exchange: Annotated[str, typer.Argument(metavar="EXCHANGE", help="A ccxt id.")],
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="A ccxt symbol.")],
    timeframe: Annotated[str | None, typer.Argument(metavar="[TIMEFRAME]", help="For candles: 1m")] = None,
    depth: Depth = None,
    cadence: Cadence = None,
    count: Annotated[int | None, typer.Option("--count", metavar="N", help="End after so many lines.")] = None,
    seconds: Annotated[float | None, typer.Option("--for", metavar="SECONDS", help="End after so long.")] = None,
    config: Config = None,
    json: Annotated[bool, typer.Option("--json", help="Print messages as they are on the bus, one a line.")] = False,
) -> int:
    """Show a feed as it happens.

    Trades scroll, a book is a ladder, candles are a moving chart; where nobody looks, each message is a line. The feed
    runs as long as somebody watches it. What is missed on the way is read back: every trade is shown, once.

    Example: tickwire watch candle binance BTC/USDT 1m
    """
    from tickwire.cli.feeds import watch as module

    return _run(module.watch, config, kind, exchange, symbol, timeframe, depth, cadence, count, seconds, json)


@app.command()
def start(
    kind: Kind,
    exchanges: Exchanges,
    symbols: Symbols,
    timeframes: OfCandles = None,
    subscriber: Subscriber = "cli",
    ttl: Annotated[
        int | None, typer.Option("--ttl", metavar="SECONDS", min=1, help="Forget it after so long; else until stopped.")
    ] = None,
    depth: Depth = None,
    cadence: Cadence = None,
    deltas: Annotated[bool, typer.Option("--deltas", help="Publish every change of a book as well.")] = False,
    config: Config = None,
    json: Json = False,
) -> int:
    """Have feeds run until they are stopped.

    Every combination of the comma-separated names is one feed. Prints the subject that each is published on.

    Example: tickwire start candle binance,okx BTC/USDT,ETH/USDT 1m,1h
    """
    from tickwire.cli.feeds import interests as feeds

    return _run(
        feeds.start, config, kind, exchanges, symbols, timeframes, subscriber, ttl, depth, cadence, deltas, json
    )


@app.command()
def stop(
    kind: Kind,
    exchanges: Exchanges,
    symbols: Symbols,
    timeframes: OfCandles = None,
    subscriber: Subscriber = "cli",
    config: Config = None,
    json: Json = False,
) -> int:
    """Withdraw what was started.

    A feed ends with its last subscriber.
    """
    from tickwire.cli.feeds import interests as feeds

    return _run(feeds.stop, config, kind, exchanges, symbols, timeframes, subscriber, json)


@app.command()
def ps(
    exchange: Annotated[str | None, typer.Argument(metavar="[EXCHANGE]", help="Only this one.")] = None,
    watching: Watching = False,
    config: Config = None,
    json: Json = False,
) -> int:
    """Print the feeds that somebody is interested in."""
    from tickwire.cli.feeds import interests as feeds

    return _run(feeds.ps, config, exchange, watching, json)


@app.command()
def log(
    level: Annotated[Level, typer.Argument(metavar="LEVEL", help="debug, info, warning or error")],
    logger: Annotated[str, typer.Argument(metavar="[LOGGER]", help="Such as tickwire.fetcher.")] = "tickwire",
    config: Config = None,
) -> int:
    """Change how much the running services log."""
    from tickwire.cli.status import status as module

    return _run(module.log, config, level.value, logger)


@candles.command()
def fetch(
    exchanges: Exchanges,
    symbols: Symbols,
    timeframes: Timeframes,
    since: Annotated[str, typer.Option("--since", metavar="T", help=TIME)] = "30d",
    until: Annotated[str | None, typer.Option("--until", metavar="T", help="As --since; now by default.")] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask the exchange again for what is cached.")] = False,
    config: Config = None,
    json: Json = False,
) -> int:
    """Have candles fetched into the cache.

    Every combination of the comma-separated names is one job. Only what is missing is asked of the exchange. Ctrl-C
    detaches; the jobs go on. Exit code 0 when all is
    complete, 3 when candles are missing that the exchange did not give, 1 when something failed.

    Example: tickwire candles fetch binance,okx BTC/USDT,ETH/USDT 1m,1h --since 2024-01-01
    """
    from tickwire.cli.candles import fetch as module

    return _run(module.fetch, config, exchanges, symbols, timeframes, since, until, refresh, json)


@candles.command()
def follow(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids that a detached fetch printed.")],
    config: Config = None,
    json: Json = False,
) -> int:
    """Follow fetch jobs to their end.

    Their results are kept for an hour.
    """
    from tickwire.cli.candles import fetch as module

    return _run(module.follow, config, jobs, json)


@candles.command()
def get(
    exchanges: Exchanges,
    symbols: Symbols,
    timeframes: Timeframes,
    since: Annotated[str | None, typer.Option("--since", metavar="T", help=TIME)] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="T", help="As --since; not included.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", help="Only the oldest so many of each.")] = None,
    last: Annotated[int | None, typer.Option("--last", metavar="N", help="Only the newest so many of each.")] = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Have what is missing fetched first.")] = False,
    form: Annotated[Format, typer.Option("--format", help="How to write them.")] = Format.table,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Else standard output.")] = None,
    config: Config = None,
) -> int:
    """Read candles from the cache.

    As a table, CSV, JSON lines, or a Parquet file. Columns are timestamp (ms, UTC, when the candle opens), open,
    high, low, close, volume; before them exchange,
    symbol and timeframe where more than one key is read. A long table shows its beginning and end only.

    What is missing in the range asked for, or without one within all that is cached, is said on standard error, and
    the exit code is 3.
    """
    from tickwire.cli.candles import get as module

    return _run(module.get, config, exchanges, symbols, timeframes, since, until, limit, last, fetch, form, output)


@candles.command("list")
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
    from tickwire.cli.candles import inventory as candles_list

    return _run(candles_list.list_, config, exchanges, symbols, timeframes, json)


@candles.command()
def verify(
    exchanges: SomeExchanges = None,
    symbols: SomeSymbols = None,
    timeframes: SomeTimeframes = None,
    config: Config = None,
    json: Json = False,
) -> int:
    """Check the cached files.

    Order, duplicates, holes, malformed lines. Exit code 1 when there is a problem.
    """
    from tickwire.cli.candles import inventory as candles_list

    return _run(candles_list.verify, config, exchanges, symbols, timeframes, json)


@candles.command()
def adopt(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: Config = None,
    json: Json = False,
) -> int:
    """Give the cache folder to this broker, where it belonged to another one.

    Candles and what is known of them stay. The caches of the other broker are refused from then on. To be run where
    the folder is, while no cache works on it.
    """
    from tickwire.cli.candles import adopt as candles_adopt

    return _run(candles_adopt.adopt, config, yes, json)


@candles.command()
def repair(
    exchange: Annotated[str, typer.Argument(metavar="EXCHANGE", help="A ccxt id.")],
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="A ccxt symbol.")],
    timeframe: Annotated[str, typer.Argument(metavar="TIMEFRAME", help="Such as 1m.")],
    config: Config = None,
    json: Json = False,
) -> int:
    """Move a damaged file aside and keep its good rows.

    Says which ranges to fetch again.
    """
    from tickwire.cli.candles import inventory as candles_list

    return _run(candles_list.repair, config, exchange, symbol, timeframe, json)


@jobs_.command("list")
def list_jobs(
    ended: Annotated[bool, typer.Option("--all", help="Also those of the last hour that are done.")] = False,
    config: Config = None,
    json: Json = False,
) -> int:
    """Print the fetch jobs that wait or run, and those that failed within the last hour."""
    from tickwire.cli import jobs

    return _run(jobs.list_, config, ended, json)


@jobs_.command()
def cancel(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids, as `tickwire jobs list` prints them.")],
    config: Config = None,
    json: Json = False,
) -> int:
    """End fetch jobs.

    What they stored is kept. Exit code 1 when nothing is known of one of them.
    """
    from tickwire.cli import jobs as module

    return _run(module.cancel, config, jobs, json)


candles.command("cancel", hidden=True)(cancel)


def run(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code. A wrong usage is one line on standard error."""
    output_encoding.for_people()
    try:
        code = app(
            args=output_encoding.arguments(sys.argv[1:] if arguments is None else arguments),
            prog_name="tickwire",
            standalone_mode=False,
        )
        sys.stdout.flush()
    except BaseException as error:
        if isinstance(error, ClickException):
            return _wrong_usage(error)
        if (package := optional_packages.absent(error)) is not None:
            given = sys.argv[1:] if arguments is None else arguments
            asked = given[1] if given[:1] == ["service"] and len(given) > 1 else "".join(given[:1])
            print(f"tickwire: {optional_packages.explained(package, asked)}", file=sys.stderr)
            return 2
        if not _is_broken_pipe(error):
            raise
        # Whoever read our output has seen enough. The interpreter would complain about the rest on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code if isinstance(code, int) else 0


def _wrong_usage(error: Any) -> int:
    """Say in one line what is wrong; a group of commands alone is a wish for help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.message)
        return 0
    print(f"tickwire: {_one_line(error)}", file=sys.stderr)
    return 2


def _one_line(error: Any) -> str:
    message = " ".join(error.format_message().split()).rstrip(".").replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    return f"{message}; see `{context.command_path if context else 'tickwire'} --help`"


def _is_broken_pipe(error: BaseException) -> bool:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return isinstance(error, BrokenPipeError)


if __name__ == "__main__":
    sys.exit(run())
