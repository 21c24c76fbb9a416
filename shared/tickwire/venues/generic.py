"""Any venue without a profile of its own: no fact is assumed, and everything is read by ccxt."""

from __future__ import annotations

from tickwire.venues.dialect import Dialect
from tickwire.venues.profile import Profile

PROFILE = Profile(exchanges=())
DIALECT = Dialect()
