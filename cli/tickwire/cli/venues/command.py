"""`tickwire venues`: what works on which exchange, and how that is known."""

from __future__ import annotations

import asyncio

from tickwire.cli.output import consoles, render
from tickwire.cli.output.fitting_table import FittingTable
from tickwire.cli.venues import facts
from tickwire.exchange.offers import offer
from tickwire.exchange.opening import ids, known
from tickwire.process.lifecycle import Exit
from tickwire.venues import generic
from tickwire.venues.proof import CHECKS, Standing, proofs, proven_kinds
from tickwire.venues.registry import profile_of


async def venues(_stop: asyncio.Event, exchange: str | None, json: bool) -> int:
    """Print all exchanges, or the facts of one. Raises UnknownExchange."""
    if exchange is None:
        _print_all(json)
    else:
        _print_one(known(exchange), json)
    return Exit.OK


def standing(exchange: str) -> Standing:
    """How what tickwire does on an exchange is known."""
    if proven_kinds(exchange):
        return "proven"
    return "generic" if profile_of(exchange) is generic.PROFILE else "declared"


def _print_all(json: bool) -> None:
    offers = [offer(each) for each in ids()]
    if json:
        render.as_json([{"exchange": each.exchange, "standing": standing(each.exchange), "live": each.live,
                         "proven": proven_kinds(each.exchange), "timeframes": each.timeframes}
                        for each in offers])  # fmt: skip
        return
    order = {"proven": 0, "declared": 1, "generic": 2}
    table = FittingTable(
        "",
        ("exchange", "standing", "proven markets", "live", "after an outage", "history"),
        least=("after an outage", "live", "history"),
        hint=True,
    )
    for each in sorted(offers, key=lambda each: (order[standing(each.exchange)], each.exchange)):
        profile = profile_of(each.exchange)
        table.add_row(
            each.exchange,
            standing(each.exchange),
            ", ".join(proven_kinds(each.exchange)) or "-",
            ", ".join(each.live) or "-",
            facts.outage(profile.trades),
            f"{len(each.timeframes)} timeframes" if each.timeframes else "-",
        )
    consoles.out().print(table)


def _print_one(exchange: str, json: bool) -> None:
    found, profile = offer(exchange), profile_of(exchange)
    of = [each for each in proofs().proofs if each.exchange == exchange]
    stated = list(facts.declared(profile))
    if json:
        render.as_json({"exchange": exchange, "name": found.name, "standing": standing(exchange), "live": found.live,
                        "timeframes": found.timeframes, "facts": [list(each) for each in stated],
                        "proofs": of})  # fmt: skip
        return
    kinds = proven_kinds(exchange)
    table = FittingTable("", (f"{found.name} ({exchange})", ""), prose=("",))
    table.add_row("standing", f"proven: {', '.join(kinds)}" if kinds else f"{standing(exchange)}, not proven yet")
    table.add_row("live feeds", ", ".join(found.live) or "none")
    table.add_row("timeframes", ", ".join(found.timeframes) or "none")
    for topic, phrase in stated:
        table.add_row(topic, phrase)
    for each in of:
        for check, result in each.checks.items():
            if result != "passed":
                table.add_row(f"{each.kind}: {check}", f"{result} ({CHECKS.get(check, check)})")
    consoles.out().print(table)
