"""The unit of the volumes in a data file; no I/O.

A file has one unit. A page in a less informative unit is refused. A page in a more informative one changes the file's
unit: older rows stay, but their ranges count as unproven until pages in the new unit have covered them. The same holds
for files of earlier versions, which state no unit and on contract markets mixed base currency and contracts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from tickwire.errors import BadRequest
from tickwire.model.messages import CandlePage, Problem, VolumeUnit
from tickwire.model.ranges import Range, merge, subtract
from tickwire.model.subjects import Key
from tickwire.venues.units import stated

_BY_INFORMATION: tuple[VolumeUnit | None, ...] = (None, "unknown", "quote", "contracts", "base")
"""Units, the least informative first."""


class VolumeUnits(Struct, frozen=True):
    """The unit of a file, None if not stated; and verified ranges in which rows may be in another unit."""

    unit: VolumeUnit | None
    unproven: tuple[Range, ...] = ()

    def proven(self, verified: Iterable[Range]) -> list[Range]:
        """The parts of the verified ranges whose rows are in the file's unit."""
        return [part for whole in verified for part in subtract(whole, self.unproven)]

    def after_writing(
        self, unit: VolumeUnit | None, written: Sequence[Range], verified: Sequence[Range]
    ) -> VolumeUnits:
        """The units once rows in `unit` of the ranges `written` are in the file, which had `verified` before."""
        before = self.unproven if unit == self.unit else verified
        after = merge([*verified, *written]) if unit is None else _without(before, written)
        return VolumeUnits(unit, tuple(after))


def of_meta(key: Key, unit: VolumeUnit | None, unproven: Sequence[Range], verified: Sequence[Range]) -> VolumeUnits:
    """The units by the fields of a meta file. If it states none, the unit is unknown on contract markets."""
    known = stated(key.symbol, unit)
    return VolumeUnits(known, tuple(verified if known is None else unproven))


def unit_of(page: CandlePage) -> VolumeUnit | None:
    """The unit of a page's volumes; None if unknown."""
    return stated(page.symbol, page.volume_unit)


def most_informative(units: Iterable[VolumeUnit | None]) -> VolumeUnit | None:
    """The most informative of some units."""
    return max(units, key=_BY_INFORMATION.index)


def unit_mismatch(page: CandlePage, unit: VolumeUnit | None) -> BadRequest:
    """The error for a page in another, less informative unit than `unit`, its file's."""
    found = unit_of(page) or "unstated"
    return BadRequest(
        f"the volumes of a page of {page.key} are in the unit {found!r}, those of its file in {unit!r}",
        "have one version of tickwire write it, then fetch that range again",
    )


def problems(key: Key, units: VolumeUnits) -> list[Problem]:
    """The findings of `cache.verify` about rows of unknown unit, one for each range."""
    remedy = f"tickwire candles fetch {' '.join(key)} --since {{}} --until {{}}"
    return [
        Problem(
            line=0,
            message=f"the unit of the volumes of [{since}, {until}) is not known, an earlier version stored them: "
            + remedy.format(since, until),
        )
        for since, until in units.unproven
    ]


def _without(ranges: Iterable[Range], gone: Sequence[Range]) -> list[Range]:
    return merge(part for whole in ranges for part in subtract(whole, gone))
