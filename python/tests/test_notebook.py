"""What a notebook shows, in a real kernel."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import World

manager = pytest.importorskip("jupyter_client.manager")
pytest.importorskip("ipykernel")

BEGIN = """
import clusterbook as cb
cb.Design(name="demo", provider="memory", groups=[{"name": "compute", "nodes": 3}]).save()
cluster = cb.open("demo")
"""


class Notebook:
    def __init__(self, folder: Path) -> None:
        self.manager, self.client = manager.start_new_kernel(kernel_name="python3", cwd=str(folder))

    def start(self, code: str) -> str:
        return self.client.execute(code)

    def messages(self, id: str, within: float = 60) -> Iterator[tuple[str, dict[str, Any]]]:
        deadline = time.monotonic() + within
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            except queue.Empty:
                pytest.fail("the cell didn't end")
            if message["parent_header"].get("msg_id") != id:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return
            yield kind, content

    def run(self, code: str) -> list[tuple[str, dict[str, Any]]]:
        messages = list(self.messages(self.start(code)))
        errors = [content for kind, content in messages if kind == "error"]
        assert not errors, "\n".join(errors[0]["traceback"])
        return messages

    def end(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def start_notebook(hermetic: Path) -> Iterator[Callable[[], Notebook]]:
    notebooks: list[Notebook] = []

    def start() -> Notebook:
        notebooks.append(Notebook(hermetic))
        return notebooks[-1]

    yield start
    for notebook in notebooks:
        notebook.end()


def kinds(messages: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [kind for kind, _ in messages]


def test_a_notebook_from_beginning_to_end(
    make_world: Callable[..., World], start_notebook: Callable[[], Notebook]
) -> None:
    make_world(latency=0.05)
    notebook = start_notebook()
    notebook.run(BEGIN)

    plan = notebook.run("cluster.plan()")
    shown = next(content["data"] for kind, content in plan if kind == "execute_result")
    assert "<table" in shown["text/html"] and "to create" in shown["text/plain"]

    applied = notebook.run("cluster.apply()")
    assert kinds(applied).count("display_data") == 1
    assert "update_display_data" in kinds(applied)
    assert "execute_result" not in kinds(applied) and "stream" not in kinds(applied)
    last = [content["data"] for kind, content in applied if kind == "update_display_data"][-1]
    assert last["text/plain"].startswith("✔ demo is as designed") and "✔" in last["text/html"]

    again = notebook.run("done = cluster.apply(progress=False)\ndone")
    assert "nothing to change" in [c["data"]["text/plain"] for k, c in again if k == "display_data"][-1]

    # The cell that applies says its summary once; a cell that asks for it later gets it.
    once = notebook.run("done = cluster.apply()\ndone")
    assert kinds(once).count("display_data") == 1
    later = notebook.run("done")
    assert "nothing to change" in [c["data"]["text/plain"] for k, c in later if k == "display_data"][-1]

    picture = notebook.run("cluster")
    data = next(content["data"] for kind, content in picture if kind == "execute_result")
    assert "<svg" in data["text/html"] and "4 of 4 nodes run" in data["text/plain"]

    result = notebook.run("cb.result(gflops=7.5, nodes=['c1'], ok=True)")
    data = next(content["data"] for kind, content in result if kind == "display_data")
    assert data["application/vnd.tmplrun.result+json"] == {"gflops": 7.5, "nodes": ["c1"], "ok": True}
    assert "gflops" in data["text/plain"]


def test_the_stop_button(make_world: Callable[..., World], start_notebook: Callable[[], Notebook]) -> None:
    make_world(latency=0.4)
    notebook = start_notebook()
    notebook.run(BEGIN)
    messages = []
    pressed = False
    for kind, content in notebook.messages(notebook.start("cluster.apply()")):
        messages.append((kind, content))
        if not pressed and kind == "update_display_data" and "created" in content["data"]["text/plain"]:
            notebook.manager.interrupt_kernel()
            pressed = True
    error = next(content for kind, content in messages if kind == "error")
    assert error["ename"] == "Interrupted"
    trace = "\n".join(error["traceback"])
    assert "cluster.apply()" in trace and "_cluster.py" not in trace, (
        "only the notebook's own lines are shown"
    )
    assert "stopped" in [c["data"]["text/plain"] for k, c in messages if k == "update_display_data"][-1]
    notebook.run("cluster.apply()\nassert not cluster.plan()")
