"""Draw the golden screens anew: `python -m cli.redraw`, in the folder of the tests."""

from __future__ import annotations

from pathlib import Path

from cli.pictures import PICTURES, WIDTHS, drawn

FOLDER = Path(__file__).parents[1] / "golden" / "screens"


def main() -> None:
    """Write a file for each picture and width."""
    for name in PICTURES:
        for width in WIDTHS:
            (FOLDER / f"{name}-{width}.txt").write_text(drawn(name, width))


if __name__ == "__main__":
    main()
