"""The entry point of `tickwire`. Each command imports its implementation when it runs, so that help is fast."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from tickwire.cli.commands import archive, candles, feeds, inspection, jobs, processes, trades
from tickwire.cli.options import GROUP
from tickwire.cli.output import encoding
from tickwire.process import imports, optional_packages

# Typer's vendored Click has no public name for the base class of its errors.
ClickException = typer.BadParameter.__mro__[2]

app = typer.Typer(
    help="Exchange market data on a bus: live feeds and candles from any exchange, over NATS, into a CSV cache.\n\n"
    "Start with `tickwire demo`, which needs no network, or `tickwire up` and then `tickwire watch` or "
    "`tickwire candles fetch`.",
    epilog="Exit codes: 0 done, or nobody reads the output any more (a closed pipe); 1 failed; 2 wrong usage; "
    "3 something is still missing; 130 Ctrl-C.",
    **GROUP | {"add_completion": True},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from tickwire.model.version import VERSION

        print(f"tickwire {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    context: Annotated[
        str | None,
        typer.Option("--context", metavar="NAME", help="Context of the `nats` command line; else nats.context."),
    ] = None,
) -> None:
    """Options before any command."""
    if context is not None:
        # As the setting, which the processes that a command starts have, too.
        os.environ["TICKWIRE_NATS_CONTEXT"] = context


# Groups without a name: their commands stand at the top.
for group in (processes, inspection, feeds):
    app.add_typer(group.app)
app.add_typer(candles.app, name="candles")
app.add_typer(jobs.app, name="jobs")
app.add_typer(archive.app, name="archive")
app.add_typer(trades.app, name="trades")
candles.app.command("cancel", hidden=True)(jobs.cancel)


def run(arguments: list[str] | None = None) -> int:
    """Run one command (default: of `sys.argv`); return its exit code. Wrong usage prints one line on stderr."""
    given = sys.argv[1:] if arguments is None else arguments
    encoding.for_people()
    try:
        # Until `invoke`, the imports of a command's implementation.
        with imports.uncollected():
            code = app(args=encoding.arguments(given), prog_name="tickwire", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:
        if isinstance(error, ClickException):
            return _wrong_usage(error)
        if (package := optional_packages.absent(error)) is not None:
            command = given[1] if given[:1] == ["service"] and len(given) > 1 else "".join(given[:1])
            print(f"tickwire: {optional_packages.explained(package, command)}", file=sys.stderr)
            return 2
        if not _is_broken_pipe(error):
            raise
        # The reader has what it wanted. Otherwise the interpreter fails to flush the rest of the output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code if isinstance(code, int) else 0


def _wrong_usage(error: Any) -> int:
    """Print what is wrong in one line, or the help of a group without a command; return the exit code."""
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.message)
        return 0
    print(f"tickwire: {_one_line(error)}", file=sys.stderr)
    return 2


def _one_line(error: Any) -> str:
    message = " ".join(error.format_message().split()).rstrip(".").replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    end = "" if message.endswith("?") else ";"
    return f"{message}{end} see `{context.command_path if context else 'tickwire'} --help`"


def _is_broken_pipe(error: BaseException) -> bool:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return isinstance(error, BrokenPipeError)


if __name__ == "__main__":
    sys.exit(run())
