"""Takes data from ccxt's Client before anything awaits it, by replacing methods on each instance.

A loop around `await watch_*` loses data (measured on ccxt 4.5.90: of six symbols in one TCP segment two arrive). The
hooks are guarded: otherwise an exception in a decoder, a sink or ccxt's own handlers would end the receive loop of the
socket, while the socket stays open and every await hangs.

Upstream: https://github.com/ccxt/ccxt/issues/30220 (a result that arrives before the next await is dropped), and
https://github.com/ccxt/ccxt/issues/30571 for an exception in a handler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, NamedTuple

from aiohttp import WSMessage, WSMsgType
from ccxt.async_support.base.throttler import Throttler
from ccxt.base.errors import BaseError

from tickwire.exchange.ccxt_patches.combined_requests import CombinedRequests
from tickwire.exchange.ccxt_types import CcxtClient
from tickwire.observe import logs
from tickwire.venues.profile import Combining

log = logs.get(__name__)

_NOWHERE = "ws://127.0.0.1:9/proof"
"""Never connected to."""
_PROOF = '{"proof":1}'


class Hooks(NamedTuple):
    """Which of the hooks are used."""

    text: bool = True
    """`Client.handle_text_or_binary_message`, before JSON is parsed."""
    result: bool = True
    """`Client.resolve`, after ccxt has parsed a frame. Without it, data comes from the awaits, which is slow."""


class Uses(NamedTuple):
    """The callbacks of one socket's hooks. `text` and `result` return whether they took what they were given."""

    text: Callable[[str | bytes], bool] | None
    """(frame)"""
    result: Callable[[object, str], bool] | None
    """(result of ccxt's parsing, the name under which ccxt publishes it)"""
    rejected: Callable[[str], None]
    """(why a frame could not be used)"""
    unaddressed: Callable[[Exception, Callable[..., object]], None] | None = None
    """(an error frame that refers to no await, Client.reject): ccxt would fail every await of the socket."""


class ClientCalls(NamedTuple):
    """Callbacks around calls of a Client."""

    parsed: Callable[[str | bytes], None]
    """After ccxt has parsed a frame without raising."""
    sending: Callable[[object], None]
    """Before a message is sent."""
    awaiting: Callable[[str], None]
    """Before something waits for results of this name."""
    opening: Callable[[], None]
    """Before the socket is opened, in the task that its loops inherit their context from."""
    opened: Callable[[], None]
    """After the socket was opened."""
    subscribes: Callable[[], bool]
    """Whether what is sent now makes or ends a subscription: a ping does not."""
    is_wanted: Callable[[], bool] = lambda: True
    """Whether a request that was sent is to be sent again."""


SHARE = 0.8
"""The part of the messages a second that a venue allows which subscriptions may use: pings are messages, too."""


def observe_calls(
    client: CcxtClient,
    calls: ClientCalls,
    token_bucket: dict[str, Any],
    messages_per_s: float | None = None,
    opening: Sequence[Mapping[str, Any]] = (),
    combining: Combining | None = None,
) -> None:
    """Call back around the calls of a Client, and throttle what it sends. Call it before `attach`.

    `messages_per_s`: what the venue allows. Where it is unknown, only ccxt's throttle (`token_bucket`) is used.
    `opening`: messages that are sent once the socket is open. `combining`: how requests to subscribe are combined.
    """
    combined, limiter = _paced(client, token_bucket, messages_per_s, combining)
    parse, send, future, connect = client.handle_text_or_binary_message, client.send, client.future, client.open

    def on_parse(data: str | bytes) -> None:
        for each in [data] if combined is None else combined.answers(data):
            parse(each)
            calls.parsed(each)

    async def on_send(message: Any) -> Any:
        if combined is not None and calls.subscribes():
            within = copy_context().run
            sending = partial(within, calls.sending)  # type: ignore[call-arg]
            return await combined.send(message, sending, partial(within, calls.is_wanted))
        if limiter is not None and calls.subscribes():
            await limiter(1)
        calls.sending(message)
        return await send(message)

    def on_future(name: Any) -> Any:
        calls.awaiting(name)
        return future(name)

    async def on_open(*arguments: Any) -> None:
        calls.opening()
        await connect(*arguments)
        if client.error:
            # The socket was given up while it was being opened.
            await client.close()
        else:
            calls.opened()
            for message in opening:
                # A socket that broke meanwhile is noticed by its receive loop.
                with suppress(ConnectionError):
                    await send(dict(message))

    client.handle_text_or_binary_message, client.send = on_parse, on_send
    client.future, client.open = on_future, on_open


def _paced(
    client: CcxtClient, token_bucket: dict[str, Any], messages_per_s: float | None, combining: Combining | None
) -> tuple[CombinedRequests | None, Throttler | None]:
    """What requests to subscribe wait for before they are sent; replaces the throttle of a Client."""
    # Also where the user switches off ccxt's throttle, which is about REST.
    rate = {} if messages_per_s is None else {"refillRate": messages_per_s * SHARE / 1000}
    bucket = {**token_bucket, **rate, "algorithm": "leakyBucket"}
    if combining is not None:
        # They must not wait for a turn each before they are combined.
        client.throttle = _unthrottled
        return CombinedRequests(combining, 1 / (bucket["refillRate"] * 1000), client.send, client.on_error), None
    # Venues close sockets that send too much within a second (some allow 5 messages), whatever a minute's budget is.
    client.throttle = Throttler({**token_bucket, "algorithm": "leakyBucket"}, client.asyncio_loop)
    return None, None if messages_per_s is None else Throttler(bucket, client.asyncio_loop)


async def _unthrottled(cost: float | None = None) -> None:
    """Wait for nothing."""


def attach(client: CcxtClient, uses: Uses) -> None:
    """Install the hooks on a Client."""
    parse, settle = client.handle_text_or_binary_message, client.resolve
    reject, reset = client.reject, client.reset
    text, result, rejected, unaddressed = uses
    parsing = False

    def on_text(data: str | bytes) -> None:
        nonlocal parsing
        if client.error:
            # The socket was given up: its frames would go into the caches of its successor.
            return
        try:
            if text is None or not text(data):
                parsing = True
                parse(data)
        except Exception as error:  # noqa: BLE001
            _report(error, data, client, uses, reject)
        finally:
            parsing = False

    def on_reject(error: Any, message_hash: Any = None) -> Any:
        # A socket that breaks has its error set first.
        if message_hash is None and unaddressed is not None and parsing and not client.error:
            return unaddressed(error, reject)
        return reject(error, message_hash)

    def on_reset(error: Any) -> None:
        nonlocal parsing
        # This error concerns every await.
        parsing = False
        reset(error)

    def on_result(found: Any, message_hash: Any) -> Any:
        try:
            # The await is not woken: that would cost more than the message itself.
            if result is not None and result(found, message_hash):
                return found
        except Exception as error:  # noqa: BLE001
            rejected(f"{error!r} over {message_hash}")
            return found
        return settle(found, message_hash)

    client.handle_text_or_binary_message = on_text
    if unaddressed is not None:
        client.reject, client.reset = on_reject, on_reset
    if result is not None:
        client.resolve = on_result
    if client.gunzip or client.inflate:
        _guard_decompression(client, rejected)


def _report(error: Exception, data: str | bytes, client: CcxtClient, uses: Uses, reject: Callable[..., object]) -> None:
    """Report an exception over a frame. Some handlers raise what an error frame says (kucoin's)."""
    if isinstance(error, BaseError) and uses.unaddressed is not None and not client.error:
        uses.unaddressed(error, reject)
    else:
        uses.rejected(f"{error!r} over {data[:200]!r}")


def _guard_decompression(client: CcxtClient, rejected: Callable[[str], None]) -> None:
    """Catch errors of `handle_message`: it decompresses outside of `handle_text_or_binary_message`."""
    receive = client.handle_message

    def on_message(message: Any) -> None:
        try:
            receive(message)
        except Exception as error:  # noqa: BLE001
            rejected(f"{error!r} over a frame")

    client.handle_message = on_message


def prove(exchange: Any) -> Hooks:
    """Find out which hooks work on the installed ccxt, with a frame on a socket that is never opened.

    `exchange` is an opened ccxt.pro exchange. Needs a running event loop. Logs a hook that does not work.
    """
    texts: list[str | bytes] = []
    results: list[Any] = []

    def text(data: str | bytes) -> bool:
        texts.append(data)
        return False

    def result(found: Any, name: Any) -> bool:
        results.append(found)
        return True

    exchange.handle_message = lambda client, message: client.resolve(message, "proof")
    try:
        client = exchange.client(_NOWHERE)
        attach(client, Uses(text, result, lambda reason: log.warning("a hook failed its proof", reason=reason)))
        client.handle_message(WSMessage(WSMsgType.TEXT, _PROOF, None))
    except (AttributeError, TypeError) as error:
        log.warning("the installed ccxt has another kind of Client", error=repr(error))
    finally:
        del exchange.handle_message
        exchange.clients.pop(_NOWHERE, None)
    hooks = Hooks(texts == [_PROOF], results == [{"proof": 1}])
    if not hooks.text:
        log.warning("the text hook does not work on the installed ccxt: every frame is parsed by ccxt, which is slower")
    if not hooks.result:
        log.warning(
            "the result hook does not work on the installed ccxt: data comes from its awaits, which is much slower"
        )
    return hooks
