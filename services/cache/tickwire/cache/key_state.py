"""The state of a key's files, in memory and as its meta file stores it; no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tickwire.cache import meta_file, provenance, verify, volume_units
from tickwire.cache.key_facts import KeyFacts
from tickwire.cache.meta_file import Meta
from tickwire.cache.volume_units import VolumeUnits
from tickwire.model.messages import Coverage
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key


@dataclass(frozen=True, slots=True)
class KeyState:
    """The durable contents of a key.

    Every row lies in a verified range. `stale`: the meta file is older, and the rows appended behind its `bytes` prove
    the rest.
    """

    inode: int
    size: int
    rows: int
    first: int | None
    last: int | None
    verified: tuple[Range, ...]
    volumes: VolumeUnits
    facts: KeyFacts
    stale: bool = False


def meta_of(key: Key, state: KeyState) -> bytes:
    """The contents of the meta file."""
    return meta_file.encode(
        Meta(
            exchange=key.exchange,
            symbol=key.symbol,
            timeframe=key.timeframe,
            verified=list(state.verified),
            rows=state.rows,
            bytes=state.size,
            inode=state.inode,
            volume_unit=state.volumes.unit,
            other_volumes=list(state.volumes.unproven),
            unsettled=list(state.facts.unsettled),
            opens_at=state.facts.opens_at,
            provenance=state.facts.provenance,
            compared_as_of=state.facts.compared_as_of,
        )
    )


def volumes_of(key: Key, known: Meta | None, verified: Sequence[Range]) -> VolumeUnits:
    """The units of volumes by a meta file, or without one."""
    if known is None:
        return volume_units.of_meta(key, None, (), verified)
    return volume_units.of_meta(key, known.volume_unit, known.other_volumes, verified)


def facts_of(known: Meta | None) -> KeyFacts:
    """The facts by a meta file, or without one."""
    if known is None:
        return KeyFacts()
    return KeyFacts(known.opens_at, tuple(known.unsettled), known.provenance, known.compared_as_of)


def coverage_of(key: Key, state: KeyState, rows: int, last: int | None) -> Coverage:
    """The coverage of a key with so many plausible rows, the last of them at `last`."""
    return Coverage(
        exchange=key.exchange,
        symbol=key.symbol,
        timeframe=key.timeframe,
        rows=rows,
        first=state.first if rows else None,
        last=last,
        verified=state.facts.settled(state.volumes.proven(state.verified)),
        holes=max(0, verify.candles(state.facts.grid(key), state.verified) - rows),
        bytes=state.size,
        volume_unit=state.volumes.unit,
        opens_at=state.facts.opens_at,
        provenance=provenance.within(state.facts.provenance, state.verified),
    )
