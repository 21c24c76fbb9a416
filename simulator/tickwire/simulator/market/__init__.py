"""What is traded: instruments, trades, candles, books and the clock. No protocol of any exchange."""
