"""Configuration files and slurm.conf as part of a design, and the versions that applies store. Against the pretended provider."""

from __future__ import annotations

from pathlib import Path

import clusterbook as cb
import pytest

from conftest import World

MOTD = "/etc/motd"


def design(**parameters: object) -> cb.Design:
    groups = [{"name": "compute", "nodes": 1}, {"name": "gpu", "nodes": 1}]
    return cb.Design(**{"name": "demo", "provider": "memory", "groups": groups, **parameters})


def test_what_isnt_given_of_a_file_stays() -> None:
    one = design().set_file(MOTD, "one\n", nodes=["compute", "gpu"], mode="0640", restart="ssh.service")
    one.set_file(MOTD, "two\n", nodes=["compute", "gpu"])
    (file,) = one.files
    assert file == {
        "path": MOTD,
        "nodes": ["compute", "gpu"],
        "mode": "0640",
        "owner": "root:root",
        "reload": [],
        "restart": ["ssh"],
        "content": "two\n",
    }
    # The only one of its path needs no nodes.
    assert one.set_file(MOTD, "three\n").file(MOTD) == {**file, "content": "three\n"}
    assert one.file("/etc/issue") is None and one.file(MOTD, "master") is None
    one.set_file(MOTD, "for the master\n", nodes="master")
    with pytest.raises(cb.DesignError, match="has 2 files"):
        one.file(MOTD)
    with pytest.raises(cb.DesignError, match="same file on the same nodes"):
        one.set_file(MOTD, "x\n", nodes="all")
    assert not one.remove_file(MOTD, "master").remove_file(MOTD).files


@pytest.mark.parametrize(
    ("path", "instead"),
    [
        ("/etc/slurm/slurm.conf", "set slurm_conf instead"),
        ("/etc/hosts", "groups"),
        ("/etc/sudoers", "sudo"),
        ("/etc/fstab", "disks"),
        ("/home/taro/.bashrc", "the disk home"),
        ("/run/motd", "restart"),
    ],
)
def test_a_file_that_follows_from_other_parameters_names_them(path: str, instead: str) -> None:
    with pytest.raises(cb.DesignError, match=instead):
        design().set_file(path, "x\n")


def test_a_private_key_in_a_file_is_refused_and_not_repeated() -> None:
    text = "-----BEGIN OPENSSH PRIVATE KEY-----\nbm90LWEtcmVhbA\n-----END OPENSSH PRIVATE KEY-----\n"
    with pytest.raises(cb.DesignError, match="no place for secrets") as caught:
        design().set_file("/etc/key", text)
    assert "bm90" not in str(caught.value)


def test_keys_of_slurm_conf_come_and_go() -> None:
    one = design(slurm_conf={"MaxJobCount": 20000})
    one.set_slurm_conf({"maxjobcount": 30000, "KillWait": 60})
    assert one.slurm_conf == {"KillWait": "60", "MaxJobCount": "30000"}
    assert one.set_slurm_conf({"KillWait": None, "Nothing": None}).slurm_conf == {"MaxJobCount": "30000"}
    assert one.set_slurm_conf({"MaxJobCount": None}).slurm_conf == {}
    with pytest.raises(cb.DesignError, match="describe nodes in groups instead"):
        one.set_slurm_conf({"NodeName": "c9"})
    with pytest.raises(cb.DesignError, match="describe it in partitions instead"):
        one.set_slurm_conf({"partitionname": "p"})


def test_versions_and_the_way_back(world: World) -> None:
    design().save()
    cluster = cb.open("demo")
    cluster.apply()
    for content in ("one\n", "one\ntwo\n"):
        cluster.design.set_file(MOTD, content, nodes="compute").set_slurm_conf(
            {"KillWait": len(content)}
        ).save()
        cluster.apply()
    versions = cluster.files.versions(MOTD)
    assert versions.column("apply") == [2, 3] and versions.column("outcome") == ["done", "done"]
    assert versions.column("change") == ["+1 -0", "+1 -0"]
    assert versions.of(9)["text"] == "one\ntwo\n" and "+two" in versions[1]["diff"]
    with pytest.raises(cb.NotFoundError, match="no version at apply 1"):
        versions.of(1)

    cluster.files.roll_back(MOTD, 2)
    assert cb.Design.load("demo").file(MOTD)["content"] == "one\n"
    cluster.roll_back("slurm_conf", 2)
    assert cb.Design.load("demo").slurm_conf == {"KillWait": "4"}
    # One back is what it was before; and before its first version it wasn't there.
    cluster.roll_back(MOTD, -1)
    assert cb.Design.load("demo").file(MOTD)["content"] == "one\ntwo\n"
    cluster.roll_back(MOTD, 1)
    assert cb.Design.load("demo").file(MOTD) is None
    assert cluster.versions(MOTD)[-1]["text"] is None
    with pytest.raises(cb.NotFoundError, match="no version 9 before"):
        cluster.roll_back(MOTD, -9)
    with pytest.raises(cb.RefusedError, match="had no apply 77"):
        cluster.roll_back(MOTD, 77)
    with pytest.raises(cb.DesignError, match="no part of a design"):
        cluster.roll_back("motd", 2)
    assert not cluster.plan()


def test_nodes_that_cannot_be_read_are_told_by_name(world: World, hermetic: Path) -> None:
    design().save()
    cluster = cb.open("demo")
    cluster.apply()
    found = cluster.files.show(MOTD)
    assert found.column("state") == ["failed"] * 3
    assert "runs no commands" in str(found) and "runs no commands" in found._repr_html_()
    with pytest.raises(cb.NodeError, match="couldn't be read on 3 of 3"):
        _ = found.text
    # A copy is made of what the design says, without asking nodes.
    cluster.design.set_file(MOTD, "one\n").save()
    assert cluster.files.edit(MOTD).read_text() == "one\n"


COPY = Path("edit/demo/all/etc/motd")


def kept(name: str) -> str:
    return COPY.with_name(name).read_text()


@pytest.fixture
def held(world: World) -> cb.Cluster:
    """A cluster whose design holds the file, applied."""
    design().save()
    cluster = cb.open("demo")
    cluster.apply()
    distribute(cluster, "one\n")
    return cluster


def distribute(cluster: cb.Cluster, content: str) -> None:
    cluster.design.set_file(MOTD, content).save()
    cluster.apply()


def test_a_copy_follows_the_file_until_it_is_edited(held: cb.Cluster) -> None:
    assert held.files.edit(MOTD) == COPY and COPY.read_text() == "one\n"
    distribute(held, "of a colleague\n")
    assert held.files.edit(MOTD).read_text() == "of a colleague\n"
    COPY.write_text("mine\n")
    assert held.files.edit(MOTD).read_text() == "mine\n"
    # Line ends are a part of it.
    distribute(held, "two\r\nlines\r\n")
    with pytest.raises(cb.RefusedError):
        held.files.edit(MOTD)
    held.files.edit(MOTD, fresh=True)
    assert COPY.read_bytes() == b"two\r\nlines\r\n"
    assert held.files.edit(MOTD, fresh=True) == COPY and not COPY.with_name("motd.edited-2").exists()


@pytest.mark.parametrize("looked_at_again", [False, True])
def test_a_copy_that_was_distributed_follows_what_comes_after_it(
    held: cb.Cluster, looked_at_again: bool
) -> None:
    held.files.edit(MOTD).write_text("mine\n")
    distribute(held, held.files.edit(MOTD).read_text())
    if looked_at_again:
        held.files.edit(MOTD)
    held.roll_back(MOTD, -1)
    assert held.files.edit(MOTD).read_text() == "one\n"
    # The same text once more is an edit like another.
    COPY.write_text("mine\n")
    assert held.files.edit(MOTD).read_text() == "mine\n"


def test_a_copy_is_edited_on_after_its_text_was_distributed(held: cb.Cluster) -> None:
    held.files.edit(MOTD).write_text("mine\n")
    distribute(held, held.files.edit(MOTD).read_text())
    COPY.write_text("mine\nand more\n")
    assert held.files.edit(MOTD).read_text() == "mine\nand more\n"
    assert held.files.edit(MOTD).read_text() == "mine\nand more\n"


def test_a_copy_and_a_file_that_both_changed_are_told_apart(held: cb.Cluster) -> None:
    held.files.edit(MOTD).write_text("mine\n")
    distribute(held, "of a colleague\n")
    with pytest.raises(cb.RefusedError, match="the file has changed since") as caught:
        held.files.edit(MOTD)
    assert "-one\n+of a colleague" in caught.value.message and "mine" not in caught.value.message
    assert "fresh=True" in caught.value.hint
    assert COPY.read_text() == "mine\n"
    assert held.files.edit(MOTD, fresh=True).read_text() == "of a colleague\n"
    assert kept("motd.edited-1") == "mine\n"
    COPY.write_text("mine again\n")
    assert held.files.edit(MOTD, fresh=True).read_text() == "of a colleague\n"
    assert kept("motd.edited-1") == "mine\n" and kept("motd.edited-2") == "mine again\n"


def test_a_copy_of_unknown_origin_is_not_replaced(held: cb.Cluster) -> None:
    COPY.parent.mkdir(parents=True)
    COPY.write_text("mine\n")
    for damaged in (None, "{"):
        if damaged:
            COPY.with_name(".motd.base").write_text(damaged)
        with pytest.raises(cb.RefusedError, match="nothing tells what it was made from") as caught:
            held.files.edit(MOTD)
        assert "-mine\n+one" in caught.value.message
    COPY.write_bytes(b"\xff")
    with pytest.raises(cb.StateError, match="can't be read as text"):
        held.files.edit(MOTD)


def test_an_apply_that_failed_leaves_the_edited_copy(
    held: cb.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    held.files.edit(MOTD).write_text("mine\n")
    failed = {"apply": 9, "at": "", "by": "", "outcome": "failed", "text": "mine\n", "diff": ""}
    monkeypatch.setattr(cb.Files, "versions", lambda *_: cb.Versions(MOTD, [failed]))
    assert held.files.edit(MOTD).read_text() == "mine\n"


def test_contents_tell_nodes_that_differ() -> None:
    def row(node: str, content: str) -> dict[str, str]:
        return {"node": node, "state": "there", "mode": "0644", "owner": "root:root", "content": content}

    same = cb.Contents(MOTD, [row("c1", "a\n"), row("c2", "a\n")])
    assert same.text == "a\n" and "on c1, c2 (0644 root:root, 2 bytes)" in str(same)
    with pytest.raises(cb.RefusedError, match="isn't the same on these nodes"):
        _ = cb.Contents(MOTD, [row("c1", "a\n"), row("c2", "b\n")]).text
    absent = {"node": "c1", "state": "absent"}
    assert cb.Contents(MOTD, [absent]).text == ""
    with pytest.raises(cb.RefusedError):
        _ = cb.Contents(MOTD, [absent, row("c2", "")]).text


def test_a_difference_is_text() -> None:
    difference = cb.diff("a\n", "b\n")
    assert "-a" in difference and "+b" in difference and "<span" in difference._repr_html_()
    assert not cb.diff("a\n", "a\n") and "(no difference)" in cb.diff("", "")._repr_html_()
    assert "&lt;" in cb.diff("", "<script>\n")._repr_html_()


def test_the_master_is_not_scaled(world: World) -> None:
    path = design().save()
    before = path.read_text()
    with pytest.raises(cb.RefusedError, match="exactly one"):
        cb.open("demo").scale("master", 0)
    assert path.read_text() == before


def test_a_change_that_nobody_began_leaves_the_design_as_it_was(world: World) -> None:
    path = design().save()
    cluster = cb.open("demo")
    cluster.apply()
    before = path.read_text()
    with pytest.raises(cb.RefusedError, match="can't be removed while the cluster lives"):
        cluster._edit("master.host", "head")
    assert path.read_text() == before and cluster.design.master["host"] == "master"
    assert not cluster.plan()
