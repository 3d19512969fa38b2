"""Slurm's answers as tables. What Slurm itself prints is read by the crate `slurm`, whose tests hold recorded answers."""

from __future__ import annotations

from typing import Any

import clusterbook as cb
import pytest
from clusterbook import _core
from clusterbook._slurm import Slurm


class Pretended:
    """As much of a cluster as its Slurm asks for."""

    name = "demo"


@pytest.fixture
def slurm() -> Slurm:
    return Slurm(Pretended())  # type: ignore[arg-type]


def answers(monkeypatch: pytest.MonkeyPatch, call: str, value: Any) -> list[tuple[Any, ...]]:
    """Lets one call of the core give this value, and notes with what it was asked."""
    asked: list[tuple[Any, ...]] = []

    def answer(*arguments: Any) -> Any:
        asked.append(arguments)
        return value

    monkeypatch.setattr(_core, call, answer)
    return asked


def test_the_history_asks_for_what_was_wanted(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    job = {
        "id": 7,
        "name": "train",
        "user": "taro",
        "account": "physics",
        "state": "TIMEOUT",
        "nodes": "c[1-2]",
        "allocated": "cpu=8,gres/gpu=1",
        "elapsed_seconds": 300,
        "exit_code": None,
        "submitted": 1_790_000_000,
    }
    asked = answers(monkeypatch, "slurm_history", [job])
    table = slurm.history(user="taro", account="physics", since="now-7days", until="now")
    assert asked == [("demo", "taro", "physics", "now-7days", "now")]
    assert table[0] == job
    assert "submitted" not in table.columns, "what has no column is in the row all the same"
    assert "color:" in table._repr_html_().split("TIMEOUT")[0].rsplit("<td", 1)[1]
    frame = table.column("state")
    assert frame == ["TIMEOUT"]


def test_limits_are_shown_by_name(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {
        "account": "physics",
        "user": "taro",
        "parent": "root",
        "is_default": True,
        "shares": 4,
        "limits": {"MaxJobs": "4", "GrpTRESMins": "cpu=6000"},
    }
    answers(monkeypatch, "slurm_associations", [row, {**row, "user": "", "limits": {}}])
    table = slurm.associations()
    assert "MaxJobs 4; GrpTRESMins cpu=6000" in str(table)
    assert table[0]["limits"]["MaxJobs"] == "4"


def test_shares_are_numbers(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {
        "account": "physics",
        "user": "taro",
        "shares": 1,
        "share": 0.5,
        "usage": 120.0,
        "used": 0.25,
        "factor": 0.7071,
    }
    answers(monkeypatch, "slurm_fair_share", [row])
    assert "0.7071" in str(slurm.fair_share())


@pytest.mark.parametrize(
    ("call", "method"),
    [
        ("slurm_history", "history"),
        ("slurm_associations", "associations"),
        ("slurm_fair_share", "fair_share"),
    ],
)
def test_a_cluster_without_accounts_says_how_to_have_them(
    slurm: Slurm, monkeypatch: pytest.MonkeyPatch, call: str, method: str
) -> None:
    answers(monkeypatch, call, None)
    with pytest.raises(cb.NotFoundError) as caught:
        getattr(slurm, method)()
    assert "keeps no accounts" in str(caught.value)
    assert "accounting.enabled" in str(caught.value.hint)


def test_a_table_without_rows_says_so(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "slurm_history", [])
    assert str(slurm.history()) == "(no jobs)"
