"""Candles and trades without async, as in a notebook: `python notebook.py EXCHANGE SYMBOL`."""

import sys
from itertools import islice

from tickwire.client import connect_sync

exchange, symbol = sys.argv[1:]
with connect_sync() as client:
    frame = client.candles(exchange, symbol, "1h", since="7d")
    print(frame.close.describe())
    with client.trades(exchange, symbol) as trades:
        for trade in islice(trades, 5):
            print(trade)
