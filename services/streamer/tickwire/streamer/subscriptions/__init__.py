"""Subscriptions to exchanges through ccxt: sockets, frames, acknowledgements, and the watch loop."""
