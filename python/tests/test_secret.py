from __future__ import annotations

import copy
import json
import pickle
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import clusterbook as cb
import pytest

TEXT = 'pa"ss\nwörd-1234'


class Runner:
    """The runner's end of the channel."""

    def __init__(self, path: Path, answer: bytes) -> None:
        self.path, self.answer, self.lines = path, answer, list[bytes]()
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as file:
                self.lines.append(file.readline())
                connection.sendall(self.answer)


@pytest.fixture
def runner(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Runner]:
    path = tmp_path_factory.mktemp("m") / "mask"
    runner = Runner(path, getattr(request, "param", b"ok\n"))
    monkeypatch.setenv("TMPLRUN_MASK", str(path))
    yield runner
    runner.server.close()


def test_a_variable_and_a_file(monkeypatch: pytest.MonkeyPatch, hermetic: Path) -> None:
    monkeypatch.setenv("PASSWORD", TEXT)
    assert cb.secret("env:PASSWORD").reveal() == TEXT
    (hermetic / "key").write_text(TEXT + "\n")
    assert cb.secret(f"file:{hermetic}/key").reveal() == TEXT
    assert cb.secret("env:PASSWORD").reference == "env:PASSWORD"


def test_it_is_never_seen_by_accident(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "sesame-1234")
    secret = cb.secret("env:PASSWORD")
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret:>40}",
        f"{secret!r}",
        repr([secret]),
    ]
    shown += [repr(dir(secret)), repr(getattr(secret, "__dict__", ""))]
    assert not any("sesame" in text for text in shown)
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError) as caught:
            attempt(secret)
        assert "sesame" not in str(caught.value)


def test_it_is_no_parameter_and_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "sesame-1234")
    secret = cb.secret("env:PASSWORD")
    for attempt in (lambda: cb.Design(name="demo", image=secret), lambda: cb.result(a={"b": [secret]})):
        with pytest.raises(cb.ClusterbookError) as caught:
            attempt()
        assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("reference", ["env:NOT_SET", "file:/nowhere/at/all", "plain-secret-text", "vault:x"])
def test_references_that_lead_nowhere(reference: str) -> None:
    with pytest.raises(cb.SecretError) as caught:
        cb.secret(reference)
    assert "plain-secret" not in str(caught.value)
    assert caught.value.hint


def test_revealing_tells_the_runner_first(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", TEXT)
    secret = cb.secret("env:PASSWORD")
    assert runner.lines == []
    assert secret.reveal() == TEXT
    assert [json.loads(line) for line in runner.lines] == [{"mask": TEXT}]


@pytest.mark.parametrize("runner", [b"error: no\n", b""], indirect=True)
def test_what_is_not_masked_is_not_revealed(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", TEXT)
    with pytest.raises(cb.SecretError, match="isn't revealed") as caught:
        cb.secret("env:PASSWORD").reveal()
    assert TEXT not in str(caught.value)


def test_a_runner_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", TEXT)
    monkeypatch.setenv("TMPLRUN_MASK", "/nowhere/mask")
    with pytest.raises(cb.SecretError, match="isn't revealed"):
        cb.secret("env:PASSWORD").reveal()
