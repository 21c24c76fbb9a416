"""WebSocket clients and the feed that writes to them; a dialect for each exchange is in its own folder."""
