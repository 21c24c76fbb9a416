"""`tickwire markets`: the markets that an exchange lists."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from tickwire.cli.connection import connected, settings_of
from tickwire.cli.output import consoles, render
from tickwire.cli.output.fitting_table import FittingTable
from tickwire.client.listed_markets import page
from tickwire.model.messages import MarketsRequest
from tickwire.model.nearest import did_you_mean
from tickwire.process.lifecycle import Exit


async def markets(
    stop: asyncio.Event, config: Path | None, exchange: str, words: Sequence[str], limit: int, json: bool
) -> int:
    """Print the markets in which each word is, the best first; exit code 1 where there is none.

    Raises UnknownExchange, ExchangeFailed, NoSuchService.
    """
    request = MarketsRequest(exchange=exchange, search=" ".join(words), limit=limit)
    async with connected(settings_of(config), stop) as bus:
        found = await bus.service_wait.call(lambda: page(bus, request))
    if json:
        render.as_json(found)
    elif found.markets:
        table = FittingTable("", ("symbol", "kind", "base", "quote", "trades", "its own name"), least=("its own name",))
        for each in found.markets:
            active = "-" if each.active is None else "yes" if each.active else "no"
            table.add_row(each.symbol, each.kind or "-", each.base, each.quote, active, each.market_id or "-")
        consoles.out().print(table)
        if (more := found.total - len(found.markets)) > 0:
            render.remark(f"and {more:,} more; add a word, or --limit")
    else:
        remedy = f"; {did_you_mean(found.near)}" if found.near else ""
        render.remark(f"{exchange} lists no market like {request.search!r}{remedy}")
    return Exit.OK if found.markets else Exit.FAILED
