"""The hooks in ccxt's Client, on the installed ccxt and on some that have changed; nothing is connected."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import ccxt.pro
import pytest
from aiohttp import WSMessage, WSMsgType
from ccxt.async_support.base.ws.client import Client

from tickwire.exchange.ccxt_patches.socket_hooks import Hooks, Uses, attach, prove

pytestmark = pytest.mark.pure


class Deaf(Client):  # type: ignore[misc]
    """As if ccxt called its methods past the instance."""

    def handle_message(self, message: Any) -> None:
        Client.handle_text_or_binary_message(self, message.data)


class Settled(Client):  # type: ignore[misc]
    """As if ccxt settled its futures by another method."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "resolve":
            super().__setattr__(name, value)


class Closed(Client):  # type: ignore[misc]
    """As if ccxt's clients took no new methods at all."""

    def __setattr__(self, name: str, value: Any) -> None:
        if callable(value) and name in ("resolve", "handle_text_or_binary_message"):
            raise AttributeError(name)
        super().__setattr__(name, value)


@pytest.fixture
async def exchange() -> AsyncIterator[Any]:
    opened = ccxt.pro.binance()
    opened.timeout_on_exit = 0
    yield opened
    await opened.close()


async def test_both_hooks_fire_on_the_installed_ccxt(exchange: Any) -> None:
    assert prove(exchange) == Hooks(text=True, result=True)
    assert exchange.clients == {}
    assert exchange.handle_message.__name__ == "handle_message"
    assert "handle_message" not in vars(exchange)


@pytest.mark.parametrize(
    ("changed", "hooks"),
    [(Deaf, Hooks(text=False, result=True)), (Settled, Hooks(text=True, result=False)), (Closed, Hooks(False, False))],
)
async def test_a_hook_that_does_not_fire_is_noticed(exchange: Any, changed: type[Client], hooks: Hooks) -> None:
    made = exchange.client

    def client(url: str) -> Client:
        found: Client = made(url)
        found.__class__ = changed
        return found

    exchange.client = client
    assert prove(exchange) == hooks


class Socket:
    """A client with hooks that note what they are given, and an exchange that answers to `say` alone."""

    def __init__(self, exchange: Any, text: bool = False, result: bool = False) -> None:
        self.texts: list[Any] = []
        self.results: list[Any] = []
        self.refused: list[str] = []
        self.parsed: list[Any] = []
        exchange.handle_message = lambda client, message: self.parsed.append(message)
        self.client = exchange.client("ws://127.0.0.1:9/ws")
        attach(self.client, Uses(self._text(text), self._result(result), self.refused.append))

    def _text(self, taken: bool) -> Any:
        def text(data: str | bytes) -> bool:
            self.texts.append(data)
            if data == "raise":
                raise ZeroDivisionError
            return taken

        return text

    def _result(self, taken: bool) -> Any:
        def result(found: Any, name: Any) -> bool:
            self.results.append(found)
            if found == "raise":
                raise ZeroDivisionError
            return taken

        return result

    def say(self, text: str) -> None:
        self.client.handle_message(WSMessage(WSMsgType.TEXT, text, None))


async def test_what_the_text_hook_does_not_take_is_parsed_by_ccxt(exchange: Any) -> None:
    socket = Socket(exchange)
    socket.say('{"a":1}')
    assert (socket.texts, socket.parsed) == (['{"a":1}'], [{"a": 1}])
    taking = Socket(exchange, text=True)
    taking.client = socket.client
    attach(taking.client, Uses(taking._text(True), None, taking.refused.append))
    taking.say('{"b":1}')
    assert socket.parsed == [{"a": 1}]


async def test_a_taken_result_wakes_nobody_and_any_other_does(exchange: Any) -> None:
    taking = Socket(exchange, result=True)
    parked = taking.client.future("trades")
    assert taking.client.resolve("data", "trades") == "data"
    assert not parked.done()
    taking.client.reject(ccxt.pro.NetworkError("gone"), "trades")
    assert isinstance(parked.exception(), ccxt.pro.NetworkError)
    del exchange.clients[taking.client.url]
    passing = Socket(exchange)
    parked = passing.client.future("trades")
    passing.client.resolve("data", "trades")
    assert parked.result() == "data"


async def test_no_exception_gets_out(exchange: Any) -> None:
    socket = Socket(exchange)
    socket.say("raise")
    socket.say('{"broken')
    parked = socket.client.future("trades")
    socket.client.resolve("raise", "trades")
    assert len(socket.refused) == 3
    assert not parked.done()
    socket.say('{"a":1}')
    assert socket.parsed == [{"a": 1}]


async def test_what_a_handler_of_ccxt_raises_is_what_an_error_frame_says(exchange: Any) -> None:
    said: list[Exception] = []
    errors = {"refused": ccxt.pro.BadSymbol("topic A is not found"), "broken": KeyError("price")}

    def handle(client: Any, message: Any) -> None:
        raise errors[message]

    exchange.handle_message = handle
    socket, rejected = exchange.client("ws://127.0.0.1:9/nowhere"), list[str]()
    attach(socket, Uses(None, None, rejected.append, lambda error, reject: said.append(error)))
    for text in ("refused", "broken"):
        socket.handle_message(WSMessage(WSMsgType.TEXT, text, None))
    assert said == [errors["refused"]]
    assert [each[:8] for each in rejected] == ["KeyError"]


async def test_a_frame_that_cannot_be_unpacked_is_told(exchange: Any) -> None:
    exchange.streaming["gunzip"] = True
    socket = Socket(exchange)
    socket.client.handle_message(WSMessage(WSMsgType.BINARY, b"no gzip", None))
    assert len(socket.refused) == 1
