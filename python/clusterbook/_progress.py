"""Progress: what happens during a long call, as it happens.

One writer for notebooks (a single display that is updated and ends in a summary) and one for everything else (a few lines). The core calls
them from the thread that waits, several times a second, also when nothing happened.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ._html import BAD, BUSY, GOOD, NOTE, escape, in_notebook

LATEST = 6
LINES_PER_STAGE = 8
EVERY = 0.25


class Progress:
    """Adds up an apply's events. Subclasses show them."""

    def __init__(self, cluster: str, verb: str) -> None:
        self.cluster = cluster
        self.verb = verb
        self.total = 0
        self.done = 0
        self.failed = 0
        self.stage = ""
        self.lines: list[str] = []
        self.stopping = ""
        self.begun = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    def __call__(self, messages: Sequence[Mapping[str, Any]]) -> None:
        for message in messages:
            kind = message["event"]
            if kind == "started":
                self.total = message["changes"]
            elif kind == "stage":
                self.stage = message["name"]
                self.on_stage(message["name"], message["changes"])
            elif kind == "changed":
                self.done += 1
                self.on_line("✔", message["text"])
            elif kind == "failed":
                self.failed += 1
                self.on_line("✘", f"{message['what']} ({message['doing']}): {message['message']}")
            elif kind == "progress":
                self.on_progress(message["what"], message["text"])
            elif kind == "stopping":
                self.stopping = (
                    "stopping now" if message["now"] else "stopping at the next safe point; once more: now"
                )
                self.on_line("■", self.stopping)
        self.tick()

    def on_stage(self, name: str, changes: int) -> None: ...

    def on_line(self, mark: str, text: str) -> None: ...

    def on_progress(self, what: str, text: str) -> None: ...

    def tick(self) -> None: ...

    def end(self, summary: str, good: bool) -> None: ...


class Lines(Progress):
    """For a terminal or a file: a line for each stage and, up to a limit, for each change."""

    def __init__(self, cluster: str, verb: str) -> None:
        super().__init__(cluster, verb)
        self._in_stage = 0
        self._told: dict[str, float] = {}

    def _print(self, text: str) -> None:
        print(text, file=sys.stdout, flush=True)

    def _rest(self) -> None:
        if self._in_stage > LINES_PER_STAGE:
            self._print(f"    … and {self._in_stage - LINES_PER_STAGE} more")
        self._in_stage = 0

    def on_stage(self, name: str, changes: int) -> None:
        self._rest()
        self._print(f"▸ {name}: {changes} {'change' if changes == 1 else 'changes'}")

    def on_line(self, mark: str, text: str) -> None:
        self._in_stage += 1
        if mark != "✔":
            self._in_stage -= 1
            self._print(f"  {mark} {text}")
        elif self._in_stage <= LINES_PER_STAGE:
            self._print(f"  {mark} {text}")

    def on_progress(self, what: str, text: str) -> None:
        # Builders say more than anybody reads.
        now = time.monotonic()
        if now - self._told.get(what, 0.0) >= 2.0:
            self._told[what] = now
            self._print(f"    {what}: {text}")

    def end(self, summary: str, good: bool) -> None:
        self._rest()
        self._print(summary)


class Display(Progress):
    """For a notebook: one display with a bar and the latest lines, which ends in the summary."""

    def __init__(self, cluster: str, verb: str) -> None:
        super().__init__(cluster, verb)
        from IPython.display import display

        self._shown = time.monotonic()
        self._ended = False
        self._handle = display(self._bundle(), raw=True, display_id=True)

    def on_line(self, mark: str, text: str) -> None:
        self.lines.append(f"{mark} {text}")

    def on_progress(self, what: str, text: str) -> None:
        line = f"… {what}: {text}"
        if self.lines and self.lines[-1].startswith(f"… {what}: "):
            self.lines[-1] = line
        else:
            self.lines.append(line)

    def tick(self) -> None:
        now = time.monotonic()
        if now - self._shown >= EVERY and not self._ended:
            self._shown = now
            self._handle.update(self._bundle(), raw=True)

    def end(self, summary: str, good: bool) -> None:
        self._ended = True
        colour = GOOD if good else BAD
        failed = [line for line in self.lines if line.startswith("✘")]
        more = "".join(f'<div style="color:{BAD}">{escape(line)}</div>' for line in failed)
        bundle = {
            "text/plain": "\n".join([summary, *failed]),
            "text/html": f'<div><span style="color:{colour}">{escape(summary[:1])}</span>{escape(summary[1:])}</div>{more}',
        }
        self._handle.update(bundle, raw=True)

    def _bundle(self) -> dict[str, str]:
        share = self.done / self.total if self.total else 0.0
        counts = f"{self.done} of {self.total}" if self.total else "looking"
        head = f"{self.verb} {self.cluster}: {self.stage or 'plan'} · {counts} · {self.seconds:.0f} s"
        if self.stopping:
            head += f" · {self.stopping}"
        colour = NOTE if self.stopping else BAD if self.failed else BUSY
        bar = (
            '<div style="height:.5em;max-width:36em;background:rgba(128,128,128,.25);border-radius:.25em;margin:.3em 0">'
            f'<div style="height:100%;width:{share:.1%};background:{colour};border-radius:.25em"></div></div>'
        )
        latest = "".join(f"<div>{escape(line)}</div>" for line in self.lines[-LATEST:])
        return {
            "text/plain": "\n".join([head, *self.lines[-LATEST:]]),
            "text/html": f'<div>{escape(head)}{bar}<div style="font-size:85%;opacity:.8">{latest}</div></div>',
        }


class Quiet(Progress):
    """Shows nothing."""


def progress(cluster: str, verb: str, wanted: bool = True) -> Progress:
    """The writer that fits the place."""
    if not wanted:
        return Quiet(cluster, verb)
    return Display(cluster, verb) if in_notebook() else Lines(cluster, verb)
