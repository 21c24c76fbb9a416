"""The metrics of a partition's writer, while the broker does not get what it sends, and afterwards."""

from __future__ import annotations

import pytest

from tape.partition import BTC, STREAM, made, texts, writing
from tickwire.bus.connection import connect
from tickwire.settings import NatsSettings
from tickwire.streamer.metrics import of_partitions
from tickwire.tape import partition_writer
from tickwire.tape.partition_writer import PartitionWriter

pytestmark = pytest.mark.actors


def scraped(writer: PartitionWriter) -> tuple[str, str]:
    """The values of messages in flight and of those sent again, as they are scraped."""
    lines = "".join(of_partitions([writer])()).splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    labels = f'{{stream="{STREAM}"}}'
    return found[f"tickwire_tape_in_flight{labels}"], found[f"tickwire_tape_resent_total{labels}"]


async def test_messages_that_are_lost_are_in_flight_and_then_counted_as_sent_again(
    broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_writer, "SILENT_S", 0.3)
    async with connect(NatsSettings(url=broker), name="owner") as bus:
        await made(bus)
        async with writing(bus) as writer:
            send, lost = bus.client.send, list[bytes]()

            def lossy(command: bytes, *, urgent: bool = False) -> bool:
                # The messages, and the end of their batch.
                if len(lost) < 8:
                    lost.append(command)
                    return True
                return send(command, urgent=urgent)

            monkeypatch.setattr(bus.client, "send", lossy)
            for number in range(7):
                writer.append(BTC, b"%d" % number)
            assert scraped(writer) == ("7", "0")
            await writer.durable()
            assert scraped(writer) == ("0", "7")
        assert await texts(bus) == [f"{number}" for number in range(7)]
