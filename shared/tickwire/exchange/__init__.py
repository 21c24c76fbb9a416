"""Talking to exchanges through ccxt: what every service that does so shares."""
