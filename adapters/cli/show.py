"""Tables and figures for people: what the commands of the command line share."""

import sys
import unicodedata
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from msgspec import to_builtins
from pydantic_core import to_json
from rich.console import Console
from rich.table import Table
from rich.text import Text

from domain.kernel import ROME

STATUS_STYLES = {
    "active": "green",
    "fulfilled": "green",
    "allocated": "green",
    "expiring": "yellow",
    "awaiting_payment": "yellow",
    "paid": "cyan",
    "expired": "red",
    "ended": "red",
    "cancelled": "dim",
}


def console(*, markup: bool = False, width: int | None = None) -> Console:
    """Without markup by default, because `[/b]` in a text that somebody sent is no style."""
    # Away from a terminal nothing has to fit a screen, and a cut-off figure would be wrong.
    width = width or (None if sys.stdout.isatty() else 120)
    return Console(highlight=False, markup=markup, emoji=False, width=width)


def print_json(value: object) -> None:
    sys.stdout.write(to_json(value, fallback=to_builtins).decode() + "\n")


def table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    """A table with a title, its figures to the right."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def status(value: str, label: str | None = None) -> Text:
    return Text(label or value.replace("_", " "), style=STATUS_STYLES.get(value, ""))


def harmless(text: str) -> str:
    """What others wrote, with signs that turn a line round, break it, move a cursor or are no text as escapes."""
    return "".join(to_json(sign).decode()[1:-1] if sign < " " else _visible(sign) for sign in text)


def _visible(sign: str) -> str:
    return f"\\u{ord(sign):04x}" if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") else sign


def cell(value: Any) -> str:
    match value:
        case None:
            return "–"
        case datetime():
            return value.astimezone(ROME).strftime("%Y-%m-%d %H:%M")
        case date():
            return value.isoformat()
        case Decimal():
            return f"{value:,.2f} €"
        case list():
            return ", ".join(map(str, value))
        case _:
            return str(value)
