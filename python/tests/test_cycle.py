"""The whole way: plan, apply, nothing left to plan, change, remove. Against the pretended provider."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path
from xml.etree import ElementTree

import clusterbook as cb
import pytest

from conftest import KEY, World


def design(nodes: int = 2, **parameters: object) -> cb.Design:
    groups = [{"name": "compute", "nodes": nodes, "flavor": "small", "features": ["small"]}]
    return cb.Design(**{"name": "demo", "provider": "memory", "groups": groups, **parameters})


def test_plan_apply_plan_destroy(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    design().save()
    cluster = cb.open("demo")
    assert not cluster.exists
    assert cluster.check().raise_if_bad().ok
    plan = cluster.plan()
    assert plan and any(change["what"] == "node c1" for change in plan.changes)
    assert set(plan.changes[0]) == {"id", "phase", "verb", "what", "node", "reason"}
    assert not cluster.exists, "a plan made something"

    applied = cluster.apply()
    out = capsys.readouterr().out
    assert "▸ nodes: 3 changes" in out and out.rstrip().splitlines()[-1] == str(applied)
    assert applied.number == 1 and len(applied.changes) == len(plan.changes)
    assert not cluster.plan() and not cluster.apply()
    assert "nothing to change" in capsys.readouterr().out

    assert [row["state"] for row in cluster.status()] == ["running"] * 3
    assert cb.clusters()[0]["state"] == "3 of 3 nodes run"
    assert list(cluster.nodes) == ["master", "c1", "c2"] and list(cluster.group("compute")) == ["c1", "c2"]
    assert cluster.nodes["c1"].state == "running" and cluster.master.name == "master"

    assert cluster.plan_destroy().destroys and not cluster.plan(), "a plan removed something"
    with pytest.raises(cb.RefusedError, match=r"destroy\(confirm=\"demo\"\)"):
        cluster.destroy()
    with pytest.raises(cb.RefusedError):
        cluster.destroy(confirm="dmeo")
    assert "node c1" in capsys.readouterr().out
    assert not cluster.plan(), "an unconfirmed removal removed something"

    cluster.destroy(confirm="demo")
    assert len(cb.clusters()) == 0 and not cluster.exists
    assert not cluster.destroy(confirm="demo"), "a second run of the cell"


def test_scale_and_power_edit_the_file(world: World) -> None:
    path = design().save()
    path.write_text("# ours\n" + path.read_text())
    cluster = cb.open("demo")
    cluster.apply(progress=False)
    assert cluster.scale("compute", 4)
    assert not cluster.scale("compute", 4)
    assert list(cluster.group("compute")) == ["c1", "c2", "c3", "c4"]
    cluster.power_off()
    assert {row["state"] for row in cluster.status()} == {"off"}
    text = path.read_text()
    assert text.startswith("# ours") and "nodes: 4" in text and re.search(r"power: .?off", text)
    cluster.power_on()
    assert {row["state"] for row in cluster.status()} == {"running"}
    with pytest.raises(cb.DesignError):
        cluster.scale("compute", 99)
    with pytest.raises(cb.DesignError, match="compute"):
        cluster.scale("compte", 3)
    assert not cluster.plan()


def test_a_removal_that_nobody_has_seen_is_not_made(world: World) -> None:
    path = design(3).save()
    cluster = cb.open("demo")
    cluster.apply(cluster.plan(), progress=False)
    plan = cluster.plan()
    path.write_text(path.read_text().replace("nodes: 3", "nodes: 2"))
    with pytest.raises(cb.ClusterbookError, match="c3"):
        cluster.apply(plan, progress=False)
    assert len(cluster.status()) == 4
    cluster.apply(cluster.plan(), progress=False)
    assert len(cluster.status()) == 3


def test_an_edited_file_is_seen_by_an_open_cluster(world: World) -> None:
    path = design().save()
    cluster = cb.open("demo")
    cluster.apply(progress=False)
    path.write_text(path.read_text().replace("nodes: 2", "nodes: 3"))
    assert any(change["what"] == "node c3" for change in cluster.plan().changes)


def test_users_are_added_by_the_same_way(world: World) -> None:
    design().save()
    cluster = cb.open("demo")
    cluster.apply(progress=False)
    edited = cb.Design.load("demo").add_user("taro", KEY)
    edited.save()
    assert any("taro" in change["what"] for change in cluster.plan().changes)
    cluster.apply(progress=False)
    assert not cluster.plan()


def test_a_cluster_opens_without_its_file(
    world: World, hermetic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = design().save()
    cb.open("demo").apply(progress=False)
    elsewhere = hermetic / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert cb.open("demo").design.path == path
    path.unlink()
    cluster = cb.open("demo")
    assert cluster.design.path is None and cluster.design == design()
    assert not cluster.plan()
    cluster.scale("compute", 3)
    assert len(cb.open("demo").nodes) == 4


def test_names_that_are_not_there(world: World) -> None:
    design().save()
    cluster = cb.open("demo")
    cluster.apply(progress=False)
    with pytest.raises(cb.NotFoundError, match="demo"):
        cb.open("dem")
    with pytest.raises(cb.NotFoundError, match="compute"):
        cluster.group("compte")
    with pytest.raises(cb.NotFoundError, match="no node c9"):
        cluster.nodes["c9"]
    with pytest.raises(cb.NotFoundError, match="no user"):
        cluster.master.run("id", user="taro")


def test_each_node_s_failure_is_told(world: World) -> None:
    design().save()
    cluster = cb.open("demo")
    cluster.apply(progress=False)
    with pytest.raises(cb.NodeError) as caught:
        cluster.group("compute").run("uptime")
    assert [failure["what"] for failure in caught.value.failures] == ["c1", "c2"]
    results = cluster.run("uptime", check=False)
    assert not results.ok and results[0]["code"] is None and "pretended" in results[0]["error"]
    with pytest.raises(cb.NodeError, match="didn't run on c1"):
        results["c1"]


def test_two_writers(world: World) -> None:
    design().save()
    cluster = cb.open("demo")
    cluster.apply(progress=False)
    cb.Design.load("demo").set("groups[compute].nodes", 3).save()
    lock = Path(os.environ["CLUSTERBOOK_HOME"]) / "locks" / "demo.lock"
    world.freeze()
    thread = threading.Thread(target=cluster.apply, kwargs={"progress": False})
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not lock.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with pytest.raises(cb.LockedError) as caught:
            cb.open("demo").apply(progress=False)
    finally:
        world.thaw()
        thread.join()
    assert str(os.getpid()) in str(caught.value) and caught.value.hint
    assert len(cluster.nodes) == 4


def test_the_picture(world: World) -> None:
    design(users=[{"name": "taro", "keys": []}]).save()
    cluster = cb.open("demo")
    before = cluster._repr_mimebundle_()
    assert "none made yet" in before["text/plain"]
    cluster.apply(progress=False)
    bundle = cluster._repr_mimebundle_()
    root = ElementTree.fromstring(bundle["image/svg+xml"])
    assert root.attrib["aria-label"] == "demo on memory: 3 of 3 nodes run. 3 running"
    for word in ("c1", "home", "taro", "compute", "/24"):
        assert word in bundle["text/plain"] and word in bundle["text/html"]
    assert repr(cluster) == "<Cluster demo on memory>" and str(cluster) == bundle["text/plain"]
    world.process.kill()
    world.process.wait()
    broken = cluster._repr_mimebundle_()["text/plain"]
    assert "unknown" in broken and "note:" in broken


def test_many_nodes_fit_a_picture(world: World) -> None:
    groups = [{"name": "compute", "nodes": 200, "hosts": "c[1-200]", "addresses": "10.9.1.1-200"}]
    large = design(groups=groups, network={"subnet": "10.9.0.0/16"}, master={"address": "10.9.0.10"})
    bundle = cb.open(large)._repr_mimebundle_()
    assert "and 160 more" in bundle["text/plain"]
    ElementTree.fromstring(bundle["image/svg+xml"])
