"""Every test has a home, a folder and, where it asks for one, a world of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8cG6dZt1rJ6cWl9nXKk0Hk7dJ5c3mB6xw3O9mH3n0Z taro@example"
KEPT = ("PATH", "LANG", "LC_ALL", "VIRTUAL_ENV", "CARGO_TARGET_DIR")


def environment(home: Path) -> dict[str, str]:
    """An environment that knows nothing of the person who runs the tests."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {
        **kept,
        "HOME": str(home),
        "CLUSTERBOOK_HOME": str(home / "state"),
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
    }


@pytest.fixture(autouse=True)
def hermetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    work = tmp_path / "work"
    home.mkdir()
    work.mkdir()
    clean = environment(home)
    for name in list(os.environ):
        if name not in clean and not name.startswith("PYTEST_"):
            monkeypatch.delenv(name)
    for name, value in clean.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(work)
    return work


@dataclass
class World:
    """A pretended provider in a process of its own."""

    socket: Path
    process: subprocess.Popen[bytes]

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


def world_program() -> Path:
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    for profile in ("debug", "release"):
        program = target / profile / "clusterbook-world"
        if program.exists():
            return program
    pytest.fail("clusterbook-world isn't built: cargo build -p clusterbook-providers --bins")


@pytest.fixture
def make_world(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(latency: float = 0.0) -> World:
        # The path of a socket must be short.
        socket = tmp_path_factory.mktemp("w") / "s"
        seconds, nanos = divmod(int(latency * 1e9), 10**9)
        plan = json.dumps({"latency": {"secs": seconds, "nanos": nanos}})
        process = subprocess.Popen([world_program(), "--socket", socket, "--plan", plan])
        world = World(socket, process)
        worlds.append(world)
        deadline = time.monotonic() + 60
        while not socket.exists():
            assert process.poll() is None and time.monotonic() < deadline, "the world didn't start"
            time.sleep(0.01)
        monkeypatch.setenv("CLUSTERBOOK_WORLD", str(socket))
        return world

    yield make
    for world in worlds:
        world.thaw()
        world.process.kill()
        world.process.wait()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


@dataclass
class Script:
    """A Python program under way."""

    process: subprocess.Popen[str]

    def await_line(self, text: str) -> str:
        assert self.process.stdout is not None
        seen = []
        for line in self.process.stdout:
            seen.append(line)
            if text in line:
                return line
        pytest.fail(f"{text!r} never came:\n{''.join(seen)}")

    def await_frozen_call(self, world: World) -> None:
        """For a program that says READY, waits for a line, says CALLING and calls: the world answers nothing to that call."""
        self.await_line("READY")
        world.freeze()
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.await_line("CALLING")
        # It has begun a moment later; no sign of it can be seen from outside.
        time.sleep(1.0)

    def press(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self, within: float = 120) -> str:
        rest, _ = self.process.communicate(timeout=within)
        return rest


@pytest.fixture
def script(hermetic: Path) -> Iterator[Callable[[str], Script]]:
    scripts: list[Script] = []

    def start(text: str) -> Script:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(text)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            cwd=hermetic,
            # What runs in the background of a shell ignores the keyboard, and so would a program that it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        scripts.append(Script(process))
        return scripts[-1]

    yield start
    for one in scripts:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
        for pipe in (one.process.stdin, one.process.stdout):
            if pipe is not None:
                pipe.close()
