"""Rows with columns: what every call that lists something returns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from ._errors import ClusterbookError
from ._html import BAD, CELL, GOOD, NOTE, NUMBER, clip, escape, pad
from ._html import display_width as width

# A plain-text cell is cut here; the whole value is in the row.
WIDEST = 72
# As many rows are displayed; all of them are in the table.
MOST = 200
# What stands in front of a row, and its colour, by the row's `state`.
MARKS = {"good": ("✔", GOOD), "note": ("•", NOTE), "bad": ("✘", BAD)}


class Table(Sequence[dict[str, Any]]):
    """A list of dictionaries that displays as a table. `to_pandas()` makes a DataFrame of it."""

    def __init__(
        self,
        rows: Iterable[Mapping[str, Any]],
        columns: Iterable[str] | None = None,
        title: str | None = None,
        empty: str = "nothing",
    ) -> None:
        self.rows: list[dict[str, Any]] = [dict(row) for row in rows]
        if columns is None:
            found: dict[str, None] = {}
            for row in self.rows:
                found.update(dict.fromkeys(row))
            columns = found
        self.columns: list[str] = list(columns)
        self.title = title
        self._empty = empty

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> Table: ...

    @overload
    def __getitem__(self, index: str) -> list[Any]: ...

    def __getitem__(self, index: int | slice | str) -> Any:
        if isinstance(index, slice):
            return Table(self.rows[index], self.columns, self.title, self._empty)
        if isinstance(index, str):
            return self.column(index)
        return self.rows[index]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Table):
            return self.rows == other.rows and self.columns == other.columns
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def column(self, name: str) -> list[Any]:
        """The values of one column."""
        if name not in self.columns and not any(name in row for row in self.rows):
            raise KeyError(f"there is no column {name!r}; there are {', '.join(self.columns)}")
        return [row.get(name) for row in self.rows]

    def to_pandas(self) -> Any:
        """The same as a pandas DataFrame."""
        try:
            import pandas
        except ImportError as error:
            raise ClusterbookError(
                "pandas isn't installed, so there are no DataFrames",
                kind="configuration",
                hint="pip install pandas; or use the rows as they are, for example table[0]",
            ) from error
        return pandas.DataFrame(self.rows, columns=self.columns)

    def _cells(self) -> list[list[str]]:
        return [[_text(row.get(column)) for column in self.columns] for row in self.rows[:MOST]]

    def _numeric(self) -> list[bool]:
        def number(value: Any) -> bool:
            return isinstance(value, int | float) and not isinstance(value, bool)

        return [
            bool(self.rows)
            and all(number(row.get(column)) for row in self.rows if row.get(column) is not None)
            for column in self.columns
        ]

    def _foot(self) -> str:
        return f"… {len(self.rows) - MOST} more rows" if len(self.rows) > MOST else ""

    def __str__(self) -> str:
        lines = [self.title] if self.title else []
        if not self.rows:
            return "\n".join([*lines, f"({self._empty})"])
        cells = [[clip(_one_line(cell), WIDEST) for cell in row] for row in self._cells()]
        widths = [max(map(width, column)) for column in zip(self.columns, *cells, strict=True)]
        numeric = self._numeric()

        def line(row: Sequence[str]) -> str:
            padded = [pad(cell, size, right) for cell, size, right in zip(row, widths, numeric, strict=True)]
            return "  ".join(padded).rstrip()

        lines += [line(self.columns), line(["─" * size for size in widths]), *map(line, cells)]
        if foot := self._foot():
            lines.append(foot)
        return "\n".join(lines)

    __repr__ = __str__

    def _style(self, row: Mapping[str, Any], column: str) -> str:
        """More style for one cell; a table that marks rows overrides it."""
        return ""

    def _repr_html_(self) -> str:
        parts = []
        if self.title:
            parts.append(f"<div><b>{escape(self.title)}</b></div>")
        if not self.rows:
            return "".join([*parts, f"<div>({escape(self._empty)})</div>"])
        numeric = self._numeric()
        head = "".join(
            f'<th scope="col" style="{NUMBER if right else CELL}">{escape(column)}</th>'
            for column, right in zip(self.columns, numeric, strict=True)
        )
        body = []
        for row, cells in zip(self.rows, self._cells(), strict=False):
            line = "".join(
                f'<td style="{NUMBER if right else CELL}{self._style(row, column)}">{escape(cell)}</td>'
                for column, cell, right in zip(self.columns, cells, numeric, strict=True)
            )
            body.append(f"<tr>{line}</tr>")
        parts.append(
            '<table style="border-collapse:collapse;font-size:90%"><thead>'
            f"<tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        )
        if foot := self._foot():
            parts.append(f"<div>{escape(foot)}</div>")
        return "".join(parts)


Table.__module__ = "clusterbook"


class _Judged(Table):
    """Rows that say in `state` how good they are: ✔ good, • worth a note, ✘ bad. The mark is the first column."""

    def __init__(
        self,
        rows: Iterable[Mapping[str, Any]],
        columns: Iterable[str],
        title: str | None = None,
        empty: str = "nothing",
    ) -> None:
        marked = [{"": MARKS[row["state"]][0], **row} for row in rows]
        super().__init__(marked, ["", *columns], title, empty)

    @property
    def ok(self) -> bool:
        """Whether no row is bad."""
        return not self._bad()

    def _bad(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["state"] == "bad"]

    def _style(self, row: Mapping[str, Any], column: str) -> str:
        return f";color:{MARKS[row['state']][1]}" if column == "" else ""


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_text(item)}" for key, item in value.items())
    return str(value)


def _one_line(text: str) -> str:
    return " ⏎ ".join(text.strip().splitlines())
