"""Runs every notebook beside this file under papermill and under tmplrun, and compares what comes out.

`NAME.json` beside `NAME.ipynb` says how it is run, where that is not `INPUT OUTPUT`, which written files are `compared`
besides the notebook, and where the two are meant to differ: each difference has the id of a paragraph in
docs/tmplrun/differences-from-papermill.md. A difference that is not listed fails, and so does a listed one that no longer
shows.

The programs: papermill, nbclient and bash_kernel from the environment that runs pytest (ci/requirements-differential.txt), and
TMPLRUN, or target/debug/tmplrun.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from compare import EVERYWHERE, MISSING, differences, normal, outputs_only

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[3]
NOTEBOOKS = HERE / "notebooks"
DOCUMENT = ROOT / "docs/tmplrun/differences-from-papermill.md"
TMPLRUN = os.environ.get("TMPLRUN", str(ROOT / "target/debug/tmplrun"))
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
# Seconds for one run, and how often papermill may take longer.
LIMIT = 120
STALLS = 3
KEYS = {
    "arguments",
    "compared",
    "differences",
    "files",
    "options",
    "output",
    "reference",
    "streams",
    "written",
}


def case(name: str) -> dict[str, Any]:
    path = NOTEBOOKS / f"{name}.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    assert set(known) <= KEYS, f"{path.name}: unknown keys {set(known) - KEYS}"
    return known


@dataclass
class Outcome:
    exit: int
    notebook: dict[str, Any] | None
    files: dict[str, str]
    said: str


def execute(name: str, program: str, folder: Path) -> Outcome:
    """Runs one notebook under one program, in a folder of its own."""
    plan = case(name)
    home, work = folder / "home", folder / "work"
    kernel = home / "jupyter/kernels/bash/kernel.json"
    kernel.parent.mkdir(parents=True)
    argv = [sys.executable, "-m", "bash_kernel", "-f", "{connection_file}"]
    kernel.write_text(
        json.dumps({"argv": argv, "display_name": "Bash", "language": "bash"}), encoding="utf-8"
    )
    for path, content in {**plan.get("files", {}), "input.ipynb": None}.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        data = (NOTEBOOKS / f"{name}.ipynb").read_bytes() if content is None else content.encode()
        (work / path).write_bytes(data)
    streams = plan.get("streams", False)
    paths = ["-", "-"] if streams else ["input.ipynb", plan.get("output", "output.ipynb")]
    if program == "tmplrun":
        command = [TMPLRUN, *paths, *plan.get("arguments", [])]
    elif plan.get("reference") == "nbclient":
        command = [sys.executable, str(HERE / "nbclient_run.py"), *paths, json.dumps(plan.get("options", {}))]
    else:
        command = [sys.executable, "-m", "papermill", *paths, *plan.get("arguments", [])]
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_PATH": str(home / "jupyter"),
        "LANG": "C.UTF-8",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "TMPDIR": str(folder),
    }
    done = subprocess.run(
        command,
        cwd=work,
        env=environment,
        input=(work / "input.ipynb").read_bytes() if streams else None,
        stdin=None if streams else subprocess.DEVNULL,
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )
    written = work / plan.get("written", "output.ipynb")
    if streams:
        written.write_bytes(done.stdout)
    notebook = None
    if written.exists():
        source = (work / "input.ipynb").read_text(encoding="utf-8")
        given = set(re.findall(r'"id": ?"([^"]*)"', source))
        notebook = json.loads(written.read_text(encoding="utf-8"))
        reference = plan.get("reference", "papermill")
        notebook = normal(
            notebook, given, [str(work), str(folder)], reference if program == "papermill" else program
        )
        if reference == "nbclient":
            notebook = outputs_only(notebook)
    files = {
        path: (work / path).read_text(encoding="utf-8") if (work / path).exists() else MISSING
        for path in plan.get("compared", [])
    }
    return Outcome(done.returncode, notebook, files, done.stderr.decode(errors="replace"))


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Every notebook that a selected test asks for, run two at a time."""
    wanted = [item.callspec.params["name"] for item in request.session.items if hasattr(item, "callspec")]
    base = tmp_path_factory.mktemp("runs")

    def reference(name: str) -> Outcome:
        # Now and then papermill waits for ever for something that its kernel has said already: such a run tells nothing.
        for attempt in range(STALLS):
            try:
                return execute(name, "papermill", base / name / f"papermill-{attempt}")
            except subprocess.TimeoutExpired:
                print(f"{name}: papermill stalled", file=sys.stderr)
        pytest.fail(f"papermill stalled {STALLS} times in {name}")

    def both(name: str) -> tuple[Outcome, Outcome]:
        return reference(name), execute(name, "tmplrun", base / name / "tmplrun")

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(wanted, pool.map(both, wanted), strict=True))


def same(listed: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether a listed difference is the one that was found; a side that is left out may be anything."""
    sides = [side for side in ("papermill", "tmplrun") if side in listed]
    return listed["at"] == found["at"] and all(json.dumps(listed[s]) == json.dumps(found[s]) for s in sides)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_comes_out_but_for_what_is_listed(name: str, outcomes: dict[str, Any]) -> None:
    papermill, tmplrun = outcomes[name]
    found = differences({"exit": papermill.exit}, {"exit": tmplrun.exit})
    found += differences(papermill.files, tmplrun.files, "files")
    one, other = papermill.notebook, tmplrun.notebook
    if one is None or other is None:
        found += differences(
            MISSING if one is None else "<written>", MISSING if other is None else "<written>", "file"
        )
    else:
        found += differences(one, other)
    listed = case(name).get("differences", [])
    new = [difference for difference in found if not any(same(known, difference) for known in listed)]
    gone = [known for known in listed if not any(same(known, difference) for difference in found)]
    report = ROOT / "out/differential" / f"{name}.json"
    if new or gone:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(
            json.dumps({"new": new, "gone": gone}, indent=1, ensure_ascii=False), encoding="utf-8"
        )
    assert not new, (
        f"not listed in {name}.json:\n{json.dumps(new, indent=1, ensure_ascii=False)}\n\n"
        f"papermill said:\n{papermill.said[-2000:]}\n\ntmplrun said:\n{tmplrun.said[-2000:]}"
    )
    assert not gone, (
        f"listed in {name}.json, and not there:\n{json.dumps(gone, indent=1, ensure_ascii=False)}"
    )


def test_every_difference_has_its_reason() -> None:
    used = {known["id"] for name in NAMES for known in case(name).get("differences", [])}
    reasoned = re.findall(r"^### `([a-z0-9-]+)`", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(reasoned) == len(set(reasoned)), "an id stands twice in the document"
    assert used | EVERYWHERE == set(reasoned)


def test_every_file_belongs_to_a_notebook() -> None:
    assert len(NAMES) >= 60
    assert {path.stem for path in NOTEBOOKS.iterdir()} == set(NAMES)
