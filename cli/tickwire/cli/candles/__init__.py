"""The `tickwire candles` commands."""
