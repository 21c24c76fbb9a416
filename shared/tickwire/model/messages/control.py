"""What every process listens to."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tickwire.model.subjects import Name


class LogLevel(Struct, frozen=True, kw_only=True):
    """`control.log`: every process sets the level of a logger (`tickwire` is the root) until it ends."""

    level: Literal["debug", "info", "warning", "error"]
    logger: Name = "tickwire"
