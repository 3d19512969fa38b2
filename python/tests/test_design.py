from __future__ import annotations

import os
import pickle
import re
import shutil
from pathlib import Path

import clusterbook as cb
import pytest

from conftest import KEY

GROUPS = [{"name": "compute", "nodes": 2, "flavor": "small"}]


def demo(**parameters: object) -> cb.Design:
    return cb.Design(**{"name": "demo", "groups": GROUPS, **parameters})


def test_all_faults_come_at_once_with_the_nearest_name() -> None:
    with pytest.raises(cb.DesignError) as caught:
        cb.Design(
            name="Demo!",
            provdier="local",
            groups=[{"name": "a", "nodes": -1, "flavour": "x"}],
            disks=[{"name": "home", "size": "16", "mount": "/home"}],
        )
    faults = {fault["path"]: fault for fault in caught.value.faults}
    assert {"name", "provdier", "groups[0].nodes", "groups[0].flavour", "disks[0].size"} <= set(faults)
    assert "provider" in faults["provdier"]["help"]
    text = str(caught.value)
    assert text.count("groups[0].nodes") == 1
    assert caught.value.kind == "yours"


def test_none_means_the_default() -> None:
    assert demo(provider=None, users=None) == demo()


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), {3: "x"}])
def test_a_value_that_is_no_parameter_is_named_by_its_path(value: object) -> None:
    with pytest.raises(cb.DesignError, match=r"groups\[0\]\.flavor"):
        demo(groups=[{"name": "a", "flavor": value}])


def test_iterables_and_tuples_are_lists() -> None:
    assert demo(groups=(group for group in GROUPS)) == demo(groups=tuple(GROUPS)) == demo()


def test_whole_numbers_of_other_libraries() -> None:
    numpy = pytest.importorskip("numpy")
    assert demo(groups=[{**GROUPS[0], "nodes": numpy.int64(2)}]) == demo()


def test_save_and_load(hermetic: Path) -> None:
    path = demo().save()
    assert path == hermetic / "demo.cluster.yaml"
    loaded = cb.Design.load("demo")
    assert loaded == demo()
    assert loaded.path == path
    assert cb.Design.load(path) == loaded


def test_saving_the_same_again_changes_nothing() -> None:
    path = demo().save()
    commented = path.read_text() + "# mine\n"
    path.write_text(commented)
    assert demo().save() == path
    assert path.read_text() == commented


def test_saving_something_else_is_refused_and_says_the_difference() -> None:
    path = demo().save()
    before = path.read_text()
    other = demo(groups=[{**GROUPS[0], "nodes": 5}])
    with pytest.raises(cb.RefusedError, match=r"\+    nodes: 5") as caught:
        other.save()
    assert "replace=True" in (caught.value.hint or "")
    assert path.read_text() == before


def test_replacing_keeps_comments() -> None:
    path = demo().save()
    path.write_text(path.read_text().replace("    nodes: 2", "    nodes: 2  # until the grant comes"))
    demo(groups=[{**GROUPS[0], "nodes": 5}], power="off").save(replace=True)
    text = path.read_text()
    assert "nodes: 5  # until the grant comes" in text
    assert re.search(r"power: .?off", text)
    assert cb.Design.load("demo").groups[0]["nodes"] == 5


def test_edits_keep_comments_and_save_without_asking() -> None:
    path = demo().save()
    path.write_text("# ours\n" + path.read_text())
    design = cb.Design.load("demo")
    design.set("groups[compute].nodes", 4).add_user("taro", [KEY])
    assert "+    nodes: 4" in design.diff()
    design.save()
    text = path.read_text()
    assert text.startswith("# ours\n") and "nodes: 4" in text and KEY in text
    assert design.diff() == ""


def test_a_file_that_changed_meanwhile_is_not_overwritten() -> None:
    path = demo().save()
    design = cb.Design.load("demo").set("groups[compute].nodes", 4)
    path.write_text(path.read_text().replace("nodes: 2", "nodes: 3"))
    with pytest.raises(cb.RefusedError, match="changed meanwhile"):
        design.save()
    assert "nodes: 3" in path.read_text()


def test_saving_leaves_the_old_file_when_it_fails(hermetic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = demo().save()
    before = path.read_text()
    design = cb.Design.load("demo").set("groups[compute].nodes", 4)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(cb.StateError, match="No space left on device") as caught:
        design.save()
    assert caught.value.kind == "configuration"
    assert path.read_text() == before
    assert [one.name for one in hermetic.iterdir()] == [path.name]


def test_a_linked_file_stays_a_link(hermetic: Path) -> None:
    path = demo().save()
    kept = hermetic / "kept"
    kept.mkdir()
    shutil.move(path, kept / path.name)
    path.symlink_to(kept / path.name)
    cb.Design.load("demo").set("power", "off").save()
    assert path.is_symlink()
    assert re.search(r"power: .?off", (kept / path.name).read_text())


def test_users() -> None:
    design = demo(users=[{"name": "hana", "uid": 2001, "keys": []}])
    design.add_user("taro", KEY)
    design.add_user("jiro", [KEY], uid=3000, sudo=True)
    assert [(user["name"], user["uid"], user["sudo"]) for user in design.users] == [
        ("hana", 2001, False),
        ("taro", 2002, False),
        ("jiro", 3000, True),
    ]
    text = design.text
    design.add_user("taro", KEY)  # A cell that is run twice.
    assert design.text == text
    design.add_user("taro", [KEY, KEY.replace("taro@", "laptop@")])
    assert len(next(user for user in design.users if user["name"] == "taro")["keys"]) == 2
    with pytest.raises(cb.DesignError, match="uid 2002 already"):
        design.add_user("taro", KEY, uid=4000)
    design.remove_user("hana")
    assert [user["name"] for user in design.users] == ["taro", "jiro"]
    with pytest.raises(cb.DesignError, match="taro"):
        design.remove_user("tarou")


def test_keys_and_sudo_are_given_and_taken_away() -> None:
    design = demo().add_user("taro", KEY, sudo=True)
    design.add_user("taro", limits={"MaxJobs": 4})  # What isn't given stays.
    assert design.users[0]["keys"] == [KEY] and design.users[0]["sudo"] is True
    design.add_user("taro", [], sudo=False)
    assert design.users[0]["keys"] == [] and design.users[0]["sudo"] is False


def test_groups_that_users_share() -> None:
    design = demo().add_user("taro", groups=["lab", "guests"]).add_user("hana", groups="lab")
    text = design.text
    assert design.add_user("hana", groups="lab").text == text
    assert [(group["name"], group["gid"], group["members"]) for group in design.unix_groups] == [
        ("lab", 3001, ["taro", "hana"]),
        ("guests", 3002, ["taro"]),
    ]
    design.set("partitions", [{"name": "compute", "allow_groups": ["lab"]}])
    with pytest.raises(cb.DesignError, match="gid 3001 already"):
        design.add_unix_group("lab", gid=4000)
    with pytest.raises(cb.DesignError, match="also that of taro"):
        design.add_unix_group("other", gid=2001)
    # A partition is for it.
    with pytest.raises(cb.DesignError, match="there is no Unix group 'lab'"):
        design.remove_unix_group("lab")
    design.set("partitions[compute].allow_groups", []).remove_unix_group("lab")
    assert [user["groups"] for user in design.users] == [["guests"], []]
    with pytest.raises(cb.NotFoundError, match="did you mean guests"):
        design.remove_unix_group("guest")


def test_a_refused_edit_leaves_the_design_as_it_was() -> None:
    design = demo()
    before = design.text
    with pytest.raises(cb.DesignError, match=r"groups\[compute\]\.node"):
        design.set("groups[compute].node", 4)
    with pytest.raises(cb.DesignError):
        design.set("groups[compute].nodes", 99)
    assert design.text == before


def test_a_missing_design_says_how_to_make_one() -> None:
    with pytest.raises(cb.NotFoundError, match=r"cb\.Design") as caught:
        cb.Design.load("demo")
    assert isinstance(caught.value, LookupError)
    with pytest.raises(cb.NotFoundError, match="no file"):
        cb.Design.load("folder/demo.cluster.yaml")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("schema: 99\nname: demo\n", "newer version"),
        ("name: demo\n", "schema"),
        ("schema: 1\nname: demo\ngroups: [\n", "line"),
        ("schema: 1\nname: other\n", "describes the cluster other"),
        ("schema: 1\nname: demo\ngruops: []\n", "groups"),
    ],
)
def test_files_that_are_no_designs(hermetic: Path, text: str, told: str) -> None:
    (hermetic / "demo.cluster.yaml").write_text(text)
    with pytest.raises(cb.DesignError, match=told):
        cb.Design.load("demo")


def test_a_file_that_is_not_text(hermetic: Path) -> None:
    (hermetic / "demo.cluster.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(cb.DesignError, match="not a text file"):
        cb.Design.load("demo")


def test_a_design_can_be_pickled_and_copied() -> None:
    design = demo()
    again = pickle.loads(pickle.dumps(design))
    assert again == design
    again.set("power", "off")
    assert again != design and design.copy() == design


def test_displays_escape_what_people_wrote() -> None:
    design = demo(users=[{"name": "taro", "keys": [KEY.replace("taro@example", "<b>太郎</b>")]}])
    html = design._repr_html_()
    assert "&lt;b&gt;太郎&lt;/b&gt;" in html and "<b>太郎" not in html
    assert "demo" in repr(design)
