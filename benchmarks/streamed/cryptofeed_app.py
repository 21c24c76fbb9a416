"""The other baseline: cryptofeed with its Redis streams, run by an interpreter that has it.

`python cryptofeed_app.py VENUE_URL REDIS_PORT [MAX_DEPTH]`; without MAX_DEPTH its queue is as large as by default.
"""

import sys
from typing import Any

from cryptofeed import FeedHandler, connection  # type: ignore[import-not-found]
from cryptofeed.backends.redis import TradeStream  # type: ignore[import-not-found]
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint  # type: ignore[import-not-found]
from cryptofeed.defines import TRADES  # type: ignore[import-not-found]
from cryptofeed.exchanges import Binance  # type: ignore[import-not-found]


def main(url: str, port: int, max_depth: int | None) -> None:
    """Run until the process is ended."""
    # It takes wss addresses only, and the venue here has no certificate.
    connect = connection.connect

    def plain(address: str, **options: Any) -> Any:
        return connect(address.replace("wss", "ws", 1), **options)

    connection.connect = plain
    Binance.websocket_endpoints = [WebsocketEndpoint(url.replace("http", "wss", 1))]
    Binance.rest_endpoints = [
        RestEndpoint(url, routes=Routes("/api/v3/exchangeInfo", l2book="/api/v3/depth?symbol={}&limit={}"))
    ]
    handler = FeedHandler(config={"log": {"disabled": True}})
    backend = TradeStream(host="127.0.0.1", port=port, max_depth=max_depth)
    handler.add_feed(Binance(symbols=["BTC-USDT"], channels=[TRADES], callbacks={TRADES: backend}))
    handler.run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
