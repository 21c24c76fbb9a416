"""The error of a book that is not the venue's."""

from __future__ import annotations


class OutOfStep(Exception):
    """The book differs from the exchange's; `str()` is the reason."""
