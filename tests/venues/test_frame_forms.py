"""What a decoder reads depends on a frame's content, not its form: spaces, order of fields, and where it breaks off."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tickwire.venues import registry
from venues.recordings import compact, frames
from venues.samples import dialects, sample

pytestmark = pytest.mark.golden

COMBINED = frozenset({"binance"})
"""Recordings of frames within a frame of the venue, which have tests of their own."""
ENDS = 2_000
"""At most so many ends of each frame are tried, evenly spaced."""
VENUES = [each for each in dialects() if each not in COMBINED]


def frames_of(exchange: str, recorded: Path) -> Iterator[dict[str, Any]]:
    """The venue's sample, and every recorded frame of the exchanges that its dialect reads."""
    yield json.loads(sample(exchange).frame)
    for each in registry.profile_of(exchange).exchanges:
        yield from (found for text in frames(recorded, each) if isinstance(found := json.loads(text), dict))


def decoder(exchange: str) -> Callable[[str], Any]:
    """The venue's decoder; what it refuses is the text `refused`."""
    decode = registry.dialect_of(exchange).decode
    assert decode is not None

    def decoded(text: str) -> Any:
        try:
            return decode(text)
        except msgspec.DecodeError:
            return "refused"

    return decoded


def reversed_fields(value: Any) -> Any:
    """A JSON value with the fields of each object in reverse order."""
    if isinstance(value, dict):
        return {name: reversed_fields(each) for name, each in reversed(value.items())}
    return [reversed_fields(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("exchange", VENUES)
def test_a_frame_says_the_same_spaced_and_in_another_order(recorded: Path, exchange: str) -> None:
    decode, read = decoder(exchange), 0
    for frame in frames_of(exchange, recorded):
        found = decode(compact(frame))
        read += found is not None
        assert decode(json.dumps(frame)) == found
        assert decode(json.dumps(frame, indent=1)) == found
        assert decode(compact(reversed_fields(frame))) == found
    assert read >= 5


@pytest.mark.parametrize("exchange", VENUES)
def test_a_frame_that_breaks_off_anywhere_is_refused_or_left_to_ccxt(recorded: Path, exchange: str) -> None:
    decode = decoder(exchange)
    for text in map(compact, frames_of(exchange, recorded)):
        for end in range(0, len(text), 1 + len(text) // ENDS):
            assert decode(text[:end]) in (None, "refused"), text[:end]
