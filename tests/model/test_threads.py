"""Messages that several threads decode first at the same time."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.actors

FORKED = """
import os, sys, threading
from tickwire.model import messages

text = b'{"kind": "trade", "exchange": "binance", "symbol": "A/B", "date": "2026-03-27", "condition": "open"}'

def decode():
    begin.wait()
    messages.decode(text, messages.Certificate)

for _ in range(250):
    child = os.fork()
    if not child:
        sys.setswitchinterval(1e-6)
        begin = threading.Barrier(8)
        threads = [threading.Thread(target=decode) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
"""
"""One in twenty of these children crashed."""


def test_a_message_may_be_decoded_first_by_several_threads_at_once() -> None:
    """As streams of the archive do when it starts. Each child decodes a message that nobody has decoded before."""
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
