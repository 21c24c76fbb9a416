"""All I/O with exchanges through ccxt, shared by fetcher and streamer."""
