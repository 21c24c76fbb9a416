"""`tickwire doctor EXCHANGE`: tries each step (`examination.py`) and prints which one fails and the remedy."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
from rich.text import Text

from tickwire import settings as configuration
from tickwire.cli.connection import settings_of
from tickwire.cli.doctor.examination import Examination, Step
from tickwire.cli.output import consoles, render
from tickwire.exchange import opening
from tickwire.exchange.ccxt_patches import lazy_packages
from tickwire.process.lifecycle import Exit, until_stopped

STYLES = {"fine": "green", "failed": "bold red", "skipped": "dim"}


async def doctor(stop: asyncio.Event, config: Path | None, exchange: str, symbol: str | None, json: bool) -> int:
    """Try each step and print its result; exit code 1 where one fails."""
    settings = settings_of(config)
    lazy_packages.install()
    done: list[Step] = []
    own = settings.of_exchange(exchange)

    async def work() -> None:
        async with opening.open_exchange(exchange, own, configuration.credentials(exchange), pro=True) as opened:
            done.extend(await Examination(opened, symbol).steps((lambda _: None) if json else _print))

    await until_stopped(stop, work())
    if not done:
        return Exit.INTERRUPTED
    if json:
        render.as_json({"exchange": exchange, "steps": msgspec.to_builtins(done)})
    return Exit.FAILED if any(each.state == "failed" for each in done) else Exit.OK


def _print(step: Step) -> None:
    """Print a line when a step ends, and one with the remedy where it failed."""
    text = Text.assemble(
        f"{step.step:<12}  ", (f"{step.state:<7}", STYLES[step.state]), f"  {step.seconds:>6.2f} s  ", step.found
    )
    consoles.out().print(text)
    if step.state == "failed":
        render.remark(f"{step.step}: {step.found}; {step.remedy}")
