"""Writes docs/venues.md: `python -m tickwire.cli.venues.document docs/venues.md`. Part of `make conformance`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tickwire.cli.venues import facts
from tickwire.exchange.offers import Offer, offer
from tickwire.exchange.opening import ids
from tickwire.venues import generic
from tickwire.venues.proof import CHECKS, Proof, proofs
from tickwire.venues.registry import profile_of

_HEAD = """# Venues

`make conformance` writes this page; do not edit it. tickwire serves every exchange of ccxt. **Proven** means:
unmodified ccxt {ccxt} and every service ran against a simulator that speaks this venue's REST and WebSocket protocols,
and each check below passed. The simulator is written from the venue's documentation and recorded messages; where the
real venue differs from these, the proof does not hold. `tickwire venues [EXCHANGE]` prints the same.
"""
_OTHERS = """## Not proven

These exchanges work as far as ccxt does. Nothing is assumed of them: what their answers do not prove complete is listed
as missing, and named. *Declared*: a profile states facts from the venue's documentation, which the suite has not tried.
"""


def document() -> str:
    """The page."""
    found = proofs()
    proven = list(dict.fromkeys(each.exchange for each in found.proofs))
    offers = {exchange: offer(exchange) for exchange in ids()}
    parts = [_HEAD.format(ccxt=found.ccxt), "## Proven\n", _results(found.proofs), "\n".join(_checks())]
    parts += [_venue(offers[exchange]) for exchange in proven]
    parts += [_OTHERS, _others(each for exchange, each in offers.items() if exchange not in proven)]
    return "\n".join(parts)


def _results(found: Sequence[Proof]) -> str:
    rows = [
        (each.exchange, each.kind, each.symbol, *(_cell(each.checks.get(check)) for check in CHECKS)) for each in found
    ]
    return _table(("exchange", "market", "symbol", *CHECKS), rows)


def _cell(result: str | None) -> str:
    return {"passed": "yes", "failed": "**no**", None: "**not run**"}.get(result, str(result))


def _checks() -> Iterator[str]:
    yield "The checks:\n"
    for name, sentence in CHECKS.items():
        yield f"- *{name}*: {sentence}."
    yield ""


def _venue(found: Offer) -> str:
    lines = [f"### {found.name} (`{found.exchange}`)\n"]
    lines += [f"- {topic}: {phrase}" for topic, phrase in facts.declared(profile_of(found.exchange))]
    lines.append(f"- timeframes: {', '.join(found.timeframes)}")
    return "\n".join(lines) + "\n"


def _others(found: Iterable[Offer]) -> str:
    rows = []
    for each in found:
        profile = profile_of(each.exchange)
        rows.append(
            (
                each.exchange,
                ", ".join(each.live) or "none",
                "yes" if each.past_trades else "no",
                f"{len(each.timeframes)} timeframes" if each.timeframes else "none",
                "?" if each.candle_page is None else str(each.candle_page),
                "no" if profile is generic.PROFILE else "yes",
                "; ".join(map(facts.needs, profile.conditions)) or "-",
            )
        )
    return _table(("exchange", "live", "past trades", "candle history", "page", "declared", "needs"), rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(document())
