"""Closes a day, and is suspended right before it puts one of its files in place: `suspended_writer.py ROOT EXCHANGE N`.

N is 1 for the day's file, 2 for its certificate. Continued, it ends with code 3 if the root did not take the file.
"""

from __future__ import annotations

import os
import signal
import sys
from itertools import count

from archive_files.taped import BEGIN, DATE, DAY
from tickwire.archive_files import days
from tickwire.archive_files.layout import ArchivedFeed
from tickwire.archive_files.root import open_root
from tickwire.errors import StorageError

REFUSED = 3


def main(url: str, exchange: str, number: int) -> int:
    checks = count()

    def passed() -> None:
        """The check that the broker has just confirmed."""
        if next(checks) == number:
            os.kill(os.getpid(), signal.SIGSTOP)

    day = ArchivedFeed("trade", exchange, "BTC/USDT:USDT").on(DATE)
    try:
        days.close_day(open_root(url), day, BEGIN + DAY, passed)
    except StorageError as error:
        print(error)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
