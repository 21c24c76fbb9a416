"""A client that keeps interests in one feed alive, then prints `ready`: `subscribers.py URL PATH COUNT TTL_S`."""

from __future__ import annotations

import asyncio
import sys

from tickwire.bus.connection import connect
from tickwire.model import feeds
from tickwire.model.feeds import FeedReport, StartRequest
from tickwire.process import lifecycle
from tickwire.settings import NatsSettings


async def main(stop: asyncio.Event) -> None:
    url, path, count, ttl_s = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    feed = feeds.feed_of(path)

    async def keep(number: int) -> None:
        request = StartRequest(**feed._asdict(), subscriber=f"subscriber-{number}", ttl_s=ttl_s)
        while True:
            await bus.request("streamer.start", request, FeedReport, timeout_s=60)
            if number == count - 1:
                print("ready", flush=True)
            await asyncio.sleep(ttl_s / 3)

    async def keep_all() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(keep(number))

    async with connect(NatsSettings(url=url), name="subscribers") as bus:
        await lifecycle.until_stopped(stop, keep_all())


if __name__ == "__main__":
    sys.exit(lifecycle.run(main))
