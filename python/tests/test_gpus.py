"""GPUs: jobs that ask for some, and tables of what nodes have."""

from __future__ import annotations

import clusterbook as cb
import pytest
from clusterbook import _gpus

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
