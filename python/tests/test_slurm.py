"""Slurm's answers as tables. What Slurm itself prints is read by the crate `slurm`, whose tests hold recorded answers."""

from __future__ import annotations

from typing import Any

import clusterbook as cb
import pytest
from clusterbook import _core
from clusterbook._slurm import Job, Slurm, _Waiting

from conftest import World


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


def node(name: str, state: str = "IDLE", **facts: Any) -> dict[str, Any]:
    return {"name": name, "state": state, "partitions": ["all"], "reason": None, "reason_by": None, **facts}


def test_nodes_of_one_partition(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    both = node("g1", partitions=["all", "gpu"])
    answers(monkeypatch, "slurm_nodes", [node("c1"), both])
    asked = answers(monkeypatch, "slurm_partitions", [{"name": name} for name in ("all", "gpu", "late")])
    assert slurm.nodes().column("name") == ["c1", "g1"]
    assert slurm.nodes("all").column("name") == ["c1", "g1"]
    assert slurm.nodes("gpu").rows == [both]
    assert not asked, "what nodes say is enough where the partition has some"
    late = slurm.nodes("late")
    assert str(late) == "(no nodes of partition late)" and late.raise_if_bad() is late
    with pytest.raises(cb.NotFoundError, match="no nodes of partition late") as empty:
        late.ready()
    assert "slurm.partitions()" in str(empty.value.hint)
    with pytest.raises(cb.NotFoundError, match="demo has no partition gpus") as near:
        slurm.nodes("gpus")
    assert near.value.hint == "did you mean gpu?"
    with pytest.raises(cb.NotFoundError) as far:
        slurm.nodes("everything")
    assert far.value.hint == "there are all, gpu, late"


@pytest.mark.parametrize(
    "state",
    [
        "IDLE",
        "MIXED",
        "ALLOCATED",
        "IDLE+CLOUD",
        "IDLE+RESERVED",
        "MIXED+COMPLETING",
        "MIXED+PLANNED",
        "ALLOCATED+DYNAMIC_NORM+COMPLETING",
    ],
)
def test_a_node_that_works_takes_jobs(slurm: Slurm, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    answers(monkeypatch, "slurm_nodes", [node("c1", state)])
    table = slurm.nodes()
    assert table.raise_if_bad() is table
    assert table.ready().rows == table.rows


@pytest.mark.parametrize(
    ("state", "hint"),
    [
        ("IDLE+DRAIN", "nodename=c2 state=resume"),
        ("MIXED+DRAINING", "nodename=c2 state=resume"),
        ("DOWN", "cluster.apply()"),
        ("DOWN+DRAIN", "cluster.apply()"),
        ("IDLE+NOT_RESPONDING", "cluster.apply()"),
        ("IDLE+FAIL", "cluster.apply()"),
        ("IDLE+CLOUD+POWERED_DOWN", "cluster.apply()"),
        ("IDLE+INVALID_REG", "cluster.apply()"),
        ("UNKNOWN", "cluster.apply()"),
    ],
)
def test_a_node_that_takes_no_jobs_is_an_error(
    slurm: Slurm, monkeypatch: pytest.MonkeyPatch, state: str, hint: str
) -> None:
    answers(monkeypatch, "slurm_nodes", [node("c1"), node("c2", state)])
    table = slurm.nodes()
    assert table.ready().column("name") == ["c1"]
    with pytest.raises(cb.NodeError, match="1 of 2 nodes take no jobs") as caught:
        table.raise_if_bad()
    [failure] = caught.value.failures
    assert (failure["what"], failure["doing"], failure["message"]) == ("c2", state, "Slurm gives no reason")
    assert hint in failure["hint"] and failure["hint"] == caught.value.hint


def test_the_error_says_who_drained_a_node_and_why(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    drained = [
        node(name, "IDLE+DRAIN", reason="disk is replaced", reason_by="root", partitions=["gpu"])
        for name in ("g1", "g2")
    ]
    down = node("g3", "DOWN+NOT_RESPONDING", reason="Not responding", partitions=["gpu"])
    answers(monkeypatch, "slurm_nodes", [*drained, down, node("c1")])
    table = slurm.nodes("gpu")
    assert "disk is replaced" in str(table)
    for check in (table.raise_if_bad, table.ready):
        with pytest.raises(cb.NodeError) as caught:
            check()
        assert str(caught.value).splitlines() == [
            "3 of 3 nodes of partition gpu take no jobs",
            "  ✘ g1 (IDLE+DRAIN): disk is replaced (set by root)",
            "  ✘ g2 (IDLE+DRAIN): disk is replaced (set by root)",
            "  ✘ g3 (DOWN+NOT_RESPONDING): Not responding",
            'help: once the reason is settled, run cluster.master.run("scontrol update nodename=g1,g2 state=resume"); '
            "apply the design again, which brings back nodes that are down: cluster.apply()",
        ]
        assert caught.value.kind == "node"


def test_the_default_partition_is_the_applied_one(world: World) -> None:
    def design(default: str) -> cb.Design:
        partitions = [
            {"name": name, "groups": ["compute"], "default": name == default} for name in ("short", "long")
        ]
        groups = [{"name": "compute", "nodes": 1}]
        return cb.Design(name="demo", provider="memory", groups=groups, partitions=partitions)

    design("long").save()
    cluster = cb.open("demo")
    cluster.apply(progress=False)
    assert cluster.slurm.default_partition == "long"
    design("short").save(replace=True)
    assert cluster.slurm.default_partition == "long", "what is only designed is not there yet"


def test_a_job_that_waits_says_why(slurm: Slurm) -> None:
    waits = {"id": 7, "name": "train", "state": "PENDING", "reason": "Resources", "nodes": ""}
    assert repr(Job(slurm, waits)) == "<Job 7 train: PENDING (Resources)>"
    assert "</span> (Resources)</div>" in Job(slurm, waits)._repr_html_()
    assert "(" not in repr(Job(slurm, {**waits, "reason": None}))
    # Slurm may leave the reason to a job that runs.
    runs = {**waits, "state": "RUNNING", "nodes": "c1"}
    assert repr(Job(slurm, runs)) == "<Job 7 train: RUNNING on c1>"


def test_waiting_says_each_reason(slurm: Slurm, capsys: pytest.CaptureFixture[str]) -> None:
    waits = {"id": 7, "name": "train", "state": "PENDING", "reason": "Priority", "nodes": ""}
    writer = _Waiting(slurm, Job(slurm, {"id": 7}))
    writer([{"event": "job", "job": waits}])
    assert capsys.readouterr().out == "job 7: PENDING (Priority)\n"
    line = writer._bundle()
    assert "PENDING (Priority)> · " in line["text/plain"] and "(Priority) · " in line["text/html"]
