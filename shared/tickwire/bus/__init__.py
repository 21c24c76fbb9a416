"""NATS: the connection, requests and replies, streams, leases, and the embedded broker."""
