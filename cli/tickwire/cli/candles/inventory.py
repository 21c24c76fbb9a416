"""`tickwire candles list`, `verify` and `repair`: what is cached, and whether the files are valid."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from tickwire.bus.connection import Bus
from tickwire.cli import arguments
from tickwire.cli.arguments import KeyFilter, KeyNames
from tickwire.cli.connection import connected, settings_of
from tickwire.cli.output import consoles, render, tables
from tickwire.cli.output.fitting_table import FittingTable
from tickwire.client.inventory import inventory
from tickwire.errors import BadRequest
from tickwire.model.messages import KeyRequest, Repair, Verification
from tickwire.model.subjects import Key
from tickwire.process.lifecycle import Exit

VERIFY_TIMEOUT_S = 120.0
"""Verifying reads whole files, of millions of rows."""


async def list_(stop: asyncio.Event, config: Path | None, names: KeyFilter, json: bool) -> int:
    """Print what is cached; exit code 1 where a file is damaged, or a name selects nothing."""
    choice = arguments.choice(*names)
    async with connected(settings_of(config), stop) as bus:
        found, damaged = await bus.service_wait.call(lambda: inventory(bus))
    known = [each.key for each in found]
    wanted, unmatched = set(arguments.chosen(known, choice)), arguments.unmatched(known, choice)
    shown = [each for each in found if each.key in wanted]
    if json:
        render.as_json({"keys": shown, "damaged": damaged})
    elif shown:
        consoles.out().print(tables.coverage_table(shown))
    elif not found:
        render.remark("nothing is cached yet; fetch something, such as `tickwire candles fetch binance BTC/USDT 1h`")
    for line in [unmatched, *damaged] if unmatched and found else damaged:
        render.remark(line)
    return Exit.FAILED if damaged or unmatched else Exit.OK


async def verify(stop: asyncio.Event, config: Path | None, names: KeyFilter, json: bool) -> int:
    """Check files, all by default; exit code 1 where there is a problem, or a name selects nothing."""
    choice, unmatched = arguments.choice(*names), None
    async with connected(settings_of(config), stop) as bus:
        damaged: list[str] = []
        if names.exchanges and names.symbols and names.timeframes:
            keys = arguments.keys(names.exchanges, names.symbols, names.timeframes)
        else:
            found, damaged = await bus.service_wait.call(lambda: inventory(bus))
            known = [each.key for each in found]
            keys, unmatched = arguments.chosen(known, choice), arguments.unmatched(known, choice)
        results = [await verify_key(bus, key) for key in keys]
    if json:
        render.as_json({"keys": results, "damaged": damaged})
    elif results or not unmatched:
        print_verifications(results)
    for line in [unmatched, *damaged] if unmatched else damaged:
        render.remark(line)
    return Exit.FAILED if damaged or unmatched or any(each.problem_count for each in results) else Exit.OK


async def verify_key(bus: Bus, key: Key) -> Verification:
    """Have the cache check one file."""
    request = KeyRequest(exchange=key.exchange, symbol=key.symbol, timeframe=key.timeframe)
    return await bus.service_wait.call(
        lambda: bus.request("cache.verify", request, Verification, timeout_s=VERIFY_TIMEOUT_S)
    )


def print_verifications(results: list[Verification]) -> None:
    """Print a table of checked files, and below it each problem."""
    if not results:
        render.remark("nothing to verify: nothing is cached")
        return
    columns = ("exchange", "symbol", "timeframe", "rows", "holes", "origin", "result")
    table = FittingTable("", columns, right=("rows", "holes"), least=("holes", "rows"), hint=True)
    for each in results:
        state = render.plural(each.problem_count, "problem") if each.problem_count else "clean"
        table.add_row(
            each.exchange, each.symbol, each.timeframe, f"{each.rows:,}", f"{each.holes:,}", _origins(each), state
        )
    console = consoles.out()
    console.print(table)
    for each in results:
        name = str(Key(each.exchange, each.symbol, each.timeframe))
        for problem in each.problems:
            console.print(f"{name}: {f'line {problem.line}: ' if problem.line else ''}{problem.message}", markup=False)
        if each.problem_count > len(each.problems):
            console.print(f"{name}: and {render.plural(each.problem_count - len(each.problems), 'more problem')}")


def _origins(found: Verification) -> str:
    """How many rows come from where, such as `exchange 1,440, tape 12`."""
    rows = {} if found.provenance is None else msgspec.structs.asdict(found.provenance)
    return ", ".join(f"{origin} {count:,}" for origin, count in rows.items() if count)


async def repair(stop: asyncio.Event, config: Path | None, names: KeyNames, json: bool) -> int:
    """Have the cache move a damaged file aside and keep its good rows."""
    keys = arguments.keys(*names)
    if len(keys) != 1:
        raise BadRequest("repair takes one key", "name one exchange, one symbol and one timeframe")
    key = keys[0]
    request = KeyRequest(exchange=key.exchange, symbol=key.symbol, timeframe=key.timeframe)
    async with connected(settings_of(config), stop) as bus:
        done = await bus.service_wait.call(
            lambda: bus.request("cache.repair", request, Repair, timeout_s=VERIFY_TIMEOUT_S)
        )
    if json:
        render.as_json(done)
        return Exit.OK
    print(f"{key}: kept {render.plural(done.rows_kept, 'row')}, dropped {render.plural(done.lines_dropped, 'line')}")
    for problem in done.problems:
        print(f"line {problem.line} {problem.message}")
    if done.lines_dropped > len(done.problems) > 0:
        print(f"and {render.plural(done.lines_dropped - len(done.problems), 'more line')}")
    if done.moved_to:
        print(f"the damaged file is now {done.moved_to}")
    if done.unverified:
        print(f"fetch again: {render.ranges(done.unverified)}")
    return Exit.OK
