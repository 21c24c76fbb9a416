"""docs/venues.md: what `make conformance` wrote is still what the profiles, ccxt and the results of the suite say."""

from __future__ import annotations

from pathlib import Path

import ccxt
import pytest

from tickwire.cli.venues.document import document
from tickwire.venues.proof import digest, proofs
from tickwire.venues.registry import profile_of

pytestmark = pytest.mark.golden

PAGE = Path(__file__).parents[2] / "docs" / "venues.md"
AGAIN = "run `make conformance`"


def test_the_page_shows_the_results_of_the_last_run() -> None:
    assert PAGE.read_text() == document(), AGAIN


def test_the_results_are_those_of_this_version_of_ccxt() -> None:
    assert proofs().ccxt == ccxt.__version__, AGAIN


def test_the_results_are_those_of_the_present_profiles() -> None:
    changed = [each.exchange for each in proofs().proofs if each.profile != digest(profile_of(each.exchange))]
    assert changed == [], AGAIN


def test_no_check_of_a_listed_venue_failed() -> None:
    assert [each.exchange for each in proofs().proofs if not each.holds] == [], AGAIN
