"""Prints live trades with nothing but a socket: `python trades.py EXCHANGE SYMBOL [COUNT]`.

NATS is a text protocol over TCP (https://docs.nats.io/reference/reference-protocols/nats-protocol), so a program in any
language can do this. Each trade is a line of JSON. The broker is that of $NATS_URL:
`export NATS_URL=$(tickwire url)`.
"""

import itertools
import json
import os
import re
import socket
import sys
import time
from contextlib import suppress
from urllib.parse import urlsplit


class Nats:
    """A connection: `send` lines, `receive` messages."""

    def __init__(self, url):
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port or 4222))
        self.file = self.socket.makefile("rb")
        self.file.readline()  # INFO {...}
        options = {"verbose": False, "headers": True, "no_responders": True, "lang": "socket"}
        self.send(f"CONNECT {json.dumps(options | {'auth_token': parts.username})}\r\n".encode())

    def send(self, data):
        self.socket.sendall(data)

    def subscribe(self, subject, number):
        self.send(f"SUB {subject} {number}\r\n".encode())

    def publish(self, subject, message, reply=""):
        data = json.dumps(message).encode()
        self.send(f"PUB {subject} {reply} {len(data)}\r\n".encode() + data + b"\r\n")

    def receive(self):
        """Return the next message: the number of its subscription, its headers as text, its payload."""
        while line := self.file.readline().decode():
            verb, *words = line.split()
            if verb == "PING":
                self.send(b"PONG\r\n")
            elif verb == "-ERR":
                raise SystemExit(line.strip())
            elif verb in ("MSG", "HMSG"):
                payload = self.file.read(int(words[-1]) + 2)[:-2]
                split = int(words[-2]) if verb == "HMSG" else 0
                return words[1], payload[:split].decode(), payload[split:]
        raise SystemExit("the broker closed the connection")

    def request(self, subject, message):
        """Send a request and wait for the answer; trades that arrive meanwhile are queued."""
        inbox = f"_INBOX.{os.urandom(8).hex()}"
        self.subscribe(inbox, "reply")
        self.publish(subject, message, inbox)
        waiting = []
        while (received := self.receive())[0] != "reply":
            waiting.append(received)
        self.send(b"UNSUB reply\r\n")
        _, headers, payload = received
        if "503" in headers.split("\r\n")[0]:
            raise SystemExit(f"no service answers {subject}: is tickwire up?")
        if "Nats-Service-Error-Code" in headers:
            raise SystemExit(json.loads(payload)["message"])
        return json.loads(payload), waiting

    def fetch(self, key, since):
        """Fetch missing candles into the cache, and wait until they are there."""
        job = key | {"id": os.urandom(8).hex(), "since": since}
        self.subscribe(f"md.job.{job['id']}", "job")
        _, waiting = self.request("fetcher.fetch", job)
        state = {}
        while state.get("state") not in ("done", "failed"):
            state = json.loads((waiting.pop(0) if waiting else self.receive())[2])
        self.send(b"UNSUB job\r\n")
        if state["state"] == "failed":
            raise SystemExit(state["error"]["message"])


def token(symbol):
    """Return a symbol as it is written in subjects: BTC/USDT:USDT is BTC-USDT=3AUSDT."""

    def escape(found):
        return "".join(f"={byte:02X}" for byte in found[0].encode())

    return re.sub(r"[^A-Za-z0-9/]", escape, symbol).replace("/", "-")


def main(exchange, symbol, count=None):
    nats = Nats(os.environ["NATS_URL"])
    key = {"exchange": exchange, "symbol": symbol, "timeframe": "1m"}
    nats.fetch(key, since=int(time.time() - 3600) * 1000)
    candles, _ = nats.request("cache.get", key | {"limit": 3, "last": True})
    print("candles:", candles["rows"], file=sys.stderr)

    nats.subscribe(f"md.trade.{exchange}.{token(symbol)}", "trades")
    feed = {"kind": "trade", "exchange": exchange, "symbol": symbol, "subscriber": f"socket-{os.getpid()}"}
    _, waiting = nats.request("streamer.start", feed | {"ttl_s": 15})
    renewed = time.monotonic()
    try:
        left = itertools.count() if count is None else iter(range(int(count)))
        while True:
            subscription, _, payload = waiting.pop(0) if waiting else nats.receive()
            if subscription == "trades":
                for trade in json.loads(payload)["trades"]:
                    if next(left, None) is None:
                        return
                    print(json.dumps(trade), flush=True)
            if time.monotonic() - renewed > 5:
                nats.publish("streamer.start", feed | {"ttl_s": 15})
                renewed = time.monotonic()
    finally:
        nats.request("streamer.stop", feed)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(*sys.argv[1:])
