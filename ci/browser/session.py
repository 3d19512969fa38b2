"""Steps the notebooks in JupyterLab as a person would, and asks the cluster each time whether it is what the page says.

    session.py --programs FOLDER --notebooks FOLDER --work FOLDER [--cluster NAME] [--screenshot FILE]

Everything it writes is in the work folder: copies of the notebooks, the state, and a picture of each step.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab import CSS, FRONT, Browser, Cell, Lab, Notebook, until
from selenium.webdriver.remote.webelement import WebElement

NODES = ["master", "c1", "c2"]
# On two busy cores everything takes its time.
LONG = 300


class Session:
    """One browser, one cluster, and the shell beside it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.cluster: str = options.cluster
        self.programs: Path = options.programs.absolute()
        self.work: Path = options.work.absolute()
        self.folder = self.work / "notebooks"
        self.screenshot: Path | None = options.screenshot and options.screenshot.absolute()
        self.pictures = self.work / "pictures"
        self.environment = {
            **os.environ,
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "CLUSTERBOOK_HOME": str(self.work / "state"),
        }
        for folder in (self.folder, self.pictures):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        shutil.rmtree(self.work / "jupyter", ignore_errors=True)
        for notebook in sorted(options.notebooks.glob("*.ipynb")):
            shutil.copy(notebook, self.folder)
        self.lab = Lab(self.programs / "jupyter", self.folder, self.environment, self.work / "jupyter.log")
        try:
            self.browser = Browser(self.lab, self.work / "profile", options.chromium, options.driver)
        except BaseException:
            self.lab.end()
            raise

    def end(self) -> None:
        self.browser.end()
        self.lab.end()

    def ask(self, *arguments: str) -> dict[str, Any]:
        """What `clusterbook --json` answers."""
        done = subprocess.run(
            [str(self.programs / "clusterbook"), *arguments, "--json"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=LONG,
        )
        try:
            return {"exit_status": done.returncode, **json.loads(done.stdout)}
        except ValueError:
            raise AssertionError(f"clusterbook {' '.join(arguments)}: {done.stdout}{done.stderr}") from None

    def changes(self) -> list[dict[str, Any]]:
        """What the cluster's plan holds."""
        answer = self.ask("plan", self.cluster)
        assert "changes" in answer, answer
        return answer["changes"]

    def running(self) -> list[str]:
        """The nodes that the provider says run; none where there is no cluster."""
        nodes = self.ask("status", self.cluster).get("nodes", [])
        return [node["name"] for node in nodes if node["state"] == "running"]

    def on_master(self, command: str) -> str:
        done = subprocess.run(
            [str(self.programs / "clusterbook"), "run", self.cluster, "--on", "master", "--", command],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            timeout=LONG,
            check=True,
        )
        return done.stdout

    def picture(self, name: str) -> None:
        self.browser.screenshot(self.pictures / f"{name}.png")

    def open(self, name: str, **parameters: str) -> Notebook:
        """A notebook with our cluster's name and these parameters typed in, and their cell run."""
        notebook = self.browser.open(name)
        cell = notebook.code("cluster = ")
        cell.set(cluster=self.cluster, **parameters)
        cell.run()
        return notebook


def step(notebook: Notebook, *beginnings: str, seconds: float = LONG) -> dict[str, str]:
    """Shift+Enter in these cells, one after the other; what each shows. An error ends it."""
    shown = {}
    for beginning in beginnings:
        cell = notebook.code(beginning)
        shown[beginning] = cell.run(seconds)
        assert not cell.error(), f"{notebook.name}, {beginning}: {cell.error()}"
    return shown


def contains(text: str, *pieces: str) -> None:
    for piece in pieces:
        assert piece in text, f"{piece!r} isn't in:\n{text}"


def describe(session: Session) -> None:
    """010: a wrong parameter is explained; a right one is saved, once."""
    notebook = session.open("010-parameters.ipynb", compute_flavor="smal")
    design = "from pathlib import Path", "design = cb.Design("
    step(notebook, *design)
    refused = notebook.code("design.check()")
    contains(refused.run(), "DesignError", "no flavor 'smal'", "did you mean 'small'?")
    refused.scroll("end")
    session.picture("010-wrong-flavor")

    parameters = notebook.code("cluster = ")
    parameters.set(compute_flavor="small")
    parameters.run()
    cells = (*design, "design.check()", "print(design.save(")
    contains(step(notebook, *cells)["design = cb.Design("], f"Design of {session.cluster}", *NODES)
    session.picture("010-saved")
    file = session.folder / f"{session.cluster}.cluster.yaml"
    before = file.read_bytes(), file.stat().st_mtime_ns
    step(notebook, *cells)
    assert before == (file.read_bytes(), file.stat().st_mtime_ns), (
        "saving the same design wrote the file again"
    )

    parameters.set(compute_nodes="3")
    parameters.run()
    step(notebook, *design)
    kept = notebook.code("print(design.save(")
    contains(kept.run(), "RefusedError", "nodes: 3", "replace=True")
    assert file.read_bytes() == before[0], "a design was replaced that shouldn't have been"
    assert not session.running(), "010 started something"
    notebook.save()


def stop(session: Session, notebook: Notebook, sight: str) -> None:
    """Apply, and press ■ as soon as the progress shows `sight`."""
    apply = notebook.code("hpc.apply()")
    apply.scroll()
    apply.start()
    until(f"the progress shows {sight}", lambda: sight in apply.output() or not apply.running(), LONG, 0.02)
    notebook.stop()
    shown = apply.wait(LONG).output()
    session.picture(f"020-stopped-{sight.strip(':. ')}")
    contains(shown, "Interrupted", f"■ {session.cluster}: stopped", "apply again to go on")
    assert "_cluster.py" not in shown, f"the module's own lines are shown:\n{shown}"
    assert session.changes(), f"stopped at {sight}, and still everything was done"


def go_on(session: Session, notebook: Notebook) -> None:
    contains(step(notebook, "hpc.apply()")["hpc.apply()"], f"✔ {session.cluster} is as designed")
    assert not session.changes() and session.running() == NODES


def start(session: Session) -> None:
    """020: stopped in the middle, gone on with, and run a second time."""
    notebook = session.open("020-start.ipynb")
    contains(
        step(notebook, "hpc = cb.open(")["hpc = cb.open("], "to create", *(f"node {name}" for name in NODES)
    )
    for sight in (": nodes", ": configuration"):
        stop(session, notebook, sight)
        go_on(session, notebook)
        assert session.ask("destroy", session.cluster, "--yes")["exit_status"] == 0
        assert not session.running()

    apply = notebook.code("hpc.apply()")
    apply.scroll()
    apply.start()
    seen: list[str] = []
    while apply.running():
        shown = apply.output()
        if shown.startswith("apply ") and shown not in seen:
            seen.append(shown)
    contains(apply.wait(LONG).output(), f"✔ {session.cluster} is as designed")
    assert len(seen) > 1, f"the progress wasn't live: {seen}"
    assert session.running() == NODES and not session.changes()

    contains(whole(notebook, "hpc").run(), "3 of 3 nodes run", *NODES)
    shown = step(
        notebook,
        "slurm_nodes = ",
        "hpc.slurm.partitions()",
        "names = ",
        "program = ",
        "from shlex import quote",
        "measured = ",
    )
    contains(shown["slurm_nodes = "], "c1", "c2", "IDLE")
    contains(shown["measured = "], "2 ranks", "latency")
    assert "idle" in session.on_master("sinfo --noheader --format=%t"), "sinfo says something else"

    at_picture(session, notebook)
    session.picture("020-light")
    if session.screenshot:
        session.browser.screenshot(session.screenshot)
    colours = [picture_colours(session, notebook, theme) for theme in ("JupyterLab Dark", "JupyterLab Light")]
    assert colours[0] != colours[1], "the picture's text has one colour on dark and on light pages"

    applies = session.ask("status", session.cluster)["cluster"]["applies"]
    notebook.run_all(LONG)
    assert not notebook.errors(), notebook.errors()
    contains(notebook.code("hpc = cb.open(").output(), "nothing to change")
    contains(apply.output(), "nothing to change")
    session.picture("020-second-run")
    assert session.ask("status", session.cluster)["cluster"]["applies"] == applies, (
        "the second run changed something"
    )
    notebook.save()


def whole(notebook: Notebook, source: str) -> Cell:
    """The cell that holds exactly this."""
    return until(
        f"a cell {source}",
        lambda: next((cell for cell in notebook.code_cells() if cell.source().strip() == source), None),
    )


def at_picture(session: Session, notebook: Notebook) -> None:
    """The apply's summary at the top of the page, the picture and Slurm's table below, and the mouse out of the way."""
    whole(notebook, "hpc").select()
    notebook.code("hpc.apply()").scroll("start")
    session.browser.rest()


def picture_colours(session: Session, notebook: Notebook, theme: str) -> list[str]:
    """The colours of the picture's text and of the page behind it, in a theme."""
    session.browser.menu("Settings", "Theme", theme)
    time.sleep(2)
    at_picture(session, notebook)
    session.picture(f"020-{theme.split()[1].lower()}")
    cell = whole(notebook, "hpc").element
    text = cell.find_element(CSS, "svg text").value_of_css_property("fill")
    behind = session.browser.find(".jp-Notebook").value_of_css_property("background-color")
    assert text != behind, f"{theme}: text and page have the same colour"
    return [text, behind]


def contents(session: Session) -> None:
    """000: the flows as drawings, and the cluster in the list."""
    notebook = session.browser.open("000-contents.ipynb")
    notebook.run_all(LONG)
    assert not notebook.errors(), notebook.errors()
    contains(notebook.code("cb.clusters()").output(), session.cluster, "3 of 3 nodes run")
    wanted = (session.folder / notebook.name).read_text().count("```mermaid")
    for number in range(wanted):
        drawing = until(
            f"{wanted} flows are drawn",
            lambda number=number: session.browser.all(f"{FRONT} .jp-RenderedMermaid img")[number:],
        )[0]
        assert drawing.size["width"] > 100, f"flow {number + 1} isn't drawn"
    session.picture("000-contents")
    notebook.save()


def add_users(session: Session) -> None:
    """051: a user on every node, and a job as that user."""
    notebook = session.open("051-users-add.ipynb")
    step(
        notebook,
        "from pathlib import Path",
        "hpc = cb.open(",
        "hpc.apply()",
        "for user in users:",
        "name = users[0]",
    )
    contains(step(notebook, "lines = ")["lines = "], "c1: taro", "c2: taro")
    assert notebook.code("name = users[0]").output().count("COMPLETED") == 1, "the job's end is told twice"
    session.picture("051-job")
    assert session.on_master("id -u taro").strip().endswith("2001")
    assert not session.changes()
    notebook.save()


def measure(session: Session) -> None:
    """121: ten seconds of Linpack, and every chart that its cells show."""
    notebook = session.open("121-linpack.ipynb", seconds="10")
    notebook.run_all(1800)
    assert not notebook.errors(), notebook.errors()
    contains(notebook.code("figures = ").output(), "residual check PASSED")
    contains(session.on_master("cat ~taro/linpack/*/hpccoutf.txt"), "PASSED")
    charts = until("the charts are drawn", lambda: drawn(notebook, "Linpack", "DGEMM", "STREAM"))
    for number, (title, chart) in enumerate(charts.items(), 1):
        session.browser.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
        time.sleep(0.3)
        session.picture(f"121-chart-{number}")
        bars = [bar.size for bar in chart.find_elements(CSS, "rect")]
        assert bars, f"the chart {title!r} has no bars"
        assert all(bar["width"] > 0 and bar["height"] > 0 for bar in bars), f"{title!r}: a bar isn't drawn"
    notebook.save()


def drawn(notebook: Notebook, *wanted: str) -> dict[str, WebElement]:
    """The charts in a notebook's outputs by their titles; none while one is missing whose title begins with a wanted word."""
    charts = {}
    for cell in notebook.code_cells():
        for chart in cell.element.find_elements(CSS, ".jp-OutputArea-output svg[role='img']"):
            charts[chart.find_element(CSS, "text").get_attribute("textContent") or ""] = chart
    missing = [word for word in wanted if not any(title.startswith(word) for title in charts)]
    return {} if missing else charts


def together(session: Session) -> None:
    """Two notebooks on one cluster: the second is told who holds it."""
    # A second person's copy of the notebook.
    shutil.copy(session.folder / "020-start.ipynb", session.folder / "021-again.ipynb")
    first, second = session.browser.open("020-start.ipynb"), session.open("021-again.ipynb")
    step(second, "hpc = cb.open(")
    for _ in range(5):
        assert session.ask("destroy", session.cluster, "--yes")["exit_status"] == 0
        session.browser.open(second.name)
        second.code("hpc.apply()").select()
        session.browser.open(first.name)
        first.code("hpc.apply()").start()
        session.browser.open(second.name, "Busy", "Idle")
        told = second.code("hpc.apply()").run(LONG)
        session.picture("two-at-once")
        session.browser.open(first.name, "Busy", "Idle")
        done = first.code("hpc.apply()").wait(LONG).output()
        contains(done, f"✔ {session.cluster} is as designed")
        assert session.running() == NODES and not session.changes()
        if "LockedError" in told:
            print(f"  {told.strip().splitlines()[-2]}")
            return
    raise AssertionError("the first apply ended before the second began, five times")


def remove(session: Session) -> None:
    """920: nothing goes without being asked for, then everything."""
    notebook = session.open("920-remove.ipynb")
    notebook.run_all(LONG)
    contains(notebook.code("if not really:").output(), "Nothing was removed")
    contains(notebook.code("there = ").output(), *(f"node {name}" for name in NODES))
    assert session.running() == NODES, "920 removed something without being asked"
    session.picture("920-shown")
    notebook.code("cluster = ").set(really="True")
    notebook.run_all(LONG)
    assert not notebook.errors(), notebook.errors()
    contains(notebook.code("if not really:").output(), f"✔ {session.cluster} is removed")
    session.picture("920-removed")
    assert not session.ask("list")["clusters"], "the state still holds the cluster"
    notebook.run_all(LONG)
    assert not notebook.errors(), notebook.errors()
    contains(notebook.code("if not really:").output(), "There is no cluster")
    notebook.save()


STEPS: list[Callable[[Session], None]] = [describe, start, contents, add_users, measure, together, remove]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--programs", type=Path, required=True, help="folder with jupyter and clusterbook")
    parser.add_argument("--notebooks", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--cluster", default="lab")
    parser.add_argument("--screenshot", type=Path, help="write 020 with picture and tables here, too")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--driver", default="/usr/bin/chromedriver")
    options = parser.parse_args()
    # Ended from outside, it still takes its browser and its server along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    session = Session(options)
    try:
        session.browser.start()
        for one in STEPS:
            begun = time.monotonic()
            print(f"{one.__doc__}", flush=True)
            try:
                one(session)
            except BaseException:
                session.picture("failed")
                raise
            print(f"  ✔ {time.monotonic() - begun:.0f} s", flush=True)
    finally:
        session.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
