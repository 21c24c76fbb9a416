"""Formats messages of feeds as lines of text: trades, books, tickers, candles, statuses. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text

from tickwire.cli.output import render
from tickwire.model.feeds import Book, Candle, Gap, Status, Ticker, Trade, Trades

SIDES = {"buy": "green", "sell": "red", None: ""}
EVENTS = {
    "connected": "green",
    "repaired": "cyan",
    "disconnected": "red",
    "failed": "bold red",
    "gap": "bold red",
    "rejected": "red",
}


@dataclass
class Digits:
    """The most decimals seen so far of prices and of amounts, so that columns align."""

    price: int = 0
    amount: int = 0

    def prices(self, value: float) -> str:
        """Format a price, with at least the decimals of earlier ones."""
        self.price = max(self.price, render.decimals_of(value))
        return render.number(value, self.price)

    def amounts(self, value: float) -> str:
        """Format an amount, with at least the decimals of earlier ones."""
        self.amount = max(self.amount, render.decimals_of(value))
        return render.number(value, self.amount)


def trades(message: Trades, digits: Digits) -> list[Text]:
    """Return a line for each trade, preceded by one for a gap."""
    found = [] if message.gap is None else [note(gap(message.gap), "bold red", message.received)]
    return found + [trade(each, digits, repaired=message.source == "rest") for each in message.trades]


def trade(message: Trade, digits: Digits, *, repaired: bool = False) -> Text:
    """Return time, side, price, amount; `rest` where the trade was fetched after an interruption."""
    style = SIDES[message.side]
    return Text.assemble(
        (render.clock(message.timestamp), "dim"),
        f"  {message.side or '-':<4}  ",
        (f"{digits.prices(message.price):>14}", style),
        f"  {digits.amounts(message.amount):>16}",
        ("  rest", "cyan") if repaired else "",
    )


def gap(missing: Gap) -> str:
    """Describe a gap in words."""
    since = "the beginning" if missing.since is None else render.moment(missing.since)
    until = "now" if missing.until is None else render.moment(missing.until)
    ids = ""
    if missing.after_id is not None or missing.before_id is not None:
        ids = f" (ids after {missing.after_id or '?'}, before {missing.before_id or '?'})"
    return f"gap: trades between {since} and {until}{ids} are missing" + (
        f": {missing.reason}" if missing.reason else ""
    )


def note(text: str, style: str, at: int) -> Text:
    """Return a remark with its time (ms)."""
    return Text.assemble((render.clock(at), "dim"), (f"  -- {text}", style))


def status(message: Status) -> Text:
    """Return a line for a status message."""
    parts: list[str] = [message.event]
    if message.event == "repaired" and message.kind == "trade":
        parts.append(render.plural(message.trades, "trade"))
    if message.message:
        parts.append(message.message)
    if message.gap is not None:
        parts.append(gap(message.gap).removeprefix("gap: "))
    return note(": ".join(parts), EVENTS.get(message.event, "yellow"), message.at)


def spread(message: Book) -> str:
    """Format the spread, absolute and in basis points."""
    if not message.bids or not message.asks:
        return "-"
    bid, ask = message.bids[0][0], message.asks[0][0]
    decimals = max(render.decimals_of(bid), render.decimals_of(ask))
    middle = (ask + bid) / 2
    return f"{ask - bid:,.{decimals}f}" + (f" ({(ask - bid) / middle * 10_000:.2f} bp)" if middle > 0 else "")


def book(message: Book, digits: Digits) -> Text:
    """Return the best levels and the spread; `resyncing` where there is no book."""
    at = message.timestamp or message.received
    if message.state != "live":
        return note("the book is resyncing", "yellow", at)
    parts: list[str | tuple[str, str]] = [(render.clock(at), "dim")]
    for name, side, style in (("bid", message.bids, "green"), ("ask", message.asks, "red")):
        level = f"{digits.prices(side[0][0])} x {digits.amounts(side[0][1])}" if side else "none"
        parts += [f"  {name} ", (f"{level:<28}", style)]
    return Text.assemble(*parts, f"  spread {spread(message)}  levels {len(message.bids)}+{len(message.asks)}")


def ticker(message: Ticker, digits: Digits) -> Text:
    """Return last price, best prices, and the change in 24 hours."""
    parts: list[str | tuple[str, str]] = [(render.clock(message.timestamp or message.received), "dim")]
    prices = {"last": message.last, "bid": message.bid, "ask": message.ask, "mid": message.mid, "mark": message.mark}
    for name, value in prices.items():
        if value is not None:
            parts.append(f"  {name} {digits.prices(value)}")
    if (moved := change(message)) is not None:
        parts.append((f"  {moved:+.2f} %", "green" if moved >= 0 else "red"))
    for name, value in (("high", message.high), ("low", message.low)):
        if value is not None:
            parts.append(f"  {name} {digits.prices(value)}")
    if message.volume is not None:
        parts.append(f"  volume {render.number(message.volume)}")
    return Text.assemble(*parts) if len(parts) > 1 else note("no values yet", "yellow", message.received)


def change(message: Ticker) -> float | None:
    """Return the change in 24 hours (per cent), None where it is unknown."""
    if message.last is None or not message.open:
        return None
    return (message.last / message.open - 1) * 100


def candle(message: Candle, digits: Digits) -> Text:
    """Return open time, prices, volume, and whether the candle is closed and complete."""
    prices = "  ".join(
        f"{name} {digits.prices(value)}"
        for name, value in (("O", message.open), ("H", message.high), ("L", message.low), ("C", message.close))
    )
    state = "closed" if message.closed else "open"
    if not message.complete and message.closed:
        state += ", incomplete"
    return Text.assemble(
        (render.moment(message.timestamp), "dim"),
        "  ",
        (prices, "green" if message.close >= message.open else "red"),
        f"  V {digits.amounts(message.volume)}  {render.plural(message.trades, 'trade')}  {state}",
    )
