"""Unsubscriptions that the exchange carries out and does not confirm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from support.loopback import Loopback, loopback, market, settings
from support.venues import Memory
from tickwire.model.feeds import Feed
from tickwire.streamer.subscriptions import live_venue
from tickwire.streamer.subscriptions.live_venue import open_live_venue

pytestmark = pytest.mark.actors


class Speech(NamedTuple):
    """How a venue calls markets, confirms subscriptions and sends trades, by its documentation."""

    separator: str
    confirms: Callable[[Any], list[Any]]
    trade: Callable[[str, int], Any]

    def id(self, symbol: str) -> str:
        """The venue's name of a market."""
        return symbol.replace("/", self.separator)


def _okx(id_: str, number: int) -> Any:
    row = {"instId": id_, "tradeId": str(number), "px": "1", "sz": "2", "side": "buy", "ts": "1700000000000"}
    return {"arg": {"channel": "trades", "instId": id_}, "data": [row]}


def _bybit(id_: str, number: int) -> Any:
    return {"topic": f"publicTrade.{id_}", "type": "snapshot", "ts": 1, "data": [
        {"T": 1_700_000_000_000, "s": id_, "S": "Buy", "v": "2", "p": "1", "i": str(number), "BT": False}]}  # fmt: skip


SPEECH = {
    "okx": Speech("-", lambda said: [{"event": "subscribe", "arg": said["args"][0], "connId": "1"}], _okx),
    "bybit": Speech(
        "", lambda said: [{"success": True, "ret_msg": "", "op": "subscribe", "req_id": said["req_id"]}], _bybit
    ),
}


def told(exchange: Loopback, wish: str, id_: str) -> int:
    """How many requests of this kind concerned a market."""
    return sum(each["op"] == wish and id_ in str(each["args"]) for each in exchange.heard if isinstance(each, dict))


@pytest.mark.parametrize("venue", SPEECH)
async def test_a_feed_that_left_unconfirmed_is_subscribed_anew_when_it_is_watched_again(
    venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_venue, "UNSUBSCRIBE_S", 0.5)
    speech, gone, stays = SPEECH[venue], Memory(), Memory()
    ids = [speech.id(symbol) for symbol in ("BTC/USDT", "ETH/USDT")]
    markets = [market(symbol, speech.id(symbol)) for symbol in ("BTC/USDT", "ETH/USDT")]
    async with loopback() as exchange, open_live_venue(venue, settings(exchange.url, venue, markets)) as at:
        exchange.reply = lambda said: (
            speech.confirms(said) if isinstance(said, dict) and said.get("op") == "subscribe" else []
        )
        btc, eth = (Feed("trade", venue, symbol) for symbol in ("BTC/USDT", "ETH/USDT"))
        async with at.watching(eth, stays):
            await exchange.until(lambda: told(exchange, "subscribe", ids[1]) == 1)
            for number in (1, 2, 3):
                async with at.watching(btc, gone):
                    await exchange.until(lambda number=number: told(exchange, "subscribe", ids[0]) == number)  # type: ignore[misc]
                    exchange.push([speech.trade(ids[0], number)])
                    await gone.until(lambda number=number: gone.items[-1:] and gone.items[-1].id == str(number))  # type: ignore[misc]
                assert told(exchange, "unsubscribe", ids[0]) == number
            exchange.push([speech.trade(ids[1], 9)])
            await stays.get(1)
            assert stays.told == ["connected"]
