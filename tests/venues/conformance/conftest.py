"""One stand for all checks of a case, and the results of a whole run for docs/venues.md."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import ccxt
import msgspec
import pytest
import pytest_asyncio

from tickwire.venues.proof import CHECKS, Proof, Proofs, digest, proofs
from tickwire.venues.registry import profile_of
from venues.conformance.cases import CASES, PARAMETERS, Case
from venues.conformance.stand import Stand, stand

RESULT = "conformance"
FILE = "CONFORMANCE_RESULTS"
"""The variable of the environment that names the file for the results."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PARAMETERS)
async def venue(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stand]:
    """Every service on one simulated venue."""
    case: Case = request.param
    async with stand(case, tmp_path_factory.mktemp(str(case))) as made:
        yield made


@pytest.fixture
def differs(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Notes for docs/venues.md how a venue differs, where that is no failure."""
    return lambda how: request.node.user_properties.append(("differs", how))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Name the case and the check in the report, on whichever worker it is made."""
    if isinstance(item, pytest.Function) and (mark := item.get_closest_marker("check")):
        case = item.callspec.params["venue"]
        item.user_properties.append((RESULT, (str(case), mark.args[0])))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the results of a run to the file that was asked for."""
    found: dict[str, dict[str, str]] = {}
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.getreports(outcome):
            # A file that cannot be imported has a report without any.
            properties = dict(getattr(report, "user_properties", ()))
            if RESULT in properties:
                name, check = properties[RESULT]
                result = str(properties.get("differs", "passed")) if outcome == "passed" else "failed"
                found.setdefault(name, {})[check] = result
    path = os.environ.get(FILE)
    # A worker of xdist knows its own part only.
    if path and found and not hasattr(terminalreporter.config, "workerinput"):
        # A run of some cases keeps the results of the others, each with the digest of the profile that it was made of.
        before = {(each.exchange, each.kind): each for each in proofs().proofs}
        kept = [
            _proof(case, found[str(case)]) if str(case) in found else before[case.exchange, case.kind]
            for case in CASES
            if str(case) in found or (case.exchange, case.kind) in before
        ]
        Path(path).write_bytes(
            msgspec.json.format(msgspec.json.encode(Proofs(ccxt=ccxt.__version__, proofs=kept)), indent=1) + b"\n"
        )


def _proof(case: Case, checks: dict[str, str]) -> Proof:
    return Proof(
        exchange=case.exchange,
        kind=case.kind,
        symbol=case.symbol,
        checks={name: checks[name] for name in CHECKS if name in checks},
        profile=digest(profile_of(case.exchange)),
    )
