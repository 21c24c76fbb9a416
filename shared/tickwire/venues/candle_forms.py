"""The forms in which venues write candles by REST, and typed decoders of them. Pure.

A form is declared by a dialect, and trusted only where the venue's parser of ccxt agrees: `exchange.ohlcv`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw, Struct

from tickwire.model.messages import Row
from tickwire.venues.profile import MarketKind

_FIELDS = ("time", "open", "high", "low", "close", "volume")
ANY = "*"
"""In a path: the field that has the candles, whatever its name is."""
FEW = 10
"""Shorter lists are read by ccxt."""

_DISTINCT = 1_600_000_000_000
"""The first of distinct numbers: a plausible time in ms."""

_texts = msgspec.json.Decoder(list[Raw]).decode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode


class CandleForm:
    """How a venue writes the candles of one kind of market.

    `path` are the names of the fields that lead to the list of candles. A candle's time is in units of `unit_ms`.
    """

    def __init__(self, path: tuple[str, ...], unit_ms: int) -> None:
        self._path = path
        self._unit_ms = unit_ms

    def read(self, text: str) -> Any:
        """The answer as it would be without a form, with `CandleTexts` in place of the list of candles.

        None if the answer has another form, or few candles.
        """
        try:
            return self._placed(text, self._path)
        except (msgspec.MsgspecError, RecursionError):
            return None

    def _placed(self, text: str | Raw, path: tuple[str, ...]) -> Any:
        if not path:
            return self._candles(text)
        fields: dict[str, Any] = _fields(text)
        found = None
        for name, raw in fields.items():
            if name == path[0] or (path[0] == ANY and bytes(memoryview(raw)[:1]) == b"["):
                fields[name] = found = self._placed(raw, path[1:])
            else:
                fields[name] = msgspec.json.decode(raw)
        return None if found is None else fields

    def _candles(self, text: str | Raw) -> Any:
        """What takes the place of the candles in the answer; None if they are few. Raises msgspec.DecodeError."""
        raise NotImplementedError


class ListForm(CandleForm):
    """The form of candles that are a list; `candle` is the type of each."""

    def __init__(self, candle: type[Struct], path: tuple[str, ...], unit_ms: int) -> None:
        super().__init__(path, unit_ms)
        # Venues write numbers as texts, too.
        of_list: Any = list[candle]  # type: ignore[valid-type]
        self._decode = msgspec.json.Decoder(of_list, strict=False).decode

    def _candles(self, text: str | Raw) -> Any:
        texts = _texts(text)
        return None if len(texts) < FEW else CandleTexts(texts, self.rows(text), self)

    def rows(self, text: str | bytes | Raw) -> list[Row]:
        """The rows of a list of candles, in its order. Raises msgspec.DecodeError."""
        unit = self._unit_ms
        return [(c.time * unit, c.open, c.high, c.low, c.close, c.volume) for c in self._decode(text)]


class ColumnsForm(CandleForm):
    """The form of candles that are an object with a list for each of time, open, high, low, close and volume."""

    def __init__(self, names: tuple[str, str, str, str, str, str], path: tuple[str, ...], unit_ms: int) -> None:
        super().__init__(path, unit_ms)
        self._names = names
        fields: list[tuple[str, Any]] = [(each, list[int] if each == "time" else list[float]) for each in _FIELDS]
        columns: Any = msgspec.defstruct("Columns", fields, rename=dict(zip(_FIELDS, names, strict=True)))
        self._decode_columns = msgspec.json.Decoder(columns, strict=False).decode

    def _candles(self, text: str | Raw) -> Any:
        found = self._decode_columns(text)
        values = [getattr(found, each) for each in _FIELDS[1:]]
        times = found.time if self._unit_ms == 1 else [time * self._unit_ms for time in found.time]
        if len(times) < FEW or any(len(each) != len(times) for each in values):
            return None
        return CandleColumns(msgspec.json.decode(text), list(zip(times, *values, strict=True)), self._names)


@dataclass(frozen=True, kw_only=True)
class CandleForms:
    """The form of each kind of market; None where ccxt reads the answers."""

    spot: CandleForm | None = None
    linear: CandleForm | None = None
    inverse: CandleForm | None = None

    def of(self, kind: MarketKind | None) -> CandleForm | None:
        """The form of a kind of market."""
        return None if kind is None else {"spot": self.spot, "linear": self.linear, "inverse": self.inverse}[kind]


NO_FORMS = CandleForms()


class CandleTexts(list[Raw]):
    """The candles of an answer as the venue wrote them, each undecoded, and the rows that a form makes of them."""

    def __init__(self, texts: list[Raw], rows: list[Row], form: ListForm) -> None:
        super().__init__(texts)
        self.rows = rows
        self.form = form

    def candle(self, place: int) -> Any:
        """One candle, decoded without a form."""
        return msgspec.json.decode(self[place])

    def candles(self) -> list[Any]:
        """All candles, decoded without a form."""
        return [msgspec.json.decode(each) for each in self]


class CandleColumns(dict[str, Any]):
    """The columns of an answer, decoded without a form, and the rows that a form makes of them."""

    def __init__(self, columns: dict[str, Any], rows: list[Row], names: tuple[str, ...]) -> None:
        super().__init__(columns)
        self.rows = rows
        self._names = names

    def converted(self, convert: Callable[[dict[str, Any]], list[Any]]) -> list[Any]:
        """The candles, as `convert` makes them of columns. With the form's rows, if it takes the same columns."""
        distinct = [_DISTINCT + place for place in range(len(self._names))]
        if convert({name: [value] for name, value in zip(self._names, distinct, strict=True)}) != [distinct]:
            return convert(self)
        return ConvertedCandles(self, convert)


class ConvertedCandles(CandleTexts):
    """The candles of columns: those that are looked at are converted one by one."""

    def __init__(self, columns: CandleColumns, convert: Callable[[dict[str, Any]], list[Any]]) -> None:
        super().__init__([], columns.rows, by_position())
        self._columns = columns
        self._convert = convert

    def candle(self, place: int) -> Any:
        """One candle, as it is converted."""
        lists = {name: each for name, each in self._columns.items() if isinstance(each, list)}
        return self._convert({name: each[place : (place + 1) or None] for name, each in lists.items()})[0]

    def candles(self) -> list[Any]:
        """All candles, as they are converted."""
        return self._convert(self._columns)


def by_position(
    places: tuple[int, int, int, int, int] = (1, 2, 3, 4, 5), *, path: tuple[str, ...] = (), unit_ms: int = 1
) -> ListForm:
    """A candle is an array that begins with its time; `places` are those of open, high, low, close and volume."""
    names = dict(zip((0, *places), _FIELDS, strict=True))
    fields: list[tuple[str, Any]] = [("time", int)]
    for place in range(1, max(places) + 1):
        fields.append((names[place], float) if place in names else (f"unused_{place}", Any))
    return ListForm(msgspec.defstruct("Candle", fields, array_like=True, gc=False), path, unit_ms)


def by_name(names: tuple[str, str, str, str, str, str], *, path: tuple[str, ...] = (), unit_ms: int = 1) -> ListForm:
    """A candle is an object; `names` are those of time, open, high, low, close and volume."""
    fields: list[tuple[str, Any]] = [(field, int if field == "time" else float) for field in _FIELDS]
    candle = msgspec.defstruct("Candle", fields, rename=dict(zip(_FIELDS, names, strict=True)), gc=False)
    return ListForm(candle, path, unit_ms)


def by_column(
    names: tuple[str, str, str, str, str, str], *, path: tuple[str, ...] = (), unit_ms: int = 1
) -> ColumnsForm:
    """The candles are an object of lists; `names` are those of time, open, high, low, close and volume."""
    return ColumnsForm(names, path, unit_ms)
