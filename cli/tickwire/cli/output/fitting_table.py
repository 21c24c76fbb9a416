"""Tables that fit the terminal: in a narrow one whole columns are left out, the least important first.

A cell is never truncated: `binance…` or `46,7…` would be misread. Long text (`prose`) is wrapped between words. Where
not even the most important columns fit, cells continue on the next line.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

GAP = 2
"""Spaces between two columns."""
PROSE = 16
"""Least width of wrapped text; columns are left out to keep it."""


class FittingTable:
    """A table that leaves out columns, in the order of `least`, until it fits; with `hint` it names them below."""

    def __init__(
        self,
        title: str,
        columns: Sequence[str],
        *,
        right: Collection[str] = (),
        least: Sequence[str] = (),
        prose: Collection[str] = (),
        hint: bool = False,
    ) -> None:
        self._title = title
        self._columns = list(columns)
        self._right = right
        self._least = least
        self._prose = prose
        self._hint = hint
        self._rows: list[tuple[Text, ...]] = []

    def add_row(self, *cells: str | Text) -> None:
        """Add a row; missing cells at the end are empty. A string is shown verbatim, without markup."""
        blank = ("",) * (len(self._columns) - len(cells))
        self._rows.append(tuple(Text(cell) if isinstance(cell, str) else cell for cell in (*cells, *blank)))

    def shown(self, width: int) -> list[str]:
        """Return the columns that are shown in `width` characters."""
        columns = list(self._columns)
        for name in self._least:
            if self._width(columns) <= width:
                break
            columns = [each for each in columns if each != name]
        return columns

    def _width(self, columns: Collection[str]) -> int:
        widths = [
            self._natural(place) if name not in self._prose else min(self._natural(place), PROSE)
            for place, name in enumerate(self._columns)
            if name in columns
        ]
        return sum(widths) + GAP * (len(widths) - 1)

    def _natural(self, place: int) -> int:
        """Return the width of a column that is not wrapped."""
        return max(Text(self._columns[place]).cell_len, *(row[place].cell_len for row in self._rows), 0)

    def fits(self, width: int) -> bool:
        """Return whether all columns fit into `width` characters."""
        return self._width(self._columns) <= width

    def drawn(self, width: int) -> Table:
        """Return the table as it is drawn in `width` characters."""
        columns = self.shown(width)
        folded = self._width(columns) > width
        table = Table(title=self._title or None, title_justify="left", box=None, pad_edge=False, padding=(0, GAP, 0, 0))
        places = [place for place, name in enumerate(self._columns) if name in columns]
        for place in places:
            name = self._columns[place]
            table.add_column(
                name,
                justify="right" if name in self._right else "left",
                no_wrap=not folded and name not in self._prose,
                overflow="fold",
                header_style="bold cyan",
            )
        for row in self._rows:
            table.add_row(*(row[place] for place in places))
        return table

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.drawn(options.max_width)
        left_out = [name for name in self._columns if name not in self.shown(options.max_width)]
        if self._hint and left_out:
            yield Text(f"no room in {options.max_width} columns for: {', '.join(left_out)}", "dim")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self.drawn(options.max_width))


class ShorteningTable:
    """A table in several forms, each with shorter cells: shows the first that fits, else the last."""

    def __init__(self, *forms: FittingTable) -> None:
        self._forms = forms

    def _chosen(self, width: int) -> FittingTable:
        return next((each for each in self._forms if each.fits(width)), self._forms[-1])

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._chosen(options.max_width)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._chosen(options.max_width))
