"""The recorded frames of a venue, and their numbers by rules of their own: `json` and `Decimal`, no decoder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any


def compact(frame: Any) -> str:
    """JSON without spaces, as venues send it."""
    return json.dumps(frame, separators=(",", ":"))


def frames(recorded: Path, venue: str, files: str = "ws_*.json") -> Iterator[str]:
    """Every recorded frame of a venue: those of `ws_samples.jsonl`, and one of each of `files`."""
    folder = recorded / "venues" / venue
    for path in folder.glob("ws_samples.jsonl"):
        yield from (compact(json.loads(line)["message"]) for line in path.read_text().splitlines())
    yield from (compact(json.loads(path.read_text())) for path in sorted(folder.glob(files)))


def number(value: Any) -> float:
    """The double nearest to a decimal number or text."""
    return float(Decimal(str(value)))


def levels(side: Any) -> list[tuple[float, float]]:
    """Price and amount of each level of one side; what else a level has is left out."""
    return [(number(level[0]), number(level[1])) for level in side]
