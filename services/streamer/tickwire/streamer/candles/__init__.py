"""Candle feeds: built from the trade tape, or taken from the exchange; published, and handed to the cache."""
