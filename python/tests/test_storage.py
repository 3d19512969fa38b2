from __future__ import annotations

import os
import subprocess
from pathlib import Path

import clusterbook as cb
import pytest
from clusterbook import storage

# Stands for Slurm's: runs every task of a step at once, each with its number.
SRUN = r"""#!/bin/sh
ntasks=1
while :; do
    case $1 in
    --ntasks=*) ntasks=${1#*=} ;;
    --*) ;;
    *) break ;;
    esac
    shift
done
echo "$ntasks" >> "$STEPS"
rank=0
while [ $rank -lt "$ntasks" ]; do
    SLURM_PROCID=$rank SLURM_NTASKS=$ntasks "$@" &
    rank=$((rank + 1))
done
wait
"""


def run(folder: Path, script: str) -> str:
    """Runs a job script here, as `root` of no cluster, and gives what it has written down."""
    (folder / "bin").mkdir()
    for name, text in {"srun": SRUN, "scontrol": "#!/bin/sh\necho here\n"}.items():
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    (folder / "job.sh").write_text(script)
    environment = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "HOME": str(folder / "taro"),
        "USER": "taro",
        "SLURM_JOB_ID": f"test{os.getpid()}",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_JOB_NODELIST": "here",
        "STEPS": str(folder / "steps"),
    }
    (folder / "taro").mkdir()
    subprocess.run(["bash", str(folder / "job.sh")], env=environment, check=True, cwd=folder)
    (job,) = (folder / "taro" / "storage").iterdir()
    assert not (job / "data").exists() and not Path(f"/tmp/storage-{environment['SLURM_JOB_ID']}").exists()
    return (job / "results.txt").read_text()


def test_the_script_measures_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    script = storage.script(
        [str(tmp_path / "taro")],
        [str(tmp_path / "scratch")],
        processes=[1, 2],
        mib=2,
        repeats=2,
        launch_seconds=0.05,
    )
    results = storage.parse(run(tmp_path, script))
    rows = storage.summary(results["steps"])
    refused = {(row["storage"], row["operation"], row["direct"]) for row in results["missing"]}
    wanted = {
        (str(tmp_path / place), operation, direct, processes)
        for place in ("taro", "scratch")
        for operation in ("write", "read")
        for direct in (False, True)
        for processes in (1, 2)
        # A file system may know no direct I/O; then that is what is said.
        if (str(tmp_path / place), operation, direct) not in refused
    }
    assert {(row["storage"], row["operation"], row["direct"], row["processes"]) for row in rows} == wanted
    assert all(row["repeats"] == 2 and 0 < row["least"] <= row["median"] <= row["most"] for row in rows)
    assert not any(direct is False for _, _, direct in refused)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_and_the_others_are_measured(tmp_path: Path) -> None:
    script = storage.script(
        ["/proc", str(tmp_path / "taro")], processes=[1], mib=1, repeats=1, direct=[False]
    )
    results = storage.parse(run(tmp_path, script))
    assert [row["storage"] for row in results["missing"]] == ["/proc"]
    assert {row["storage"] for row in results["steps"]} == {str(tmp_path / "taro")}


def line(*words: object) -> str:
    return "\t".join(str(word) for word in words)


def test_a_step_counts_from_the_first_start_to_the_last_end() -> None:
    mib, second = 2**20, 10**9
    text = "\n".join(
        [
            line("moved", "/home", "write", 0, 2, 1, 100 * mib, 0, second),
            line("moved", "/home", "write", 0, 2, 1, 100 * mib, second, 4 * second),
            line("moved", "/home", "write", 0, 2, 2, 100 * mib, 0, second),
            line("moved", "/home", "write", 0, 2, 2, 100 * mib, 0, 2 * second),
            line("refused", "/home", "read", 1, "dd: failed to open: Invalid argument"),
            line("refused", "/home", "read", 1, "dd: failed to open: Invalid argument"),
            line("moved", "/home", "read", 1, 3, 1, 100 * mib, 0, second),
            "end",
        ]
    )
    results = storage.parse(text)
    assert [step["mib_per_second"] for step in results["steps"]] == [50, 100]
    assert [row["why"] for row in results["missing"]] == ["dd: failed to open: Invalid argument"]
    (row,) = storage.summary(results["steps"])
    assert (row["median"], row["least"], row["most"], row["repeats"]) == (75, 50, 100, 2)


@pytest.mark.parametrize("text", ["", "moved\t/home\twrite\t0\t1\t1\t1\t0\t1\n"])
def test_what_did_not_end_is_no_result(text: str) -> None:
    with pytest.raises(cb.ClusterbookError, match="didn't come to its end"):
        storage.parse(text)


@pytest.mark.parametrize(
    "wrong", [{"shared": ["taro"]}, {"shared": []}, {"shared": ["/a'b"]}, {"mib": 0}, {"processes": []}]
)
def test_what_cannot_be_measured(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"path|folder|above 0"):
        storage.script(**{"shared": ["/home"], **wrong})  # type: ignore[arg-type]
