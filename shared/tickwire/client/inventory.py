"""What is cached: every key and its coverage."""

from __future__ import annotations

from tickwire.bus.connection import Bus
from tickwire.model import messages
from tickwire.model.messages import CacheList, Coverage, ListRequest
from tickwire.model.subjects import Key
from tickwire.model.timeframes import duration_ms


async def inventory(bus: Bus) -> tuple[list[Coverage], list[str]]:
    """Return everything that is cached, by key, and the damaged files. Raises NoSuchService."""
    keys: list[Coverage] = []
    damaged: list[str] = []
    async for part in bus.request_chunks(
        "cache.list", ListRequest(), lambda data: messages.decode(data, CacheList), timeout_s=30
    ):
        keys += part.keys
        damaged += part.damaged
    return sorted(keys, key=lambda each: _order(each.key)), sorted(damaged)


def _order(key: Key) -> tuple[str, str, int, str]:
    return key.exchange, key.symbol, duration_ms(key.timeframe), key.timeframe
