"""`python -m tickwire.simulator`: the simulated exchange as a process."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tickwire.errors import ConfigError, TickwireError
from tickwire.process.imports import uncollected
from tickwire.simulator.config import SimulatorConfig, checked, load


def configured(arguments: list[str]) -> SimulatorConfig:
    """Merge the settings of the command line and of its file. Raises ConfigError; SystemExit for --help."""
    parser = argparse.ArgumentParser(
        prog="tickwire.simulator",
        description="An exchange on loopback, for demonstrations, tests and benchmarks.",
        argument_default=argparse.SUPPRESS,
        exit_on_error=False,
    )
    parser.add_argument("--config", type=Path, help="a TOML file with any of the settings of SimulatorConfig")
    parser.add_argument("--host", help="where to listen (127.0.0.1)")
    parser.add_argument("--port", type=int, help="0: any free port")
    parser.add_argument("--seed", type=int, help="another seed, another market (1)")
    parser.add_argument(
        "--symbol", action="append", dest="symbols", help="generate only these markets; may be repeated"
    )
    parser.add_argument(
        "--symbols", type=int, dest="markets", metavar="N", help="generate more markets until there are N"
    )
    parser.add_argument("--listed", type=int, metavar="MS", help="when the generated markets began")
    parser.add_argument("--history-rate", type=int, metavar="N", help="trades a minute (12)")
    parser.add_argument("--live-rate", type=float, metavar="N", help="trades a second from now on")
    parser.add_argument("--live-from", type=int, metavar="MS", help="when the live rate begins")
    parser.add_argument("--now", type=int, metavar="MS", help="the exchange's clock, which then stands still")
    parser.add_argument("--speed", type=float, help="speed of that clock")
    parser.add_argument("--ping", type=float, dest="ping_s", metavar="S", help="seconds between pings to sockets (20)")
    parser.add_argument("--weight-limit", type=int, metavar="N", help="refuse requests above it, per minute")
    parser.add_argument("--limits", action="store_true", help="enforce the venues' documented limits of sockets")
    parser.add_argument("--play", action="append", metavar="SYMBOL:TIMEFRAME=CSV", help="play candles from a file")
    parser.add_argument("--play-trades", action="append", metavar="SYMBOL=CSV", help="play trades from a file")
    parser.add_argument(
        "--play-wire",
        action="append",
        metavar="PREFIX",
        help="play recorded answers and messages (PREFIX.0, …) on POST /_sim/wire",
    )
    try:
        given, unknown = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise ConfigError(str(error)) from error
    if unknown:
        raise ConfigError(f"no such argument: {unknown[0]}", "see --help")
    options: dict[str, Any] = vars(given)
    settings = load(options.pop("config")) if "config" in options else {}
    for name, parse in (("play", _play), ("play_trades", _play_trades)):
        if name in options:
            options[name] = [parse(each) for each in options[name]]
    return checked(settings | options)


def _play(text: str) -> dict[str, str]:
    name, equals, path = text.partition("=")
    symbol, colon, timeframe = name.rpartition(":")
    if not (equals and colon and path):
        raise ConfigError(f"--play {text!r} is not SYMBOL:TIMEFRAME=CSV", "such as BTC/USDT:1m=candles.csv")
    return {"symbol": symbol, "timeframe": timeframe, "path": path}


def _play_trades(text: str) -> dict[str, str]:
    symbol, equals, path = text.partition("=")
    if not (equals and path):
        raise ConfigError(f"--play-trades {text!r} is not SYMBOL=CSV", "such as BTC/USDT=trades.csv")
    return {"symbol": symbol, "path": path}


def main() -> int:
    """Serve until SIGTERM or SIGINT. Exit code 2 for invalid settings."""
    # `tickwire.process.lifecycle` is not used: it imports settings and logs, which double the start time.
    try:
        config = configured(sys.argv[1:])
        with uncollected():
            from tickwire.simulator.server import serve

        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve(config))
    except TickwireError as error:
        print(f"tickwire.simulator: {error}", file=sys.stderr)
        return 2
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(main())
