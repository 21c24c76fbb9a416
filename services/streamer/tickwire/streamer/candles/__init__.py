"""Feeds of candles: built from the tape of trades, or taken from the exchange, and handed to the cache."""
