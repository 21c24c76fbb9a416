"""Searches the markets of all exchanges that are configured or in use, as one types."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import NamedTuple

from msgspec import Struct

from tickwire.client import Client
from tickwire.errors import TickwireError, UnknownExchange
from tickwire.model.messages import ListedMarket, MarketsRequest
from tickwire.web.board import Read

TYPED = 128
"""Characters of a search."""
SHOWN = 8
"""Markets of each exchange that are shown."""
VENUES = 40
NEAR = 3
"""Markets that are suggested in place of one that is not listed."""
_ID = re.compile(r"[a-z0-9]{2,32}\Z")


class VenueFound(Struct, frozen=True, kw_only=True):
    """The best of `total` markets of an exchange, else the nearest symbols; `note` says why nothing is known."""

    exchange: str
    markets: list[ListedMarket] = []
    total: int = 0
    near: list[str] = []
    note: str = ""


class Search(Struct, frozen=True, kw_only=True):
    """The result of a search so far; `note` says why no exchange was asked, or that the one that was named is none."""

    venues: list[VenueFound]
    note: str = ""


class Place(NamedTuple):
    """An exchange, what is searched there, and whether it may be none."""

    exchange: str
    text: str
    guessed: bool = False


def places(text: str, venues: Iterable[str]) -> list[Place]:
    """Where to search: with the name of an exchange as the first word there, else everywhere. Pure."""
    known = sorted(venues)[:VENUES]
    first, _, rest = text.strip().partition(" ")
    name = first.lower()
    if name in known:
        return [Place(name, rest.strip())]
    found = [Place(each, text.strip()) for each in known]
    # Any exchange may be named, whether it is in use or not.
    if _ID.match(name) and (rest.strip() or not known):
        found.append(Place(name, rest.strip(), guessed=bool(known)))
    return found


async def not_listed(client: Client, exchange: str, symbol: str) -> str | None:
    """Why there is no such market, in words; empty if there is, None while that is not known."""
    request = MarketsRequest(exchange=exchange, search=symbol, limit=SHOWN, wait=False)
    try:
        found = await client.market_page(request)
    except UnknownExchange as error:
        return str(error)
    except TickwireError:
        return None
    others = found.near or [each.symbol for each in found.markets]
    if symbol in others:
        return ""
    return f"{exchange} lists no market {symbol}" + (f"; did you mean {', '.join(others[:NEAR])}?" if others else "")


class SearchReader:
    """Asks each exchange until it has answered; those that are being loaded answer later."""

    def __init__(self, client: Client, text: str, venues: Iterable[str]) -> None:
        self._client = client
        self._places = places(text[:TYPED], venues)
        self._answered: dict[Place, VenueFound | None] = {}
        self._no_exchange = ""
        """Why the first word is not the name of an exchange."""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Read]:
        """Needs nothing open."""
        yield self._read

    async def _read(self) -> Search:
        found = await asyncio.gather(*map(self._of, self._places))
        venues = [each for each in found if each is not None]
        if not self._places:
            return Search(
                venues=[], note="no exchange is configured or in use: begin with its name, such as binance btc"
            )
        return Search(venues=venues, note="" if any(each.markets for each in venues) else self._no_exchange)

    async def _of(self, place: Place) -> VenueFound | None:
        if place in self._answered:
            return self._answered[place]
        request = MarketsRequest(exchange=place.exchange, search=place.text, limit=SHOWN, wait=False)
        try:
            found = await self._client.market_page(request)
        except UnknownExchange as error:
            if place.guessed:
                self._no_exchange = str(error)
            self._answered[place] = None if place.guessed else VenueFound(exchange=place.exchange, note=str(error))
            return self._answered[place]
        except TickwireError as error:
            return VenueFound(exchange=place.exchange, note=str(error))
        self._answered[place] = VenueFound(
            exchange=place.exchange, markets=found.markets, total=found.total, near=found.near
        )
        return self._answered[place]
