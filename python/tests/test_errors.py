from __future__ import annotations

import pickle
from pathlib import Path

import clusterbook as cb
import pytest
from clusterbook import _core


def test_the_classes_form_one_family() -> None:
    errors = [
        value for value in vars(cb).values() if isinstance(value, type) and issubclass(value, BaseException)
    ]
    assert len(errors) == 15
    for error in errors:
        assert issubclass(error, cb.ClusterbookError) or error is cb.Interrupted
    assert issubclass(cb.Interrupted, KeyboardInterrupt) and not issubclass(cb.Interrupted, Exception)


@pytest.mark.parametrize("background", [False, True])
def test_a_panic_is_a_bug_and_nothing_worse(background: bool, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(cb.BugError, match="as asked") as caught:
        _core.fail(background)
    assert caught.value.kind == "bug" and "report" in str(caught.value)
    assert "panicked" not in capfd.readouterr().err
    assert len(cb.clusters()) == 0  # And everything still works.


def test_the_story_is_told_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLUSTERBOOK_HOME", str(tmp_path / "file" / "state"))
    with pytest.raises(cb.StateError) as caught:
        cb.clusters()
    text = str(caught.value)
    assert caught.value.kind == "configuration"
    assert text.count(str(tmp_path)) == 1 and text.count("help: ") == 1
    assert caught.value.causes


def test_a_provider_that_is_not_there() -> None:
    design = cb.Design(name="demo", provider="memory")
    with pytest.raises(cb.ProviderError) as caught:
        cb.open(design).plan()
    assert caught.value.kind == "configuration" and caught.value.hint
    checks = design.check()
    assert not checks.ok and "✘" in str(checks)
    with pytest.raises(cb.DesignError, match="can't be applied"):
        checks.raise_if_bad()


def test_an_unknown_provider_offers_the_nearest() -> None:
    with pytest.raises(cb.ClusterbookError, match="local"):
        cb.open(cb.Design(name="demo", provider="locall")).plan()


def test_an_engine_socket_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTERBOOK_ENGINE", "/nowhere/engine.sock")
    with pytest.raises(cb.ProviderError, match=r"/nowhere/engine\.sock"):
        cb.open(cb.Design(name="demo", provider="local")).plan()
    assert len(cb.clusters()) == 0


def test_failures_are_listed_and_never_joined() -> None:
    failures = [
        {"what": f"c{n}", "doing": "phase munge", "message": f"reason {n}", "hint": ""} for n in range(20)
    ]
    error = cb.NodeError("parts failed", kind="node", failures=failures, hint="mend it")
    assert [failure["what"] for failure in error.failures] == [f"c{n}" for n in range(20)]
    assert "c3 (phase munge): reason 3" in str(error) and "8 more" in str(error)
    assert str(error).endswith("help: mend it")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
