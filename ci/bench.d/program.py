"""Runs clusterbook's programs and takes their time, memory and events."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path


class Failed(Exception):
    """A program that was to be measured failed, so there is no figure."""


@dataclass
class Ran:
    """One run of a program."""

    began: float
    seconds: float
    processor_seconds: float
    peak_mib: float
    stdout: str


@dataclass
class Applied(Ran):
    """One apply, and where its time went: parts in their order, in seconds."""

    parts: dict[str, float] = field(default_factory=dict)


def ran(
    arguments: list[str], folder: Path, environment: dict[str, str], *, okay: tuple[int, ...] = (0,)
) -> Ran:
    """Runs a program to its end."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        began = time.time()
        clock = time.perf_counter()
        process = subprocess.Popen(
            arguments, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=errors
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            raise
        seconds = time.perf_counter() - clock
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        errors.seek(0)
        stdout = out.read()
        if process.returncode not in okay:
            said = "\n".join((stdout + errors.read()).strip().splitlines()[-20:])
            raise Failed(f"{' '.join(arguments)} ended with {process.returncode}:\n{said}")
    return Ran(began, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, stdout)


class Clusterbook:
    """The program `clusterbook` with a state folder of its own."""

    def __init__(self, programs: Path, folder: Path, socket: str) -> None:
        self.folder = folder
        self._programs = programs
        self._environment = {
            **os.environ,
            "CLUSTERBOOK_HOME": str(folder / "state"),
            "CLUSTERBOOK_ENGINE": socket,
            "CLUSTERBOOK_WORLD": str(folder / "world.sock"),
            "NO_COLOR": "1",
        }

    def __call__(self, *arguments: str, okay: tuple[int, ...] = (0,)) -> Ran:
        return ran(
            [str(self._programs / "clusterbook"), *arguments], self.folder, self._environment, okay=okay
        )

    def new(self, name: str, **settings: str) -> None:
        """Writes a design. Settings are in the shape of `--set`, without the group's name."""
        (self.folder / f"{name}.cluster.yaml").unlink(missing_ok=True)
        words = [f"--set={path}={value}" for path, value in settings.items()]
        self("new", name, *words)

    def compute(self, name: str, nodes: int, **settings: str) -> None:
        """A design with so many compute nodes and one user."""
        room = max(nodes, 16)
        self.new(
            name,
            **{
                "groups[compute].nodes": str(nodes),
                "groups[compute].hosts": f'"c[1-{room}]"',
                "users": "[{name: alice, sudo: true}]",
                **settings,
            },
        )

    def apply(self, name: str) -> Applied:
        """Applies the design and reads from the events where the time went."""
        file = self.folder / f"{name}.events"
        file.unlink(missing_ok=True)
        run = self("apply", name, "--yes", "--events", file.name)
        return Applied(**vars(run), parts=_parts(file, run))

    def boot_only(self, name: str) -> None:
        """Makes the nodes and ends the program the moment that it would begin to configure them; then waits for systemd.

        What is left is what an interruption leaves: nodes that run and that nobody has configured.
        """
        file = self.folder / f"{name}.events"
        file.unlink(missing_ok=True)
        file.touch()
        process = subprocess.Popen(
            [str(self._programs / "clusterbook"), "apply", name, "--yes", "--events", file.name],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while '"name":"configuration"' not in file.read_text():
                if process.poll() is not None:
                    raise Failed(f"apply {name} ended before it began to configure nodes")
                time.sleep(0.005)
        finally:
            process.kill()
            process.wait()
        self.booted(name)

    def booted(self, name: str) -> None:
        """Returns once every node has started all that it starts by itself."""
        deadline = time.monotonic() + 300
        while True:
            run = self(
                "run", name, "--on", "all", "--json", "--", "systemctl is-system-running --wait", okay=(0, 1)
            )
            said = [result.get("stdout", "").strip() for result in json.loads(run.stdout)["results"]]
            if said and all(state in ("running", "degraded") for state in said):
                break
            if time.monotonic() > deadline:
                raise Failed(f"the nodes of {name} don't finish booting: {said}")
            time.sleep(0.2)
        # What a boot leaves to do, such as writing logs, would count against whoever comes next.
        time.sleep(2)

    def nodes(self, name: str) -> dict[str, str]:
        """Address by node, the master first."""
        listed = json.loads(self("status", name, "--json").stdout)["nodes"]
        return {node["name"]: node["address"] for node in listed}

    def on(self, name: str, nodes: str, command: str) -> dict[str, str]:
        """What a command prints, by node."""
        results = json.loads(self("run", name, "--on", nodes, "--json", "--", command).stdout)["results"]
        return {result["node"]: result["stdout"] for result in results}

    def destroy(self, name: str) -> None:
        self("destroy", name, "--yes")

    def destroy_all(self) -> list[str]:
        """Removes every cluster of this state folder; returns what could not be removed, with the reason."""
        left = []
        for cluster in json.loads(self("list", "--json").stdout)["clusters"]:
            if cluster["provider"] == "memory":
                continue
            try:
                self.destroy(cluster["name"])
            except Failed as failed:
                left.append(str(failed))
        return left

    @contextlib.contextmanager
    def world(self) -> Iterator[None]:
        """Serves a world without machines."""
        socket = self.folder / "world.sock"
        socket.unlink(missing_ok=True)
        process = subprocess.Popen([str(self._programs / "clusterbook-world"), "--socket", str(socket)])
        try:
            deadline = time.monotonic() + 10
            while not socket.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise Failed("clusterbook-world doesn't serve")
                time.sleep(0.01)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            socket.unlink(missing_ok=True)


def _parts(file: Path, run: Ran) -> dict[str, float]:
    events = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    marks: list[tuple[str, float]] = []
    ready = []
    last = run.began
    for event in events:
        at = _seconds(event["at"])
        last = at
        if event["event"] == "started":
            marks.append(("ask the engine, look at nodes, plan", at))
        elif event["event"] == "stage":
            marks.append((event["name"], at))
        elif event["event"] == "ready":
            ready.append(at)
    parts: dict[str, float] = {}
    names = [name for name, _ in marks]
    times = [at for _, at in marks] + [last]
    if not marks:
        return parts
    parts[names[0]] = times[0] - run.began
    for index, name in enumerate(names[1:], start=1):
        begin, end = times[index], times[index + 1]
        if name == "configuration" and ready:
            parts["boot until the last node answers"] = max(ready) - begin
            parts["the rest of the configuration"] = end - max(ready)
        else:
            parts[name] = end - begin
    parts["end of the program"] = run.began + run.seconds - last
    return parts


def _seconds(stamp: str) -> float:
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")
