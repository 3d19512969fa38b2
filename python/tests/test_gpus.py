"""GPUs: jobs that ask for some, and tables of what nodes have."""

from __future__ import annotations

import clusterbook as cb
import pytest
from clusterbook import _gpus

from conftest import World

DESIGN = cb.Design(
    "demo",
    groups=[
        {"name": "compute", "nodes": 1},
        {"name": "gpu", "nodes": 1, "gpus": "t4:2"},
        {"name": "big", "nodes": 1, "gpus": [{"type": "a100", "devices": ["/dev/nvidia0"]}]},
    ],
    partitions=[
        {"name": "compute", "groups": ["compute"], "default": True},
        {"name": "gpu", "groups": ["gpu"]},
        {"name": "all", "groups": ["compute", "gpu", "big"]},
    ],
)


@pytest.mark.parametrize(
    ("script", "partition", "gpus", "gres", "expected"),
    [
        ("", None, None, None, (None, [])),
        ("", "gpu", 1, None, ("gpu", [""])),
        ("", None, "t4:2", None, (None, ["t4"])),
        ("", None, 0, None, (None, [])),
        ("", None, None, "gpu:a100:1,license:2", (None, ["a100"])),
        ("", None, None, "gpu", (None, [""])),
        (
            "#!/bin/sh\n#SBATCH --gres=gpu:2 --time=5\n#SBATCH --partition=gpu\n",
            None,
            None,
            None,
            ("gpu", [""]),
        ),
        ("#!/bin/sh\n#SBATCH --gpus-per-node=t4:1\n", "all", None, None, ("all", ["t4"])),
        ("#!/bin/sh\n#SBATCH --gres=gpu:2\n", None, None, "gpu:0", (None, [])),
    ],
)
def test_what_a_job_asks_for(script, partition, gpus, gres, expected):
    assert _gpus.wanted(script, partition, gpus, gres) == expected


@pytest.mark.parametrize(
    ("partition", "asked"),
    [(None, []), ("gpu", [""]), ("gpu", ["T4"]), ("all", ["t4", "a100"]), ("nowhere", ["t4"])],
)
def test_a_job_that_can_run_is_let_through(partition, asked):
    _gpus.refuse(DESIGN.to_dict(), partition, asked)


@pytest.mark.parametrize(
    ("partition", "asked", "message", "hint"),
    [
        (None, [""], "partition compute has no GPUs: its groups are compute", "submit to gpu or all"),
        ("gpu", ["a100"], "partition gpu has no GPUs of type a100, but t4", "submit to all"),
        ("all", ["h100"], "partition all has no GPUs of type h100, but a100, t4", "notebook 032"),
    ],
)
def test_a_job_that_never_could_is_told_where_it_can(partition, asked, message, hint):
    with pytest.raises(cb.RefusedError) as caught:
        _gpus.refuse(DESIGN.to_dict(), partition, asked)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_design_takes_gpus_in_short_and_whole_and_shows_them_in_short():
    groups = DESIGN.groups
    assert groups[1]["gpus"] == [{"type": "t4", "count": 2, "devices": []}]
    assert groups[2]["gpus"] == [{"type": "a100", "count": 1, "devices": ["/dev/nvidia0"]}]
    assert "t4:2" in str(groups) and "a100:1" in str(groups)


def test_gpus_are_set_in_a_design_s_file_and_its_comments_stay(tmp_path):
    path = tmp_path / "demo.cluster.yaml"
    path.write_text("schema: 1\nname: demo\ngroups:\n  - name: gpu  # the old rack\n    nodes: 1\n")
    design = cb.Design.load(path)
    design.set("groups[gpu].gpus", "t4:2").save()
    assert "# the old rack" in path.read_text()
    assert cb.Design.load(path).groups[0]["gpus"] == [{"type": "t4", "count": 2, "devices": []}]
    found = [{"type": "t4", "count": 2, "devices": ["/dev/nvidia0", "/dev/nvidia1"]}]
    design = cb.Design.load(path)
    design.set("groups[gpu].gpus", found).save()
    assert "# the old rack" in path.read_text()
    assert cb.Design.load(path).groups[0]["gpus"] == found
    with pytest.raises(cb.DesignError, match="two"):
        design.set("groups[gpu].gpus", "two")


def row(node: str, state: str, detail: str = "", help: str = "") -> dict[str, str]:
    return {
        "node": node, "group": "gpu", "designed": "t4:2", "found": "", "state": state, "detail": detail, "help": help
    }  # fmt: skip


def test_every_node_that_lacks_something_is_told():
    fine = cb.Gpus([row("g1", "good"), row("g2", "note")])
    assert fine.ok and fine.raise_if_bad() is fine and fine.proposals == {}
    bad = cb.Gpus([row("g1", "bad", "the node has no t4:2", "repair it"), row("g2", "bad", "no driver")])
    with pytest.raises(cb.NodeError) as caught:
        bad.raise_if_bad()
    assert [failure["what"] for failure in caught.value.failures] == ["g1", "g2"]
    assert "g1: the node has no t4:2" in caught.value.message
    assert caught.value.hint == "repair it"


NODES = {"compute": ["c1"], "gpu": ["g1", "g2"], "big": ["b1"]}
SPREAD = cb.Design(
    "demo",
    groups=[
        {"name": "compute", "nodes": 1},
        {"name": "gpu", "nodes": 2, "gpus": "t4:2"},
        {"name": "big", "nodes": 1, "gpus": "a100:4"},
    ],
    partitions=[
        {"name": "gpu", "groups": ["gpu"]},
        {"name": "compute", "groups": ["compute"], "default": True},
        {"name": "big", "groups": ["big"], "allow_groups": ["hanako"]},
        {"name": "all"},
    ],
    users=[{"name": "taro"}, {"name": "hanako"}],
).to_dict()
DESIGNED = {"gpu": "t4:2", "big": "a100:4"}


def found(*there: str, bad: tuple[str, ...] = ()) -> cb.Gpus:
    """What nodes have: as designed where they are named, unreachable where they are bad, and nothing elsewhere."""
    rows = []
    for group, nodes in NODES.items():
        for node in nodes:
            has = "unknown" if node in bad else DESIGNED.get(group, "") if node in there else ""
            state = "bad" if node in bad else "note" if group in DESIGNED else "good"
            designed = DESIGNED.get(group, "")
            rows.append({**row(node, state), "group": group, "designed": designed, "found": has})
    return cb.Gpus(rows)


@pytest.mark.parametrize(
    ("there", "given", "expected"),
    [
        # Only counted, or nothing at all: the CPU does the work, where jobs go by default.
        ([], {}, ("compute", 0, [])),
        ([], {"partition": "gpu"}, ("gpu", 0, [])),
        (["g1", "g2"], {"gpus": 0}, ("compute", 0, [])),
        # The first partition that has one, of those that the user may use.
        (["g1", "g2", "b1"], {}, ("gpu", 1, [])),
        (["b1"], {"user": "hanako"}, ("big", 1, [])),
        (["b1"], {"user": "taro"}, ("all", 1, ["g1", "g2"])),
        (["b1"], {"user": "root"}, ("big", 1, [])),
        # Where it is told to look.
        (["g1", "g2", "b1"], {"partition": "all"}, ("all", 1, [])),
        (["g1", "g2"], {"partition": "compute"}, ("compute", 0, [])),
        # Off the nodes that only count theirs.
        (["g2"], {}, ("gpu", 1, ["g1"])),
        (["g2"], {"partition": "all", "gpus": 2}, ("all", 2, ["g1", "b1"])),
        # As many as are asked for on one node, also where they are only counted.
        (["g1", "g2", "b1"], {"gpus": 4}, ("big", 4, [])),
        ([], {"gpus": 1}, ("gpu", 1, [])),
        ([], {"gpus": 3, "user": "taro"}, ("all", 3, [])),
    ],
)
def test_where_a_job_goes(there, given, expected):
    place = _gpus.place(SPREAD, found(*there), **given)
    partition, gpus, exclude = expected
    assert (place.partition, place.gpus, list(place.exclude)) == expected
    assert place.options == {
        "partition": partition,
        "gres": f"gpu:{gpus}" if gpus else None,
        "extra": [f"--exclude={','.join(exclude)}"] if exclude else [],
    }


def test_the_default_partition_comes_first_if_it_has_what_is_needed():
    design = cb.Design(
        "demo",
        groups=[{"name": "gpu", "nodes": 2, "gpus": "t4:2"}],
        partitions=[{"name": "early"}, {"name": "main", "default": True}],
    )
    assert _gpus.place(design.to_dict(), found("g1", "g2")).partition == "main"


def test_nodes_that_answer_nothing_have_nothing():
    place = _gpus.place(SPREAD, found("g2", bad=("g1",)))
    assert (place.partition, place.gpus, place.exclude) == ("gpu", 1, ("g1",))
    assert _gpus.place(SPREAD, found(bad=("g1", "g2", "b1"))).gpus == 0


def test_gpus_that_the_design_does_not_say_are_nobody_s():
    rows = [{**row("c1", "note"), "group": "compute", "designed": "", "found": "t4:1"}]
    assert _gpus.place(SPREAD, cb.Gpus(rows)).gpus == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gpus": 5}, "asks for 5 GPUs can't run: in compute, gpu, big, all no node has more than 4"),
        ({"gpus": 1, "partition": "compute"}, "in compute no node has any"),
    ],
)
def test_more_gpus_than_the_design_has_are_refused(given, message):
    with pytest.raises(cb.RefusedError) as caught:
        _gpus.place(SPREAD, found("g1", "g2", "b1"), **given)
    assert message in caught.value.message and "032" in caught.value.hint


def test_a_partition_that_does_not_exist_is_named():
    with pytest.raises(cb.NotFoundError, match="has no partition gpus") as caught:
        _gpus.place(SPREAD, found(), partition="gpus")
    assert caught.value.hint == "did you mean gpu?"


def test_a_shared_group_opens_a_partition():
    shared = {**SPREAD, "users": [{"name": "taro", "groups": ["hanako"]}]}
    assert _gpus.place(shared, found("b1"), user="taro").partition == "big"


def test_nodes_are_asked_where_a_job_can_go(world: World):
    groups = [{"name": "compute", "nodes": 1}, {"name": "gpu", "nodes": 1}]
    cb.Design("demo", provider="memory", groups=groups).save()
    cluster = cb.open("demo")
    cluster.apply()
    place = cb.containers.place(cluster)
    assert (place.partition, place.gpus) == ("compute", 0)
    assert place.found.column("found") == ["unknown", "unknown"]
