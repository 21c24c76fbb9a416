"""Binance's spot market, USD-M and COIN-M futures: REST endpoints, streams and the dialect of their sockets."""
