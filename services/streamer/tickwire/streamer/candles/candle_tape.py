"""Opens the tape of one timeframe's candles, so that a new owner continues from the last candle."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import msgspec
from nats.js.api import StreamInfo

from tickwire.bus import streams
from tickwire.errors import BadRequest
from tickwire.model import messages
from tickwire.model.feeds import Candle, Feed
from tickwire.observe import logs
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.tape.writer import TapeWriter, last_message

log = logs.get(__name__)


class CandleTape(NamedTuple):
    """The writer of a tape of candles, and the last candle on it; None if there is none that can be continued.

    The candle's `sequence` is 0 unless the trades' stream still stores what followed it.
    """

    writer: TapeWriter
    last: Candle | None


async def open_candle_tape(context: FeedContext, feed: Feed, info: StreamInfo | None = None) -> CandleTape:
    """Open the tape of `feed`, which has a timeframe; repeats the last candle, which fences an earlier writer.

    `info`: the state of the trades' stream, for candles that are built from it.
    """
    last = await last_message(context.bus, streams.CANDLES, feed.tape)
    writer = TapeWriter(context.bus, streams.CANDLES, feed.tape, last, context.confirm)
    if last is None or last.data is None:
        return CandleTape(writer, None)
    try:
        candle = messages.decode(last.data, Candle)
        refusal = context.venue.admission.refusal(candle.timestamp)
    except BadRequest as error:
        refusal = str(error)
    if refusal is not None:
        log.warning("the last candle cannot be used", **feed.fields, reason=refusal)
        await writer.append(last.data)
        return CandleTape(writer, None)
    if info is None or not can_resume(candle, last.time, info):
        # Repeated with its sequence, it would seem to belong to the present stream of trades.
        candle = msgspec.structs.replace(candle, sequence=0)
    await writer.append(messages.encode(msgspec.structs.replace(candle, repeated=True)))
    return CandleTape(writer, candle)


def can_resume(candle: Candle, published: datetime | None, info: StreamInfo) -> bool:
    """Whether the trades' stream still stores what followed the message that a candle was built from.

    A stream that was created after the candle was published is another one: its sequences mean nothing for it.
    """
    created, state = info.created, info.state
    if created is None or published is None or published < created:
        return False
    return max(1, state.first_seq) <= candle.sequence + (not candle.closed) and 0 < candle.sequence <= state.last_seq
