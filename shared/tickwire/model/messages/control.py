"""Requests to every process."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tickwire.model.subjects import Name


class LogLevel(Struct, frozen=True, kw_only=True):
    """`control.log`: set the level of a logger (`tickwire` is the root) in every process, until the process ends."""

    level: Literal["debug", "info", "warning", "error"]
    logger: Name = "tickwire"
