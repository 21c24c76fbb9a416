"""`<exchange>_<token>_<timeframe>.meta.json`: what a data file cannot express itself; no I/O."""

from __future__ import annotations

import msgspec
from msgspec import Struct, field

from tickwire.model import messages
from tickwire.model.messages import Provenance, VolumeUnit
from tickwire.model.ranges import Range, merge
from tickwire.model.subjects import Key


class Meta(Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """The key, and the ranges proven complete: an absent candle there means no trade.

    `rows`, `bytes` and `inode` are the data file's when this was written; bytes beyond `bytes` were appended since.
    `volume_unit` is the unit of the volumes (absent: written by an earlier version), except within `other_volumes`,
    where it is not known. The exchange may still revise rows within `unsettled`. `opens_at` is an open time of any
    candle (ms), absent on the usual grid. `provenance` is where the rows come from (absent: written by an earlier
    version, unknown). Certificates that the archive made until `compared_as_of` (ms) were taken into account.
    """

    exchange: str
    symbol: str
    timeframe: str
    verified: list[Range]
    rows: int
    bytes: int
    inode: int
    volume_unit: VolumeUnit | None = None
    other_volumes: list[Range] = field(default_factory=list)
    unsettled: list[Range] = field(default_factory=list)
    opens_at: int | None = None
    provenance: Provenance = field(default_factory=Provenance)
    compared_as_of: int = 0


class _Provenance(Struct, frozen=True, kw_only=True):
    """The same as `Provenance`, with unbounded times."""

    exchange: list[tuple[int, int]] = field(default_factory=list)
    tape: list[tuple[int, int]] = field(default_factory=list)
    audited: list[tuple[int, int]] = field(default_factory=list)
    archived: list[tuple[int, int]] = field(default_factory=list)
    disputed: list[tuple[int, int]] = field(default_factory=list)


class _Meta(Struct, frozen=True, kw_only=True):
    """The same, with unbounded times."""

    exchange: str
    symbol: str
    timeframe: str
    verified: list[tuple[int, int]]
    rows: int
    bytes: int
    inode: int
    volume_unit: VolumeUnit | None = None
    other_volumes: list[tuple[int, int]] = field(default_factory=list)
    unsettled: list[tuple[int, int]] = field(default_factory=list)
    opens_at: int | None = None
    provenance: _Provenance = field(default_factory=_Provenance)
    compared_as_of: int = 0


_decode = messages.decoder(_Meta)


def encode(meta: Meta) -> bytes:
    """The contents of a meta file."""
    return msgspec.json.format(msgspec.json.encode(meta), indent=2) + b"\n"


def decode(data: bytes, key: Key) -> Meta:
    """Decode a meta file. Raises ValueError, in one line, when `data` is not the meta file of `key`.

    Times may exceed the bounds of messages (see `tickwire.cache.future_guard`).
    """
    try:
        found = _decode(data)
        names = ("verified", "other_volumes", "unsettled")
        ranges = {name: [Range(*each) for each in getattr(found, name)] for name in names}
        origins = {
            name: [Range(*each) for each in each_range]
            for name, each_range in msgspec.structs.asdict(found.provenance).items()
        }
        provenance = Provenance(**origins)
        meta = Meta(**msgspec.structs.asdict(found) | ranges | {"provenance": provenance})
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"is not a meta file: {error}") from error
    if (meta.exchange, meta.symbol, meta.timeframe) != key:
        raise ValueError(f"belongs to {meta.exchange} {meta.symbol} {meta.timeframe}")
    if merge(meta.verified) != meta.verified:
        raise ValueError("has verified ranges that are not ascending and apart")
    if any(merge(each) != each for each in origins.values()):
        raise ValueError("has ranges of provenance that are not ascending and apart")
    return meta
