"""Small pieces of HTML and text that every display uses."""

from __future__ import annotations

import html
import sys
import unicodedata
from typing import Any

# Colours of states that read on light and on dark; a mark always says the same without colour.
GOOD, NOTE, BAD, IDLE, BUSY = "#2f9e44", "#e8890c", "#e03131", "#868e96", "#1c7ed6"

LINE = "1px solid rgba(128,128,128,.35)"
CELL = f"text-align:left;padding:.2em .8em .2em 0;border-bottom:{LINE};vertical-align:baseline;white-space:pre-wrap"
NUMBER = CELL.replace("text-align:left", "text-align:right")


def escape(value: Any) -> str:
    """Text that can stand in HTML, in attributes too."""
    return html.escape(str(value), quote=True)


def display_width(text: str) -> int:
    """How many columns a terminal gives to a text: two for wide characters, none for combining ones."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def pad(text: str, width: int, right: bool = False) -> str:
    """The text filled up with spaces to a width as displayed."""
    space = " " * max(0, width - display_width(text))
    return space + text if right else text + space


def clip(text: str, width: int) -> str:
    """The text's beginning where it doesn't fit."""
    if display_width(text) <= width:
        return text
    kept = ""
    for character in text:
        if display_width(kept + character) > width - 1:
            break
        kept += character
    return kept + "…"


def shell() -> Any:
    """The notebook's or IPython's shell, if this runs inside of one."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    return get_ipython()


def in_notebook() -> bool:
    """Whether outputs are rich: a kernel, not a terminal."""
    return getattr(shell(), "kernel", None) is not None


def this_cell() -> int | None:
    """The number of the cell that runs; none where there are no cells."""
    return getattr(shell(), "execution_count", None)


def show(thing: Any) -> None:
    """Shows something now: richly in a notebook, as text elsewhere."""
    if in_notebook():
        from IPython.display import display

        display(thing)
    else:
        print(thing)
