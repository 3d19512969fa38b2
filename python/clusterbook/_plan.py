"""Plans and what applying them did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ._html import BAD, BUSY, GOOD, IDLE, NOTE, escape, this_cell
from ._table import Table

MARKS = {"build": "⚒", "create": "+", "update": "~", "start": "▶", "stop": "■", "delete": "−"}
COLOURS = {"build": BUSY, "create": GOOD, "update": NOTE, "start": BUSY, "stop": IDLE, "delete": BAD}


class Plan(Table):
    """The changes that would make a cluster as it is designed. It is true when there are any; showing it changes nothing."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self.cluster: str = plan["cluster"]
        self.provider: str = plan["provider"]
        self.notes: list[str] = list(plan["notes"])
        rows = [{"": MARKS.get(change["verb"], "?"), **change} for change in plan["changes"]]
        super().__init__(
            rows,
            ["", "verb", "what", "node", "phase", "reason"],
            f"{self.cluster} on {self.provider}: {summary(plan['changes'])}",
            "everything is as designed",
        )

    @property
    def changes(self) -> list[dict[str, Any]]:
        """The changes, in the order in which they begin: `id`, `phase`, `verb`, `what`, `node`, `reason`."""
        return [{key: value for key, value in row.items() if key} for row in self.rows]

    @property
    def destroys(self) -> bool:
        """Whether anything is removed with what it holds."""
        return any(row["verb"] == "delete" for row in self.rows)

    def _style(self, row: Mapping[str, Any], column: str) -> str:
        return f";color:{COLOURS.get(row['verb'], 'inherit')}" if column in ("", "verb") else ""

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *(f"note: {note}" for note in self.notes)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        notes = "".join(f"<div><i>note:</i> {escape(note)}</div>" for note in self.notes)
        return super()._repr_html_() + notes


class Applied:
    """What an apply did. `changes` are those that it carried out, `stages` how long each part took."""

    def __init__(self, applied: Mapping[str, Any], done: str = "as designed") -> None:
        self.cluster: str = applied["cluster"]
        self.number: int = applied["number"]
        self.plan = Plan(applied["plan"])
        self.stages: dict[str, float] = {
            name: milliseconds / 1000 for name, milliseconds in applied["stages"]
        }
        self._done = done
        # The cell in which the progress display has said all of this.
        self._told_in: int | None = None

    @property
    def changes(self) -> list[dict[str, Any]]:
        """The changes that were made."""
        return self.plan.changes

    @property
    def seconds(self) -> float:
        """How long it took."""
        return sum(self.stages.values())

    def __bool__(self) -> bool:
        return bool(self.plan)

    def __str__(self) -> str:
        if not self.plan:
            return f"✔ {self.cluster} is {self._done}: nothing to change"
        parts = ", ".join(f"{name} {_time(seconds)}" for name, seconds in self.stages.items())
        return f"✔ {self.cluster} is {self._done}: {summary(self.changes, past=True)} in {_time(self.seconds)} ({parts})"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<div>{escape(self)}</div>"

    def _ipython_display_(self) -> None:
        # The progress display has ended in the same summary; a cell that ends in apply() needn't say it twice.
        if self._told_in is not None and self._told_in == this_cell():
            return
        from IPython.display import display

        display({"text/plain": str(self), "text/html": self._repr_html_()}, raw=True)


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 0.1 else f"{seconds:.1f} s"


def summary(changes: Any, past: bool = False) -> str:
    """How many changes of each kind, in words."""
    if not changes:
        return "nothing to change"
    pasts = {
        "build": "built",
        "create": "created",
        "update": "updated",
        "start": "started",
        "stop": "stopped",
        "delete": "removed",
    }
    counts = Counter(change["verb"] for change in changes)
    return ", ".join(
        f"{counts[verb]} {pasts[verb] if past else f'to {verb}'}" for verb in MARKS if counts[verb]
    )


Plan.__module__ = Applied.__module__ = "clusterbook"
