"""Takes the runner's figures and prints them beside those of papermill and nbclient."""

from __future__ import annotations

import argparse
import fcntl
import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from floor import BareKernel

ROWS = ("cold", "batch", "cells", "many", "prints", "flushes", "displays", "large", "memory", "tail")


class Failed(Exception):
    """Something that was to be measured failed, so there is no figure."""


@dataclass
class Ran:
    """One run: milliseconds, and megabytes of the process itself at its peak."""

    ms: float
    mb: float


@dataclass
class Row:
    """One line of the table."""

    what: str
    reach: str
    reached: bool
    values: list[float]
    unit: str
    beside: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass
class Bench:
    """Measures; every tool in turn, again and again, so that a busy moment hits all of them alike."""

    program: Path
    folder: Path
    quick: bool
    repeat: int | None
    say: Callable[[str], None]

    # ---- tools

    def tmplrun(self, notebook: Path, output: Path, *more: str) -> Ran:
        return self._ran([str(self.program), str(notebook), str(output), "--no-progress-bar", *more])

    def papermill(self, notebook: Path, output: Path) -> Ran:
        return self._ran([self._tool("papermill"), str(notebook), str(output), "--no-progress-bar"])

    def nbclient(self, notebook: Path, output: Path) -> Ran:
        return self._ran([self._tool("jupyter-execute"), str(notebook), f"--output={output}", "--timeout=-1"])

    def floor(self) -> float:
        """Start, one answer and a clean end of a bare kernel."""
        began = time.perf_counter()
        kernel = BareKernel(self.folder)
        kernel.end()
        return 1000 * (time.perf_counter() - began)

    def _tool(self, name: str) -> str:
        return str(Path(sys.executable).parent / name)

    def _ran(self, command: list[str]) -> Ran:
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "IPYTHONDIR": str(self.folder / "ipython"),
            "NO_COLOR": "1",
        }
        with tempfile.TemporaryFile("w+") as said:
            began = time.perf_counter()
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
            peak = 0.0
            # The peak that wait4 gives is also that of the children it waited for, a kernel's among them; so the process's
            # own is read while it lives. It never sinks.
            try:
                with Path(f"/proc/{process.pid}/status").open() as status:
                    while process.poll() is None:
                        status.seek(0)
                        for line in status.read().splitlines():
                            if line.startswith("VmHWM"):
                                peak = int(line.split()[1]) * 1024 / 1e6
                        time.sleep(0.002)
            except BaseException:
                process.terminate()
                raise
            took = 1000 * (time.perf_counter() - began)
            if process.returncode:
                said.seek(0)
                raise Failed(f"{' '.join(command)} ended with {process.returncode}:\n{said.read()[-2000:]}")
        return Ran(took, peak)

    # ---- notebooks

    def notebook(self, name: str, *cells: str) -> Path:
        path = self.folder / "in" / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        made = [
            {
                "cell_type": "code",
                "execution_count": None,
                "id": f"c{index}",
                "metadata": {},
                "outputs": [],
                "source": source,
            }
            for index, source in enumerate(cells)
        ]
        spec = {"display_name": "Python 3", "language": "python", "name": "python3"}
        path.write_text(
            json.dumps({"cells": made, "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5})
        )
        return path

    def flow(self, name: str, count: int, *, parallel: bool) -> Path:
        folder = self.folder / "in" / name
        folder.mkdir(parents=True, exist_ok=True)
        steps = []
        for index in range(count):
            made = self.notebook(f"{name}/{index:03}", f"print({index})")
            steps.append(f"      - notebook: {made.name}" + ("\n        needs: []" if parallel else ""))
        (folder / "flow.yaml").write_text(
            "schema: 1\nflows:\n  main:\n    steps:\n" + "\n".join(steps) + "\n"
        )
        return folder

    def out(self, name: str) -> Path:
        path = self.folder / "made" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def times(self, full: int, quick: int) -> int:
        return self.repeat or (quick if self.quick else full)

    def turns(self, what: str, count: int, **tools: Callable[[], Ran | float]) -> dict[str, list[Any]]:
        """Runs all tools in turn, `count` times."""
        results: dict[str, list[Any]] = {tool: [] for tool in tools}
        for turn in range(count):
            self.say(f"{what} ({turn + 1} of {count})")
            for tool, run in tools.items():
                results[tool].append(run())
        return results

    # ---- rows

    def cold(self) -> list[Row]:
        notebook = self.notebook("one", "print(1)")
        found = self.turns(
            "one cell, cold",
            self.times(15, 4),
            floor=self.floor,
            tmplrun=lambda: self.tmplrun(notebook, self.out("one-t.ipynb")),
            papermill=lambda: self.papermill(notebook, self.out("one-p.ipynb")),
            nbclient=lambda: self.nbclient(notebook, self.out("one-n.ipynb")),
        )
        floor = statistics.median(found["floor"])
        ours = ms(found["tmplrun"])
        return [
            Row(
                "one-cell notebook, cold",
                f"≤ 1.1 × floor = {1.1 * floor:.0f} ms",
                statistics.median(ours) <= 1.1 * floor,
                ours,
                "ms",
                {
                    "floor": found["floor"],
                    "papermill": ms(found["papermill"]),
                    "nbclient": ms(found["nbclient"]),
                },
            )
        ]

    def batch(self) -> list[Row]:
        folder = self.flow("batch", 12, parallel=False)
        rows = []
        for what, reach, more in (
            ("fork server", 80, ["--no-prestart"]),
            ("started before it is needed", 30, []),
        ):
            values: list[float] = []
            for turn in range(self.times(5, 2)):
                self.say(f"batch, {what} ({turn + 1})")
                events = self.out("batch.events")
                self.tmplrun(folder, self.out("batch"), "--events", str(events), *more)
                # The first pays for the server's own start.
                values += step_ms(events)[2:]
            rows.append(
                Row(
                    f"the same in a batch: {what}",
                    f"≤ {reach} ms",
                    statistics.median(values) <= reach,
                    values,
                    "ms",
                )
            )
        return rows

    def cells(self) -> list[Row]:
        notebook = self.notebook("cells", *["x = 1"] * 200)

        def kernel() -> float:
            """What the kernel itself takes for a cell."""
            bare = BareKernel(self.folder)
            began = time.perf_counter()
            for _ in range(200):
                bare.execute("x = 1")
            took = 1000 * (time.perf_counter() - began)
            bare.end()
            return took / 200

        found = self.turns(
            "200 cells",
            self.times(7, 2),
            floor=self.floor,
            kernel=kernel,
            tmplrun=lambda: self.tmplrun(notebook, self.out("cells-t.ipynb")),
            papermill=lambda: self.papermill(notebook, self.out("cells-p.ipynb")),
            nbclient=lambda: self.nbclient(notebook, self.out("cells-n.ipynb")),
        )
        limit = statistics.median(found["floor"]) + 200 * 1.1 * statistics.median(found["kernel"])
        ours = ms(found["tmplrun"])
        return [
            Row(
                "200 trivial cells, journalled and saved",
                f"≤ floor + 200 × 1.1 × the kernel's own = {limit:.0f} ms",
                statistics.median(ours) <= limit,
                ours,
                "ms",
                {"papermill": ms(found["papermill"]), "nbclient": ms(found["nbclient"])},
                [f"the kernel's own time for a cell: {statistics.median(found['kernel']):.2f} ms"],
            )
        ]

    def many(self) -> list[Row]:
        folder = self.flow("many", 20, parallel=True)
        notebooks = sorted(folder.glob("*.ipynb"))

        def papermill() -> Ran:
            began = time.perf_counter()
            with ThreadPoolExecutor(2) as two:
                runs = list(
                    two.map(lambda path: self.papermill(path, self.out(f"many-p/{path.name}")), notebooks)
                )
            return Ran(1000 * (time.perf_counter() - began), max(run.mb for run in runs))

        found = self.turns(
            "20 notebooks",
            self.times(5, 1),
            tmplrun=lambda: self.tmplrun(folder, self.out("many-t")),
            papermill=papermill,
        )
        ratios = [
            theirs.ms / ours.ms for ours, theirs in zip(found["tmplrun"], found["papermill"], strict=True)
        ]
        return [
            Row(
                "20 one-cell notebooks: times faster than papermill, two at a time",
                "≥ 15 ×",
                statistics.median(ratios) >= 15,
                ratios,
                "×",
                {},
                [
                    f"ours {amount(ms(found['tmplrun']), 'ms')}; papermill {amount(ms(found['papermill']), 'ms')}",
                ],
            )
        ]

    def _outputs(self, what: str, name: str, source: str, *, papermill: bool = False) -> Row:
        notebook = self.notebook(name, source)
        tools: dict[str, Callable[[], Ran]] = {
            "tmplrun": lambda: self.tmplrun(notebook, self.out(f"{name}-t.ipynb")),
            "nbclient": lambda: self.nbclient(notebook, self.out(f"{name}-n.ipynb")),
        }
        if papermill:
            tools["papermill"] = lambda: self.papermill(notebook, self.out(f"{name}-p.ipynb"))
        found = self.turns(what, self.times(5, 2), **tools)
        ours = ms(found["tmplrun"])
        theirs = {tool: ms(runs) for tool, runs in found.items() if tool != "tmplrun"}
        return Row(
            what,
            "faster than nbclient",
            statistics.median(ours) < statistics.median(theirs["nbclient"]),
            ours,
            "ms",
            theirs,
            [f"peak memory of the runner: {max(run.mb for run in found['tmplrun']):.0f} MB"],
        )

    def prints(self) -> list[Row]:
        return [
            self._outputs("100,000 prints", "prints", "for i in range(100_000): print(i)", papermill=True)
        ]

    def flushes(self) -> list[Row]:
        return [
            self._outputs(
                "10,000 flushes",
                "flushes",
                "import sys\nfor i in range(10_000):\n    print(i)\n    sys.stdout.flush()",
            )
        ]

    def displays(self) -> list[Row]:
        return [
            self._outputs(
                "20,000 display() calls",
                "displays",
                "from IPython.display import display\nfor i in range(20_000): display(i)",
            )
        ]

    def large(self) -> list[Row]:
        notebook = self.notebook("large", "print('x' * 40_000_000)")
        found = self.turns(
            "one output of 40 MB",
            self.times(7, 2),
            tmplrun=lambda: self.tmplrun(notebook, self.out("large-t.ipynb")),
            papermill=lambda: self.papermill(notebook, self.out("large-p.ipynb")),
        )
        ours, memory = ms(found["tmplrun"]), [run.mb for run in found["tmplrun"]]
        return [
            Row(
                "one output of 40 MB: time",
                "≤ 1000 ms",
                statistics.median(ours) <= 1000,
                ours,
                "ms",
                {"papermill": ms(found["papermill"])},
            ),
            Row(
                "one output of 40 MB: peak memory of the runner",
                "≤ 60 MB",
                max(memory) <= 60,
                memory,
                "MB",
                {"papermill": [run.mb for run in found["papermill"]]},
            ),
        ]

    def memory(self) -> list[Row]:
        notebook = self.notebook("memory", *["for i in range(100): print(i)"] * 20)
        found = self.turns(
            "peak memory",
            self.times(5, 2),
            tmplrun=lambda: self.tmplrun(notebook, self.out("memory-t.ipynb")),
            papermill=lambda: self.papermill(notebook, self.out("memory-p.ipynb")),
        )
        ours = [run.mb for run in found["tmplrun"]]
        return [
            Row(
                "peak memory of the runner otherwise",
                "≤ 10 MB",
                max(ours) <= 10,
                ours,
                "MB",
                {"papermill": [run.mb for run in found["papermill"]]},
            )
        ]

    def tail(self) -> list[Row]:
        notebook = self.notebook("tail", "print(1)")
        count = self.repeat or (60 if self.quick else 1000)
        values: list[float] = []
        for turn in range(count):
            if turn % 50 == 0:
                self.say(f"runs without a slow one ({turn} of {count})")
            values.append(self.tmplrun(notebook, self.out("tail.ipynb")).ms)
        middle = statistics.median(values)
        slow = [value for value in values if value > 3 * middle]
        worst = sorted(value / middle for value in values)
        return [
            Row(
                f"{count} notebook runs: the slowest, in medians",
                "≤ 3 ×",
                not slow,
                [max(values) / middle],
                "×",
                {},
                [
                    f"{amount(values, 'ms')}; {len(slow)} beyond 3 × the median; the 99th of 100 at {worst[int(0.99 * len(worst))]:.2f} ×"
                ],
            )
        ]


def ms(runs: list[Ran]) -> list[float]:
    return [run.ms for run in runs]


def step_ms(events: Path) -> list[float]:
    """What each notebook of a flow took, from the end of the one before it."""
    from datetime import datetime

    times = []
    for line in events.read_text().splitlines():
        record = json.loads(line)
        if record["event"] in ("run_started", "notebook_finished"):
            times.append(datetime.fromisoformat(record["time"]).timestamp())
    return [1000 * (after - before) for before, after in itertools.pairwise(times)]


def amount(values: list[float], unit: str) -> str:
    middle = statistics.median(values)
    digits = 0 if middle >= 100 else 1 if middle >= 10 else 2
    spread = f" ({min(values):.{digits}f}–{max(values):.{digits}f})" if len(values) > 1 else ""
    return f"{middle:.{digits}f} {unit}{spread}"


def show(rows: list[Row]) -> None:
    head = ("what", "measured: median (min–max)", "reach", "", "beside it")
    lines = [
        (
            row.what,
            amount(row.values, row.unit),
            row.reach,
            "reached" if row.reached else "MISSED",
            "; ".join(f"{tool} {amount(values, row.unit)}" for tool, values in row.beside.items()) or "–",
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    print()
    for line in [head, tuple("─" * width for width in widths), *lines]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for row in rows:
        for note in row.notes:
            print(f"\n{row.what}: {note}")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="ci/bench-runner", usage="ci/bench-runner --help tells", allow_abbrev=False
    )
    parser.add_argument("--only", action="append", choices=ROWS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeat", type=int)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--program", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--from", dest="here", type=Path, required=True)
    options = parser.parse_args()
    lock = (options.folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("Error: ci/bench-runner is already running here", file=sys.stderr)
        print("Hint: wait until it ends: two at once would measure each other", file=sys.stderr)
        return 1
    began = time.monotonic()
    facts = {
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
    }
    print(
        f"Machine: {facts['cores']} cores, Linux {facts['kernel']}, Python {facts['python']}, load {facts['load']:.1f}"
    )
    if facts["load"] > 1:
        print("Warning: something else is running here; only ratios mean anything now.")
    sys.stdout.flush()

    def say(text: str) -> None:
        print(
            f"{time.monotonic() - began:5.0f} s  {text}  (load {os.getloadavg()[0]:.1f})",
            file=sys.stderr,
            flush=True,
        )

    bench = Bench(options.program, options.folder, options.quick, options.repeat, say)
    rows: list[Row] = []
    ending = 0
    try:
        # The first run writes what later ones find written.
        bench.tmplrun(bench.notebook("warm", "1"), bench.out("warm.ipynb"))
        bench.papermill(bench.notebook("warm", "1"), bench.out("warm.ipynb"))
        for row in ROWS:
            if not options.only or row in options.only:
                rows += getattr(bench, row)()
    except Failed as error:
        print(f"Error: {error}", file=sys.stderr)
        ending = 1
    except KeyboardInterrupt:
        ending = 130
    finally:
        for name in ("in", "made", "ipython"):
            shutil.rmtree(options.folder / name, ignore_errors=True)
    if rows:
        show(rows)
        print(f"\nTaken in {time.monotonic() - began:.0f} s; load at the end {os.getloadavg()[0]:.1f}.")
    if options.json:
        document = {
            "schema": 1,
            "machine": facts,
            "complete": ending == 0,
            "rows": [
                {
                    "what": row.what,
                    "reach": row.reach,
                    "reached": row.reached,
                    "unit": row.unit,
                    "median": statistics.median(row.values),
                    "values": row.values,
                    "beside": row.beside,
                    "notes": row.notes,
                }
                for row in rows
            ],
        }
        (options.here / options.json).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return ending


if __name__ == "__main__":
    sys.exit(main())
