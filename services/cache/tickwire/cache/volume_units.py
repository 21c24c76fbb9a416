"""What the volumes of a data file count; no I/O.

A file is in one unit. A page in a unit that says less is refused. One in a unit that says more takes the file over:
rows stored before stay, but their ranges count as unproven until pages in the new unit have covered them. So it is with
files of earlier versions, whose contract markets had base currency and contracts in one file and say no unit at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from tickwire.errors import BadRequest
from tickwire.model.messages import CandlePage, Problem, VolumeUnit
from tickwire.model.ranges import Range, merge, subtract
from tickwire.model.subjects import Key
from tickwire.venues.units import stated

_SAYS: tuple[VolumeUnit | None, ...] = (None, "unknown", "quote", "contracts", "base")
"""Units by how much they say."""


class Volumes(Struct, frozen=True):
    """The unit of a file, None where nothing says it; verified ranges in which rows may be in another one."""

    unit: VolumeUnit | None
    unproven: tuple[Range, ...] = ()

    def proven(self, verified: Iterable[Range]) -> list[Range]:
        """Those of the verified ranges whose rows are in the file's unit."""
        return [part for whole in verified for part in subtract(whole, self.unproven)]

    def taking(self, unit: VolumeUnit | None, known: Sequence[Range], verified: Sequence[Range]) -> Volumes:
        """After rows in `unit` of the ranges `known`, where `verified` was there before."""
        before = self.unproven if unit == self.unit else verified
        after = merge([*verified, *known]) if unit is None else _without(before, known)
        return Volumes(unit, tuple(after))


def read(key: Key, unit: VolumeUnit | None, unproven: Sequence[Range], verified: Sequence[Range]) -> Volumes:
    """What a meta file's words mean: where it says no unit, on contract markets nobody knows it."""
    known = stated(key.symbol, unit)
    return Volumes(known, tuple(verified if known is None else unproven))


def unit_of(page: CandlePage) -> VolumeUnit | None:
    """The unit of a page's volumes; None where nobody knows it."""
    return stated(page.symbol, page.volume_unit)


def best(units: Iterable[VolumeUnit | None]) -> VolumeUnit | None:
    """The one that says most."""
    return max(units, key=_SAYS.index)


def refused(page: CandlePage, unit: VolumeUnit | None) -> BadRequest:
    """Why a page in a unit that says less than `unit` is not stored."""
    said = unit_of(page) or "unstated"
    return BadRequest(
        f"the volumes of a page of {page.key} are in the unit {said!r}, those of its file in {unit!r}",
        "have one version of tickwire write it, then fetch that range again",
    )


def problems(key: Key, found: Volumes) -> list[Problem]:
    """What `cache.verify` says of rows whose unit is not known: one line for each range."""
    remedy = f"tickwire candles fetch {' '.join(key)} --since {{}} --until {{}}"
    return [
        Problem(
            line=0,
            message=f"what the volumes of [{since}, {until}) count is not known, an earlier version stored them: "
            + remedy.format(since, until),
        )
        for since, until in found.unproven
    ]


def _without(ranges: Iterable[Range], gone: Sequence[Range]) -> list[Range]:
    return merge(part for whole in ranges for part in subtract(whole, gone))
