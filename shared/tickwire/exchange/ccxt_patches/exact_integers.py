"""Integers of a message with all their digits.

ccxt 4.5.90 converts each integer by a float, which has 53 bits: of KuCoin's times in nanoseconds one in eight becomes a
time of the millisecond before, and numbers of updates beyond 2**53 are rounded. It multiplies by 0.001 and 0.000001
likewise. A trade by REST then is another one than the same trade live. Upstream: no issue found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ccxt.async_support.base.exchange import Exchange
else:
    Exchange = object


def _whole(value: Any) -> int | None:
    """The integer that a JSON value is or spells; None for any other value."""
    if type(value) is int:
        return value
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else None


class ExactIntegers(Exchange):  # type: ignore[misc]
    """Goes before an exchange class of ccxt among the bases of a class; other values are converted by ccxt."""

    def safe_integer(self, dictionary: Any, key: Any, default_value: Any = None) -> Any:
        found = super().safe_integer(dictionary, key, default_value)
        whole = None if found is default_value else _whole(dictionary[key])
        return found if whole is None else whole

    def safe_integer_2(self, dictionary: Any, key1: Any, key2: Any, default_value: Any = None) -> Any:
        found = self.safe_integer(dictionary, key1)
        return self.safe_integer(dictionary, key2, default_value) if found is None else found

    def safe_integer_n(self, dictionary: Any, key_list: Any, default_value: Any = None) -> Any:
        return self.safe_integer([self.get_object_value_from_key_list(dictionary, key_list)], 0, default_value)

    def safe_integer_product(self, dictionary: Any, key: Any, factor: Any, default_value: Any = None) -> Any:
        found = super().safe_integer_product(dictionary, key, factor, default_value)
        whole = None if found is default_value else _whole(dictionary[key])
        divisor = round(1 / factor) if factor else 0
        return found if whole is None or divisor < 2 or factor != 1 / divisor else whole // divisor

    def safe_integer_product_2(
        self, dictionary: Any, key1: Any, key2: Any, factor: Any, default_value: Any = None
    ) -> Any:
        found = self.safe_integer_product(dictionary, key1, factor)
        return self.safe_integer_product(dictionary, key2, factor, default_value) if found is None else found

    def safe_integer_product_n(self, dictionary: Any, key_list: Any, factor: Any, default_value: Any = None) -> Any:
        if dictionary is None:
            return default_value
        value = self.get_object_value_from_key_list(dictionary, key_list)
        return self.safe_integer_product([value], 0, factor, default_value)
