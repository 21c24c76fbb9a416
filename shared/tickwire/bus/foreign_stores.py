"""Refuses a broker whose store is from another broker: one that stood alone and is now in a cluster, or the reverse.

Measured on nats-server 2.15.1. A server that stood alone and is now in a cluster keeps its streams on disk; the cluster
does not list them, but counts their bytes. A stream that is then made under such a name has copies that differ: that
server's copy contains the old messages. Half a minute after its start the server removes streams that are still
unlisted. A server of a cluster that is started alone does not list its replicated streams either, and a stream that is
made under such a name contains the old messages.
"""

from __future__ import annotations

import asyncio

from nats.js import JetStreamContext
from nats.js.api import StreamConfig, StreamInfo
from nats.js.errors import NotFoundError

from tickwire.bus.requests import retry_jetstream
from tickwire.errors import StorageError

SETTLES_S = 3.0
"""A cluster counts the bytes of removed streams for a moment longer."""
AGAIN_S = 0.25
MARK = "tickwire.bus.foreign_stores"
"""Metadata key that marks a stream that had messages when it was made, so that it is refused again."""


async def check_listed(jetstream: JetStreamContext) -> None:
    """Call before a stream is made. Raises StorageError when bytes are stored and no stream is listed."""
    deadline = asyncio.get_running_loop().time() + SETTLES_S
    while (account := await retry_jetstream(jetstream.account_info)).storage and not account.streams:
        if asyncio.get_running_loop().time() > deadline:
            raise StorageError(
                "a server of the broker stores streams that the broker does not list: its store is of a broker that "
                "stood alone, and with it the copies of a stream would differ",
                "stop that server at once, because it removes them half a minute after its start, and give each server "
                "of a cluster a store of its own that is empty",
            )
        await asyncio.sleep(AGAIN_S)


def check_unmarked(config: StreamConfig) -> None:
    """Raises StorageError when `check_new` refused this stream before."""
    if MARK in (config.metadata or {}):
        raise _refused(config.name)


async def check_new(jetstream: JetStreamContext, made: StreamInfo) -> None:
    """Call after a stream was made. Raises StorageError when it contains messages older than itself."""
    if (
        made.did_create
        and made.state.last_seq >= (made.config.first_seq or 1)
        and not made.config.sources
        and await _is_older(jetstream, made)
    ):
        marked = made.config.evolve(metadata={**(made.config.metadata or {}), MARK: "yes"})
        await retry_jetstream(lambda: jetstream.update_stream(marked))
        raise _refused(made.config.name)


async def _is_older(jetstream: JetStreamContext, made: StreamInfo) -> bool:
    name, first = made.config.name, made.state.first_seq
    assert name is not None
    if not made.state.messages:
        # All of them were removed before it was made.
        return True
    try:
        found = await retry_jetstream(lambda: jetstream.get_msg(name, first))
    except NotFoundError:
        return False
    # Both times are by the broker's clock. Others may already have written to the new stream.
    return found.time is not None and made.created is not None and found.time < made.created


def _refused(name: str | None) -> StorageError:
    return StorageError(
        f"stream {name} had messages when it was made: the broker's store is of another broker, such as a server of a "
        "cluster that is now alone",
        "start the broker as it was before, with the cluster's other servers, or give it an empty store of its own",
    )
