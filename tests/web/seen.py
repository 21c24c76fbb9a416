"""What a person sees of the page, in a browser that stays open."""

from __future__ import annotations

import json
from dataclasses import dataclass

from docs.browser import Page

_ROWS = """
[...document.querySelectorAll(`[role=region][aria-label="${LABEL}"] tbody tr`)]
    .map((row) => [...row.cells].map((cell) => cell.innerText.trim()))
"""


@dataclass(frozen=True)
class Seen:
    """The page, and where it is served."""

    page: Page
    url: str

    async def open(self, address: str) -> None:
        """Follow a link within the page, without loading it again."""
        await self.page.evaluate(f"""{{
            const link = document.createElement("a");
            link.href = {json.dumps(address)};
            document.body.append(link);
            link.click();
            link.remove();
        }}""")

    async def rows(self, label: str) -> list[list[str]]:
        """The cells of a table."""
        found: list[list[str]] = await self.page.evaluate(_ROWS.replace("${LABEL}", label))
        return found

    async def until_row(self, label: str, *cells: str) -> list[str]:
        """Wait until a table has a row with these cells; the row."""
        rows, wanted = _ROWS.replace("${LABEL}", label).strip(), json.dumps(cells)
        row: list[str] = await self.page.until(f"({rows}).find((row) => {wanted}.every((cell) => row.includes(cell)))")
        return row

    async def until_text(self, selector: str, text: str) -> None:
        """Wait until an element has a text in it."""
        wanted = f"(document.querySelector({json.dumps(selector)})?.textContent ?? '').includes({json.dumps(text)})"
        await self.page.until(wanted)

    async def until_button(self, label: str) -> None:
        """Wait until there is a button whose label begins so."""
        await self.page.until(f"document.querySelector({_button(label)}) !== null")

    async def do(self, action: str, body: str) -> None:
        """Press a button that is put into the page, which asks for an action."""
        await self.page.evaluate(f"""{{
            const button = document.createElement("button");
            Object.assign(button.dataset, {{ do: {json.dumps(action)}, body: {json.dumps(body)} }});
            document.body.append(button);
            button.click();
        }}""")

    async def focus(self, label: str) -> None:
        """Put the focus on the button whose label begins so."""
        await self.page.evaluate(f"document.querySelector({_button(label)}).focus()")

    async def key(self, key: str) -> None:
        """Press a key where the focus is."""
        text = {"text": "\r"} if key == "Enter" else {}
        codes = {"Enter": 13, "ArrowRight": 39}
        for kind in ("keyDown", "keyUp"):
            await self.page.command(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key], **text
            )

    async def type(self, selector: str, text: str) -> None:
        """Put a text into a field, as typing does."""
        await self.page.evaluate(f"""{{
            const field = document.querySelector({json.dumps(selector)});
            field.value = {json.dumps(text)};
            field.dispatchEvent(new Event("input", {{ bubbles: true }}));
        }}""")

    async def press(self, label: str) -> None:
        """Press the button whose label begins so."""
        await self.page.evaluate(f"document.querySelector({_button(label)}).click()")


def _button(label: str) -> str:
    return json.dumps(f"button[aria-label^={json.dumps(label)}]")
