"""How far each feed has been written: bucket SINK, an entry for each feed with its totals."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import nats.errors
import nats.js.errors

from tickwire import messages, streams
from tickwire.bus import Bus, cancellable
from tickwire.errors import BadRequest, StorageError
from tickwire.messages import SinkTotals

RETRY_S = 0.5


class Ledger:
    """The totals of feeds, read from the broker when first asked for and kept in memory from then on."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._known: dict[str, SinkTotals] = {}

    async def of(self, path: str) -> SinkTotals:
        """The totals of a feed, such as `trade.binance.BTC-USDT`; a new one starts at nothing."""
        if path not in self._known:
            self._known[path] = await self._read(path)
        return self._known[path]

    def keep(self, path: str, totals: SinkTotals) -> None:
        """From now on these; `save` makes it last."""
        self._known[path] = totals

    async def save(self, paths: Iterable[str]) -> None:
        """Have the totals of these feeds stored by the broker; repeated until they are."""
        async with asyncio.TaskGroup() as group:
            for path in paths:
                group.create_task(self._save(path))

    async def _save(self, path: str) -> None:
        data = messages.encode(self._known[path])
        while True:
            try:
                await cancellable(self._bus.jetstream.publish(_subject(path), data))
            except (nats.errors.Error, nats.js.errors.Error):
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _read(self, path: str) -> SinkTotals:
        while True:
            try:
                last = await self._bus.jetstream.get_last_msg(f"KV_{streams.SINK}", _subject(path))
                return messages.decode(last.data or b"", SinkTotals)
            except BadRequest as error:
                # From nothing, what is written of a feed would begin anew.
                raise StorageError(
                    f"the totals of {path} in {_subject(path)} cannot be read: {error.message}",
                    "delete that key of the bucket, and they begin at nothing",
                ) from error
            except nats.js.errors.NotFoundError:
                return SinkTotals()
            except (nats.errors.Error, nats.js.errors.Error):
                await asyncio.sleep(RETRY_S)


def _subject(path: str) -> str:
    return f"$KV.{streams.SINK}.{path}"
