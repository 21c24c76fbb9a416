"""The recorded frames of a venue, and their numbers by rules of their own: `json` and `Decimal`, no decoder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from tickwire.venues.dialect import Decoded

Decode = Callable[[str], Sequence[Decoded] | None]


def compact(frame: Any) -> str:
    """JSON without spaces, as venues send it."""
    return json.dumps(frame, separators=(",", ":"))


def frames(recorded: Path, venue: str, files: str = "ws_*.json") -> Iterator[str]:
    """Every recorded frame of a venue: those of `ws_samples.jsonl`, and one of each of `files`."""
    folder = recorded / "venues" / venue
    for path in folder.glob("ws_samples.jsonl"):
        yield from (compact(json.loads(line)["message"]) for line in path.read_text().splitlines())
    yield from (compact(json.loads(path.read_text())) for path in sorted(folder.glob(files)))


def frames_of_channels(
    recorded: Path, venue: str, decode: Decode, counts: Mapping[str, int]
) -> Iterator[tuple[str, dict[str, Any], Sequence[Decoded]]]:
    """Channel, frame and decoded items of each recorded frame that names one of these channels in `arg`.

    Checks at the end that there were so many of each, and of every other frame that it is left to ccxt.
    """
    seen: Counter[str] = Counter()
    for text in frames(recorded, venue):
        frame = json.loads(text)
        channel = "" if "event" in frame else str(frame.get("arg", {}).get("channel"))
        found = decode(text)
        if channel not in counts:
            assert found is None, text
            continue
        seen[channel] += 1
        assert found is not None, text
        yield channel, frame, found
    assert seen == counts


def only_candle(decode: Decode, text: str, market: str, timeframe: str) -> Any:
    """The one candle of a frame, which is of this market and timeframe."""
    found = decode(text)
    assert found is not None
    ((kind, name, (candle,), length),) = found
    assert (kind, name, length) == ("candle", market, timeframe)
    return candle


def number(value: Any) -> float:
    """The double nearest to a decimal number or text."""
    return float(Decimal(str(value)))


def levels(side: Any) -> list[tuple[float, float]]:
    """Price and amount of each level of one side; what else a level has is left out."""
    return [(number(level[0]), number(level[1])) for level in side]
