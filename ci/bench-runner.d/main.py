"""Takes the runner's figures and prints them beside those of papermill and nbclient."""

from __future__ import annotations

import argparse
import fcntl
import itertools
import json
import os
import platform
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from floor import BareKernel

# Keeps the thread that runs cells and the one that sends what they put out from passing Python's lock between cores.
TOGETHER = """\
import os, threading
for thread in threading.enumerate():
    if thread.name in ("MainThread", "IOPub"):
        os.sched_setaffinity(thread.native_id, {min(os.sched_getaffinity(0))})
"""
ROWS = ("cold", "batch", "cells", "many", "prints", "flushes", "displays", "large", "memory", "tail")


class Failed(Exception):
    """Something that was to be measured failed, so there is no figure."""


@dataclass
class Ran:
    """One run: milliseconds, megabytes of the process itself at its peak, and milliseconds of processor time that it and
    everything that it started have used."""

    ms: float
    mb: float
    cpu: float
    # Of the peak, what is mapped from files: the program's own code and libraries.
    mb_files: float = 0.0


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

    def bare(self, source: str) -> float:
        """What a bare kernel takes for one cell, with everything that it puts out read and thrown away."""
        kernel = BareKernel(self.folder)
        began = time.perf_counter()
        kernel.execute(source)
        took = 1000 * (time.perf_counter() - began)
        kernel.end()
        return took

    def phases(self, what: Path, *more: str) -> str:
        """Where one more run spends its time, in words."""
        events = self.out("phases.events")
        began = time.time()
        ran = self.tmplrun(what, self.out("phases.ipynb"), "--events", str(events), *more)
        at: dict[str, list[float]] = {}
        for event, moment in moments(events):
            at.setdefault(event, []).append(moment)
        first, last = at["cell_started"][0], at["cell_finished"][-1]
        saved = at["notebook_finished"][-1]
        return (
            f"one more run, {ran.ms:.0f} ms: {1000 * (first - began):.0f} ms until the kernel has answered, "
            f"{1000 * (last - first):.0f} ms for the cells, {1000 * (saved - last):.0f} ms until the notebook is written "
            f"and its kernel has ended, {ran.ms - 1000 * (saved - began):.0f} ms until the program has; "
            f"{ran.cpu:.0f} ms of processor time in all"
        )

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
            memory = {"VmHWM": 0.0, "RssFile": 0.0}
            # The peak that wait4 gives is also that of the children it waited for, a kernel's among them; so the process's
            # own is read while it lives. It never sinks.
            ended = os.pidfd_open(process.pid)
            try:
                with Path(f"/proc/{process.pid}/status").open() as status:
                    while not select.select([ended], [], [], 0.004)[0]:
                        status.seek(0)
                        for line in status.read().splitlines():
                            name, _, value = line.partition(":")
                            if name in memory:
                                memory[name] = max(memory[name], int(value.split()[0]) * 1024 / 1e6)
                took = 1000 * (time.perf_counter() - began)
                _, code, used = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(code)
            except BaseException:
                process.terminate()
                raise
            finally:
                os.close(ended)
            if process.returncode:
                said.seek(0)
                raise Failed(f"{' '.join(command)} ended with {process.returncode}:\n{said.read()[-2000:]}")
        return Ran(took, memory["VmHWM"], 1000 * (used.ru_utime + used.ru_stime), memory["RssFile"])

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

    def flow(self, name: str, count: int, *, parallel: bool, pauses: bool = False) -> Path:
        """`count` one-cell notebooks; with `pauses`, every second one only waits."""
        folder = self.folder / "in" / name
        folder.mkdir(parents=True, exist_ok=True)
        steps = []
        for index in range(count):
            source = "import time\ntime.sleep(0.6)" if pauses and index % 2 == 0 else f"print({index})"
            made = self.notebook(f"{name}/{index:03}", source)
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
                ["a missed figure's parts: " + self.phases(notebook)]
                if statistics.median(ours) > 1.1 * floor
                else [],
            )
        ]

    def batch(self) -> list[Row]:
        plain = self.flow("batch", 12, parallel=False)
        pauses = self.flow("batch-pauses", 12, parallel=False, pauses=True)
        rows = []
        for what, folder, reach, more in (
            ("forked when it is needed", plain, 80, ["--no-prestart"]),
            ("forked while the notebook before still ran", pauses, 30, []),
            ("the same, all notebooks of the batch as short", plain, 30, []),
        ):
            found: list[list[float]] = []
            used: list[float] = []
            for turn in range(self.times(5, 2)):
                self.say(f"batch, {what} ({turn + 1})")
                events = self.out("batch.events")
                ran = self.tmplrun(folder, self.out("batch"), "--events", str(events), *more)
                used.append(ran.cpu)
                # The first pays for the server's own start.
                steps = step_parts(events)[2:]
                found += [step for index, step in enumerate(steps) if folder == plain or index % 2 == 1]
            values = [sum(step) for step in found]
            parts = [statistics.median(part) for part in zip(*found, strict=True)]
            cpu = statistics.median(used) / 12
            cores = len(os.sched_getaffinity(0))
            rows.append(
                Row(
                    f"the same in a batch: {what}",
                    f"≤ {reach} ms",
                    statistics.median(values) <= reach,
                    values,
                    "ms",
                    notes=[
                        f"from the end of the notebook before: {parts[0]:.0f} ms until its cell starts, {parts[1]:.0f} ms "
                        f"for the cell, {parts[2]:.0f} ms until it is written; all processes together use {cpu:.0f} ms of "
                        f"processor time a notebook, the forking one's start shared out, so that on {cores} cores no notebook "
                        f"of a long row of short ones takes less than {cpu / cores:.0f} ms"
                    ],
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
            self.times(5, 2),
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
                [
                    f"the kernel's own time for a cell: {statistics.median(found['kernel']):.2f} ms; start and end of a bare "
                    f"kernel {statistics.median(found['floor']):.0f} ms",
                    *([self.phases(notebook)] if statistics.median(ours) > limit else []),
                ],
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
            took = 1000 * (time.perf_counter() - began)
            return Ran(took, max(run.mb for run in runs), sum(run.cpu for run in runs))

        found = self.turns(
            "20 notebooks",
            self.times(3, 1),
            tmplrun=lambda: self.tmplrun(folder, self.out("many-t"), "--jobs", "2"),
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
                    f"ours, with --jobs 2, {amount(ms(found['tmplrun']), 'ms')}; papermill "
                    f"{amount(ms(found['papermill']), 'ms')}",
                    f"processor time: ours {cpu(found['tmplrun'])} ms, papermill's {cpu(found['papermill'])} ms; what "
                    f"starts and ends {len(notebooks)} kernels is most of ours",
                ],
            )
        ]

    def _outputs(self, what: str, name: str, source: str, *, papermill: bool = False, full: int = 5) -> Row:
        notebook = self.notebook(name, source)
        tools: dict[str, Callable[[], Ran]] = {
            "tmplrun": lambda: self.tmplrun(notebook, self.out(f"{name}-t.ipynb")),
            "nbclient": lambda: self.nbclient(notebook, self.out(f"{name}-n.ipynb")),
        }
        if papermill:
            tools["papermill"] = lambda: self.papermill(notebook, self.out(f"{name}-p.ipynb"))
        found = self.turns(what, self.times(full, 2), **tools)
        ours = ms(found["tmplrun"])
        theirs = {tool: ms(runs) for tool, runs in found.items() if tool != "tmplrun"}
        reached = statistics.median(ours) < statistics.median(theirs["nbclient"])
        notes = [f"peak memory of the runner: {max(run.mb for run in found['tmplrun']):.0f} MB"]
        if not reached:
            notes.append(
                f"a bare kernel takes {self.bare(source):.0f} ms for the cell, and {self.bare(TOGETHER + source):.0f} ms with "
                f"its main and its sending thread on one core; {self.phases(notebook)}"
            )
        return Row(what, "faster than nbclient", reached, ours, "ms", theirs, notes)

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
                full=3,
            )
        ]

    def displays(self) -> list[Row]:
        return [
            self._outputs(
                "20,000 display() calls",
                "displays",
                "from IPython.display import display\nfor i in range(20_000): display(i)",
                full=3,
            )
        ]

    def large(self) -> list[Row]:
        source = "print('x' * 40_000_000)"
        notebook = self.notebook("large", source)
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
                [
                    f"a bare kernel takes {self.floor():.0f} ms to start and end and {self.bare(source):.0f} ms for the "
                    f"cell; {self.phases(notebook)}"
                ]
                if statistics.median(ours) > 1000
                else [],
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
        files = max(run.mb_files for run in found["tmplrun"])
        return [
            Row(
                "peak memory of the runner otherwise",
                "≤ 10 MB",
                max(ours) <= 10,
                ours,
                "MB",
                {"papermill": [run.mb for run in found["papermill"]]},
                [
                    f"20 cells that print 100 lines each; at most {files:.1f} MB of it are the program's code and the "
                    "system's libraries, which the system shares between runs and takes back when it needs to"
                ],
            )
        ]

    def tail(self) -> list[Row]:
        notebook = self.notebook("tail", "print(1)")
        count = self.repeat or (60 if self.quick else 1000)
        values: list[float] = []
        worst_of_all = (0.0, "")
        events = self.out("tail.events")
        for turn in range(count):
            if turn % 50 == 0:
                self.say(f"runs without a slow one ({turn} of {count})")
            began = time.time()
            values.append(self.tmplrun(notebook, self.out("tail.ipynb"), "--events", str(events)).ms)
            if values[-1] > worst_of_all[0]:
                found = {event: 1000 * (moment - began) for event, moment in moments(events)}
                worst_of_all = (
                    values[-1],
                    f"in the slowest, its {turn + 1}th, the cell started after {found['cell_started']:.0f} ms and ended after "
                    f"{found['cell_finished']:.0f}, and the kernel had ended after {found['notebook_finished']:.0f} of "
                    f"{values[-1]:.0f} ms; load {os.getloadavg()[0]:.1f}",
                )
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
                    f"{amount(values, 'ms')}; {len(slow)} beyond 3 × the median; the 99th of 100 at "
                    f"{worst[int(0.99 * len(worst))]:.2f} ×; {worst_of_all[1]}",
                ],
            )
        ]


def ms(runs: list[Ran]) -> list[float]:
    return [run.ms for run in runs]


def cpu(runs: list[Ran]) -> str:
    return f"{statistics.median(run.cpu for run in runs):.0f}"


def moments(events: Path) -> list[tuple[str, float]]:
    """What happened when, in seconds."""
    records = [json.loads(line) for line in events.read_text().splitlines()]
    return [(record["event"], datetime.fromisoformat(record["time"]).timestamp()) for record in records]


def step_parts(events: Path) -> list[list[float]]:
    """What each one-cell notebook of a flow took from the end of the one before it: until its cell started, until that
    ended, until it was written."""
    steps = []
    marks: list[float] = []
    for event, moment in moments(events):
        if event in ("run_started", "cell_started", "cell_finished", "notebook_finished"):
            marks.append(moment)
        if event == "notebook_finished":
            steps.append([1000 * (after - before) for before, after in itertools.pairwise(marks)])
            marks = [moment]
    return steps


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
    took: list[str] = []
    ending = 0
    try:
        # The first run writes what later ones find written.
        bench.tmplrun(bench.notebook("warm", "1"), bench.out("warm.ipynb"))
        bench.papermill(bench.notebook("warm", "1"), bench.out("warm.ipynb"))
        for row in ROWS:
            if options.only and row not in options.only:
                continue
            since = time.monotonic()
            try:
                rows += getattr(bench, row)()
            except Failed as error:
                # The other figures are none the worse for it.
                print(f"Error: {row}: {error}", file=sys.stderr)
                ending = 1
            took.append(f"{row} {time.monotonic() - since:.0f} s")
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
        print(
            f"\nTaken in {time.monotonic() - began:.0f} s ({', '.join(took)}); load at the end {os.getloadavg()[0]:.1f}."
        )
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
