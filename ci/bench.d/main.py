"""Takes the figures and prints them."""

from __future__ import annotations

import argparse
import fcntl
import functools
import json
import os
import shutil
import signal
import statistics
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import machine
from figures import Bench, Figure
from program import Clusterbook, Failed
from yardstick import Ansible

FIGURES = ("start", "configure", "again", "power", "scale")


def arguments() -> argparse.Namespace:
    def counts(text: str) -> list[int]:
        values = [int(word) for word in text.split(",")]
        if not values or min(values) < 1:
            raise ValueError(text)
        return values

    def at_least_one(text: str) -> int:
        if int(text) < 1:
            raise ValueError(text)
        return int(text)

    parser = argparse.ArgumentParser(prog="ci/bench", usage="ci/bench --help tells", allow_abbrev=False)
    parser.add_argument("--only", action="append", choices=FIGURES)
    parser.add_argument("--nodes", type=counts, default=[2, 16])
    parser.add_argument("--repeat", type=at_least_one, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--programs", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--from", dest="here", type=Path, required=True)
    return parser.parse_args()


def main() -> int:
    options = arguments()
    for sort in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sort, interrupt)
    lock = (options.folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return failed(
            "ci/bench is already running here", "wait until it ends: two at once would measure each other"
        )
    engine = machine.ContainerEngine(os.environ["CLUSTERBOOK_ENGINE"])
    clusterbook = Clusterbook(options.programs, options.folder, os.environ["CLUSTERBOOK_ENGINE"])
    try:
        left = clear(options.folder, clusterbook)
    except Failed as error:
        return failed(
            str(error), "the state of an earlier run in out/bench can't be read; look at it, or remove it"
        )
    if left:
        return failed(f"a cluster of an earlier run could not be removed: {left[0]}")
    facts = machine.facts(engine)
    tell(facts)
    begun = time.monotonic()
    say = functools.partial(progress, begun)
    ansible = functools.cache(lambda: Ansible(options.folder))
    bench = Bench(clusterbook, engine, sorted(options.nodes), options.repeat, ansible, say)
    figures: list[Figure] = []
    ending = 0
    try:
        wanted = [figure for figure in FIGURES if not options.only or figure in options.only]
        if wanted != ["scale"]:
            bench.images()
        for figure in wanted:
            figures += getattr(bench, figure)()
    except Failed as error:
        ending = failed(str(error))
    except KeyboardInterrupt:
        ending = 130
    finally:
        # What is left to do now must not be interrupted half-way.
        for sort in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sort, signal.SIG_IGN)
        say("cleaning up")
        left = clear(options.folder, clusterbook)
    for reason in left:
        ending = failed(f"a cluster could not be removed: {reason}") or ending
    yardstick = ansible().version() if bench.yardsticks else ""
    if figures:
        show(figures, yardstick)
        print(f"\nTaken in {time.monotonic() - begun:.0f} s; load at the end {machine.load():.1f}.")
    if options.json:
        document = {
            "schema": 1,
            "machine": facts,
            "yardstick": yardstick,
            "complete": ending == 0,
            "figures": [figure.document() for figure in figures],
        }
        (options.here / options.json).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return ending


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def failed(message: str, hint: str = "") -> int:
    print(f"Error: {message}", file=sys.stderr)
    if hint:
        print(f"Hint: {hint}", file=sys.stderr)
    return 1


def clear(folder: Path, clusterbook: Clusterbook) -> list[str]:
    """Removes every cluster of ours, also those that a killed run left, and the state. Returns what could not be removed."""
    if not (folder / "state").exists():
        return []
    left = clusterbook.destroy_all()
    if not left:
        shutil.rmtree(folder / "state")
        for pattern in ("*.cluster.yaml", "*.events", "world.sock"):
            for file in folder.glob(pattern):
                file.unlink()
    return left


def progress(begun: float, text: str) -> None:
    print(
        f"{time.monotonic() - begun:5.0f} s  {text}  (load {machine.load():.1f})", file=sys.stderr, flush=True
    )


def tell(facts: dict[str, Any]) -> None:
    print(
        f"Machine: {facts['cores']} cores ({facts['processor']}), {facts['memory_gib']} GiB, Linux {facts['kernel']}, "
        f"{facts['engine']}, load {facts['load']:.1f}"
    )
    if facts["load"] > 1:
        print("Warning: something else is running here; only ratios mean anything now.")
    sys.stdout.flush()


def show(figures: list[Figure], yardstick: str) -> None:
    head = (
        "what",
        "reach",
        "measured: median (min–max)",
        "",
        f"beside it: {yardstick}" if yardstick else "beside it",
    )
    rows = [
        (
            figure.what,
            figure.reach,
            amount(figure.values, figure.unit),
            "reached" if figure.reached(figure.median) else "MISSED",
            figure.yardstick or "–",
        )
        for figure in figures
    ]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    print()
    for row in [head, tuple("─" * width for width in widths), *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for figure in figures:
        if not figure.parts and not figure.notes:
            continue
        print(f"\n{figure.what} (load {figure.load:.1f}):")
        for part, seconds in figure.parts:
            print(f"  {seconds:7.3f} s  {part}")
        for note in figure.notes:
            print(textwrap.indent(note, "  "))


def amount(values: list[float], unit: str) -> str:
    middle = statistics.median(values)
    digits = 0 if middle >= 100 else 1 if middle >= 10 else 2
    return (
        f"{middle:.{digits}f} {unit} ({min(values):.{digits}f}–{max(values):.{digits}f}), {len(values)} runs"
    )


if __name__ == "__main__":
    sys.exit(main())
