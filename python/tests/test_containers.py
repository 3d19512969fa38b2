from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path

import clusterbook as cb
import pytest
from clusterbook import containers

APPTAINER = """#!/bin/sh
# Stands for Apptainer: builds a file, or leaves half of one and fails.
echo half >"$2"
case $3 in *bad*) exit 3 ;; *slow*) kill -TERM $PPID; sleep 1 ;; esac
echo "made from $3" >"$2"
"""


@pytest.fixture
def run(tmp_path: Path):
    """Runs a job script by the real shell, on a folder that stands for a home."""
    programs = tmp_path / "stand-ins"
    programs.mkdir()
    (programs / "apptainer").write_text(APPTAINER)
    (programs / "apptainer").chmod(0o755)
    (tmp_path / "user").mkdir()

    def run(script: str) -> subprocess.CompletedProcess[str]:
        # The stand-in for `module` is a function, as the real one is.
        text = script.replace("#!/bin/bash -l\n", "module() { :; }\n", 1)
        assert text != script
        environment = {"PATH": f"{programs}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
        return subprocess.run(
            ["bash", "-c", text], cwd=tmp_path / "user", env=environment, capture_output=True, text=True
        )

    run.home = tmp_path / "user"
    return run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "image",
    [
        "debian",
        "",
        "--help",
        "docker://",
        "docker-archive:relative.tar",
        "docker://a b",
        "docker://x;reboot",
        None,
        3,
    ],
)
def test_what_is_no_image_is_refused(image: object) -> None:
    for make in (lambda: containers.apptainer_build(image, "x.sif"), lambda: containers.podman_pull(image)):
        with pytest.raises(cb.ClusterbookError, match="is not an image"):
            make()


def test_a_build_makes_the_file_once_and_again_when_its_archive_changed(run) -> None:
    archive = run.home / "it's-an-archive.tar"
    archive.write_text("one")
    script = containers.apptainer_build(f"docker-archive:{archive}", "images/my image.sif")
    assert run(script).returncode == 0
    made = run.home / "images" / "my image.sif"
    assert made.read_text() == f"made from docker-archive:{archive}\n"
    assert names(made.parent) == ["my image.sif", "my image.sif.from"]
    made.write_text("mine")
    again = run(script)
    assert again.returncode == 0 and "already" in again.stdout
    assert made.read_text() == "mine"
    archive.write_text("another")
    assert run(script).returncode == 0
    assert made.read_text().startswith("made from")


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("docker://registry.invalid/bad:1", "no image could be made from docker://registry.invalid/bad:1"),
        ("docker-archive:/nowhere/x.tar", "there is no image archive /nowhere/x.tar"),
        ("docker://registry.invalid/slow:1", ""),
    ],
)
def test_what_can_not_be_made_leaves_nothing(run, image: str, says: str) -> None:
    done = run(containers.apptainer_build(image, "images/x.sif"))
    assert done.returncode != 0
    assert says in done.stderr
    assert not (run.home / "images").exists() or names(run.home / "images") == []


def test_a_failed_build_keeps_the_file_of_an_earlier_one(run) -> None:
    assert run(containers.apptainer_build("docker://registry.invalid/good:1", "x.sif")).returncode == 0
    assert run(containers.apptainer_build("docker://registry.invalid/bad:1", "x.sif")).returncode != 0
    assert (run.home / "x.sif").read_text() == "made from docker://registry.invalid/good:1\n"
    assert names(run.home) == ["x.sif", "x.sif.from"]


def test_commands_reach_the_container_as_they_are() -> None:
    inside = 'echo "$HOME" it\'s'
    line = containers.apptainer_exec("my image.sif", inside, gpu=True)
    import shlex

    assert shlex.split(line) == ["apptainer", "--quiet", "exec", "--nv", "my image.sif", "sh", "-c", inside]
    line = containers.podman_run(inside, gpu=True)
    words = shlex.split(line)
    assert words[-3:] == ["sh", "-c", inside]
    assert words[:5] == ["podman", "run", "--rm", "--device", "nvidia.com/gpu=all"]
    assert "--device" not in containers.podman_run(inside)
    assert "--nv" not in containers.apptainer_exec("x.sif", inside)


@pytest.mark.parametrize("framework", ["pytorch", "tensorflow"])
def test_both_trainings_print_the_same_figures(framework: str) -> None:
    text = containers.training(framework)
    ast.parse(text)
    for name in ("framework", "device", "samples", "accuracy", "started", "preparing", "processing"):
        assert f'print(f"{name}=' in text


def test_an_unknown_training_is_named() -> None:
    with pytest.raises(cb.ClusterbookError, match="there is no training in"):
        containers.training("../pytorch")


def test_figures_are_the_lines_with_names() -> None:
    output = "WARNING: a=b c\nepoch 1: loss=0.2\ndevice=Tesla T4\naccuracy=0.9721\nsamples=1438\nsmall=1e-05\nX=1\n"
    assert containers.figures(output) == {
        "device": "Tesla T4",
        "accuracy": 0.9721,
        "samples": 1438,
        "small": 1e-05,
    }


OVERHEAD = """#!/bin/sh
# Stands for both engines, and for the namespaces of a run without one.
case "$*" in *pull*) echo id ;; *build*) mkdir -p "$4/root" ;; *) echo started=1.5; echo preparing=1; echo processing=2; echo accuracy=0.9 ;; esac
"""


def test_the_three_ways_take_turns(tmp_path: Path) -> None:
    for program in ("apptainer", "podman", "unshare"):
        (tmp_path / program).write_text(OVERHEAD)
        (tmp_path / program).chmod(0o755)
    script = containers.overhead("docker://a/b:1", "x.sif", "python3 'a b.py'", 2)
    script = script.replace("#!/bin/bash -l\n", "module() { :; }\n", 1)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    runs = containers.runs(done.stdout)
    assert [(run["way"], run["run"]) for run in runs] == [
        (way, run) for run in (0, 1, 2) for way in ("plain", "podman", "apptainer")
    ]
    assert all(run["processing"] == 2 and run["launched"] <= run["ended"] for run in runs)


def test_a_run_without_an_engine_is_in_its_folder() -> None:
    words = containers.PLAIN.split()
    assert words[0] == "unshare" and words[-1] == "sh"
    subprocess.run(["bash", "-n", "-c", containers.overhead("docker://a/b:1", "x.sif", "x", 1)], check=True)
