"""NATS: the connection, requests and replies, streams, leases, and the embedded broker."""

from tickwire.bus.deferred_aiohttp import import_nats

# Before any module of this package imports nats-py.
import_nats()
