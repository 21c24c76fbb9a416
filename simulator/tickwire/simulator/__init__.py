"""An exchange on loopback: a deterministic market behind Binance's spot REST and WebSocket protocols, and faults."""
