"""Configuration files on nodes: what they hold, how they are edited, and the versions that applies have stored."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _core
from ._design import _write
from ._errors import NodeError, NotFoundError, RefusedError, StateError
from ._html import BAD, escape
from ._table import Table

if TYPE_CHECKING:
    from ._cluster import Cluster
    from ._plan import Applied

PRE = "white-space:pre-wrap;margin:.2em 0 .8em;padding:.4em .6em;background:rgba(128,128,128,.12);text-align:left"


class Contents(Table):
    """What a file holds on nodes, a row each. `text` is its content where all of them agree."""

    def __init__(self, path: str, rows: Iterable[Mapping[str, Any]]) -> None:
        super().__init__(rows, ["node", "state", "mode", "owner", "content"], empty="no nodes")
        self.path = path

    @property
    def text(self) -> str:
        """What it holds; empty where it isn't there. Nodes that differ raise a RefusedError, nodes that don't answer a NodeError."""
        failed = [row for row in self.rows if row["state"] == "failed"]
        if failed:
            raise NodeError(
                f"{self.path} couldn't be read on {len(failed)} of {len(self.rows)} nodes",
                kind="node",
                failures=[
                    {key: row.get(key, "") for key in ("what", "doing", "message", "hint")} for row in failed
                ],
            )
        versions = {row.get("content") for row in self.rows}
        if len(versions) > 1:
            told = "; ".join(f"{', '.join(nodes)}: {facts}" for facts, nodes, _ in self._groups())
            raise RefusedError(
                f"{self.path} isn't the same on these nodes: {told}", hint="choose nodes that hold the same"
            )
        return next(iter(versions), None) or ""

    def _groups(self) -> list[tuple[str, list[str], str]]:
        """Nodes that hold the same, with a few words about it and its content."""
        groups: dict[tuple[str, str], list[str]] = {}
        for row in self.rows:
            if row["state"] == "there":
                size = len(row["content"].encode())
                key = (f"{row['mode']} {row['owner']}, {size} bytes", row["content"])
            else:
                key = (row.get("message") or row["state"], "")
            groups.setdefault(key, []).append(row["node"])
        return [(facts, nodes, content) for (facts, content), nodes in groups.items()]

    def __str__(self) -> str:
        parts = [
            f"── {self.path} on {', '.join(nodes)} ({facts})\n{content}"
            for facts, nodes, content in self._groups()
        ]
        return "\n".join(part.rstrip("\n") for part in parts) or "(no nodes)"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        parts = []
        for facts, nodes, content in self._groups():
            parts.append(
                f"<div><b>{escape(self.path)}</b> on {escape(', '.join(nodes))} ({escape(facts)})</div>"
            )
            if content:
                parts.append(f'<pre style="{PRE}">{escape(content)}</pre>')
        return "".join(parts) or "<div>(no nodes)</div>"


class Difference(str):
    """A difference in unified format; empty when there is none. It is text that displays with its lines coloured."""

    __slots__ = ()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(self.rstrip("\n") or "(no difference)")

    def _repr_html_(self) -> str:
        if not self:
            return "<div>(no difference)</div>"
        colours = {"+": "#2e7d32", "-": BAD, "@": "#6a7f99"}
        lines = [
            f'<span style="color:{colours.get(line[:1], "inherit")}">{escape(line)}</span>'
            for line in self.splitlines()
        ]
        return f'<pre style="{PRE}">{chr(10).join(lines)}</pre>'


class Versions(Table):
    """The applies that changed a part of the design, the oldest first. Rows hold `text`, `None` where there was none, and `diff`."""

    def __init__(self, what: str, rows: Iterable[Mapping[str, Any]]) -> None:
        shown = [
            {**row, "when": _when(row["at"]), "change": _change(row["diff"]), "diff": Difference(row["diff"])}
            for row in rows
        ]
        super().__init__(
            shown,
            ["apply", "when", "by", "outcome", "change"],
            f"Versions of {what}",
            empty="none was applied yet",
        )
        self._what = what

    def of(self, apply: int) -> dict[str, Any]:
        """The version that was in force with this apply, be it its own or an earlier one's."""
        earlier = [row for row in self.rows if row["apply"] <= apply]
        if not earlier:
            first = self.rows[0]["apply"] if self.rows else None
            raise NotFoundError(
                f"{self._what} had no version at apply {apply}",
                hint=f"its first is that of apply {first}" if first else "none was applied yet",
            )
        return earlier[-1]

    def _style(self, row: Mapping[str, Any], column: str) -> str:
        return f";color:{BAD}" if column == "outcome" and row["outcome"] == "failed" else ""


class Files(Table):
    """The files of a cluster's design. `show` reads any file on its nodes."""

    def __init__(self, cluster: Cluster) -> None:
        design = cluster.design.files
        super().__init__(design.rows, design.columns, f"Files of {cluster.name}", empty="no edited files")
        self._cluster = cluster

    def show(self, path: str, nodes: str | Sequence[str] = "all") -> Contents:
        """What a file holds now, on `all` nodes, the `master`, a group or single nodes. Any file may be asked for. Changes nothing."""
        selection = [nodes] if isinstance(nodes, str) else list(nodes)
        return Contents(path, _core.read_file(self._cluster.name, selection, path))

    def edit(
        self,
        path: str,
        nodes: str | Sequence[str] = "all",
        folder: str | os.PathLike[str] = "edit",
        fresh: bool = False,
    ) -> Path:
        """Puts a copy of a file into a folder here, to be edited, and gives its path: `edit/CLUSTER/NODES/PATH`.

        It holds what the design says, else what the nodes have. Pass its text to `Design.set_file` afterwards. A copy that you have edited
        is left as it is until its text is the file's; one that you haven't, or whose text was applied since, follows the file. Where both
        have changed, a RefusedError shows how; `fresh` then takes the file, and keeps your copy beside it under another name.
        """
        words = [nodes] if isinstance(nodes, str) else list(nodes)
        known = self._cluster.design.file(path, words)
        now = known["content"] if known is not None else self.show(path, words).text
        versions = self.versions(path, words).rows if self._cluster.exists else []
        copy = _Copy(Path(folder) / self._cluster.name / "+".join(words) / path.lstrip("/"), now)
        if not copy.edited(versions):
            copy.renew(versions)
        elif fresh:
            copy.keep()
            copy.renew(versions)
        elif copy.base != now:
            raise RefusedError(
                copy.conflict(),
                hint=f"to take the file as it is now, call files.edit({path!r}, {nodes!r}, fresh=True) once: your copy is kept beside "
                "it under another name; or give the text itself, as content in notebook 030 or to Design.set_file",
            )
        else:
            copy.hand_out()
        return copy.path

    def versions(self, path: str, nodes: str | Sequence[str] | None = None) -> Versions:
        """The applies that changed this file."""
        return self._cluster.versions(path, nodes)

    def roll_back(self, path: str, apply: int, nodes: str | Sequence[str] | None = None) -> Applied:
        """Gives the file back what it held with this apply, in the design file too, and applies that."""
        return self._cluster.roll_back(path, apply, nodes)


class _Copy:
    """A copy here of a file, and what the file holds `now`. A hidden file beside it remembers what it was made from, after which apply, and
    its text when it was last handed out."""

    def __init__(self, path: Path, now: str) -> None:
        self.path = path
        self.now = now
        self._beside = path.with_name(f".{path.name}.base")
        self._text = _exact(path)
        try:
            made = json.loads(_exact(self._beside) or "{}")
        except ValueError:
            made = {}
        self._apply: int = made.get("apply", 0)
        # The text that was handed out is the file's now: what was edited here since then starts from it.
        self.base: str | None = now if made.get("handed_out") == now else made.get("content")

    def edited(self, versions: Sequence[Mapping[str, Any]]) -> bool:
        """Whether it holds something that would be lost, were it made anew."""
        if self._text is None or self._text in (self.now, self.base):
            return False
        # What was distributed since is among the versions, and somebody has chosen another one after it.
        return not any(
            version["apply"] > self._apply and version["outcome"] == "done" and version["text"] == self._text
            for version in versions
        )

    def conflict(self) -> str:
        """Tells what the file has become without it."""
        if self.base is None:
            told, before = "isn't what the file holds, and nothing tells what it was made from", self._text
        else:
            told, before = "was edited, and the file has changed since the copy was made", self.base
        return f"the copy {self.path} {told}:\n{_core.diff(before or '', self.now).rstrip()}"

    def keep(self) -> None:
        """Puts it aside under another name."""
        number = 1
        while (kept := self.path.with_name(f"{self.path.name}.edited-{number}")).exists():
            number += 1
        self.path.rename(kept)
        self._text = None

    def renew(self, versions: Sequence[Mapping[str, Any]]) -> None:
        """Makes it what the file holds."""
        # The copy first: broken off in between, an old one would be taken for an edited one.
        if self._text != self.now:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _write(self.path, self.now)
        self._apply, self.base = max((version["apply"] for version in versions), default=0), self.now
        self._remember()

    def hand_out(self) -> None:
        """Remembers the text that its owner is about to read."""
        self._remember(handed_out=self._text)

    def _remember(self, **more: str | None) -> None:
        _write(self._beside, json.dumps({"apply": self._apply, "content": self.base, **more}))


def _exact(path: Path) -> str | None:
    """A file's text with its line ends as they are; nothing where there is no file."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StateError(
            f"{path} can't be read as text",
            kind="configuration",
            causes=[str(error)],
            hint="see to its permissions and its encoding, UTF-8; or move it away to get a new copy",
        ) from None


def _when(time: str) -> str:
    return f"{time[:19].replace('T', ' ')} UTC" if time.endswith("Z") else time


def _change(diff: str) -> str:
    lines = [line[:1] for line in diff.splitlines() if not line.startswith(("+++", "---"))]
    return f"+{lines.count('+')} -{lines.count('-')}"


for _thing in (Contents, Difference, Files, Versions):
    _thing.__module__ = "clusterbook"
