"""Bandwidth of storage, measured as IOR does: several processes at once, a file each, read back by another process than the one that
wrote it. Pure functions: they write the job's script, and read what the job has written down.

Only `dd` and `date` are needed on the nodes. What a step moved, divided by the time from its first process's start to its last one's end,
is its bandwidth; a process that starts late makes it smaller, never larger. The clocks of the nodes have to agree for that.
"""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from ._errors import ClusterbookError

__all__ = ["parse", "script", "summary"]

OPERATIONS = ("write", "read")

# Run by every process of a step, as: FOLDER SHARED(1|0) OPERATION DIRECT(1|0) REPEAT START(ns).
TASK = r"""
folder=$1 shared=$2 operation=$3 direct=$4 repeat=$5 start=$6
mine=$folder/$SLURM_PROCID
# What a process wrote itself may still be in its node's memory: it reads the next one's, which runs on another node where there are several.
[ "$shared" = 1 ] && other=$folder/$(((SLURM_PROCID + 1) % SLURM_NTASKS)) || other=$mine
left=$(((start - $(date +%s%N)) / 1000000))
[ "$left" -le 0 ] || sleep "$(printf '%d.%03d' $((left / 1000)) $((left % 1000)))"
begin=$(date +%s%N)
case $operation$direct in
write0) said=$(dd if="$data" of="$mine" bs=1M conv=fsync 2>&1) ;;
write1) said=$(dd if="$data" of="$mine" bs=1M conv=fsync oflag=direct 2>&1) ;;
read0) said=$(dd if="$other" of=/dev/null bs=1M 2>&1) ;;
read1) said=$(dd if="$other" of=/dev/null bs=1M iflag=direct 2>&1) ;;
esac
status=$?
end=$(date +%s%N)
if [ $status = 0 ]; then
    printf 'moved\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$name" "$operation" "$direct" "$SLURM_NTASKS" "$repeat" "$bytes" "$begin" "$end"
else
    printf 'refused\t%s\t%s\t%s\t%s\n' "$name" "$operation" "$direct" "$(printf '%s' "$said" | head -n 1)"
fi
"""

JOB = r"""#!/bin/bash
job=~/storage/job-$SLURM_JOB_ID
mkdir -p "$job" && cd "$job" || exit 1
cat > task.sh <<'END'
@TASK@
END
export bytes=$((@MIB@ * 1048576)) data=/tmp/storage-$SLURM_JOB_ID name
everywhere() { srun --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 sh -c "$1"; }
shared=() own=()
# What all nodes share is removed once: several that remove one folder at the same time get in each other's way.
tidy() {
    rm -rf "${shared[@]}"
    everywhere "rm -rf '$data' ${own[*]@Q}"
}
trap tidy EXIT
trap 'exit 143' TERM
# Random, so that no file system can compress it; the same file for all, so that making it isn't measured.
everywhere "umask 077; head -c $bytes /dev/urandom > '$data'" || exit 1

# measure NAME SHARED
measure() {
    name=$1
    case $HOME/ in
    "${name%/}"/*) folder=$job/data ;;
    *) folder=${name%/}/storage-$USER-$SLURM_JOB_ID ;;
    esac
    if ! said=$(everywhere "mkdir -p -m 700 '$folder'" 2>&1); then
        printf 'skipped\t%s\t%s\n' "$name" "$(printf '%s' "$said" | head -n 1)"
        return
    fi
    if [ "$2" = 1 ]; then shared+=("$folder"); else own+=("$folder"); fi
    room=$(df -Pk "$folder" | awk 'NR == 2 {print $4}')
    if [ "$((room * 1024))" -lt $((bytes * @MOST@ + bytes)) ]; then
        printf 'skipped\t%s\t%s\n' "$name" "too little room: $((room / 1024)) MiB"
        return
    fi
    for count in @PROCESSES@; do
        nodes=$((count < SLURM_JOB_NUM_NODES ? count : SLURM_JOB_NUM_NODES))
        # Left to itself, a step of few processes takes whichever node is free, and doesn't find what the one before has written there.
        list=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n "$nodes" | paste -sd,)
        for direct in @DIRECT@; do
            for repeat in $(seq @REPEATS@); do
                for operation in write read; do
                    start=$(($(date +%s%N) + @LAUNCH@))
                    srun --ntasks="$count" --nodes="$nodes" --nodelist="$list" --distribution=cyclic \
                        sh task.sh "$folder" "$2" "$operation" "$direct" "$repeat" "$start" || exit 1
                done
                everywhere "rm -f '$folder'/*"
            done
        done
    done
}
{
@CALLS@
    echo end
} > results.txt
"""


def script(
    shared: Iterable[str],
    local: Iterable[str] = (),
    *,
    processes: Sequence[int] = (1, 2, 4),
    mib: int = 256,
    repeats: int = 3,
    direct: Sequence[bool] = (False, True),
    launch_seconds: float = 0.5,
) -> str:
    """A batch script that measures folders which all nodes share, and others that each node has for itself.

    Each process moves `mib` MiB; those of a step start together, `launch_seconds` after it was asked for. The job needs as many tasks as
    the largest of `processes`. Its figures are in `~/storage/job-ID/results.txt`, for `parse`; the files that it wrote are removed at its
    end.
    """
    shared, local = list(shared), list(local)
    if not shared and not local:
        raise ValueError("there is no folder to measure")
    for folder in [*shared, *local]:
        if not folder.startswith("/") or "\n" in folder or "\t" in folder or "'" in folder:
            raise ValueError(f"{folder!r} is no absolute path")
    if not processes or min(processes) < 1 or mib < 1 or repeats < 1 or not direct or launch_seconds < 0:
        raise ValueError("processes, MiB and repeats have to be above 0, and direct I/O yes, no or both")
    calls = [f"    measure {shlex.quote(folder)} 1" for folder in shared]
    calls += [f"    measure {shlex.quote(folder)} 0" for folder in local]
    text = JOB
    for name, value in {
        "TASK": TASK.strip(),
        "MIB": mib,
        "MOST": max(processes),
        "PROCESSES": " ".join(str(count) for count in processes),
        "DIRECT": " ".join(str(int(value)) for value in direct),
        "REPEATS": repeats,
        "LAUNCH": round(launch_seconds * 1e9),
        "CALLS": "\n".join(calls),
    }.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def parse(text: str) -> dict[str, list[dict[str, Any]]]:
    """What a job has written down: `steps`, one for each time that processes moved data together, with `mib_per_second`; and
    `missing`, what was not measured and why. A step of which some processes failed is no figure, and is missing."""
    lines = text.splitlines()
    if not lines or lines[-1] != "end":
        raise ClusterbookError(
            "the measurement didn't come to its end",
            kind="node",
            causes=[f"the last line of its results is {lines[-1] if lines else ''!r}"],
            hint="look at the job's own output; a storage may have filled up, or the time limit have passed",
        )
    moved: dict[tuple[str, str, bool, int, int], list[tuple[int, int, int]]] = {}
    missing: list[dict[str, Any]] = []
    for line in lines[:-1]:
        kind, name, *rest = line.split("\t")
        if kind == "moved":
            operation, direct, processes, repeat = rest[0], rest[1] == "1", int(rest[2]), int(rest[3])
            size, begin, end = (int(word) for word in rest[4:])
            moved.setdefault((name, operation, direct, processes, repeat), []).append((size, begin, end))
        elif kind == "refused":
            row = {"storage": name, "operation": rest[0], "direct": rest[1] == "1", "why": rest[2]}
            if row not in missing:
                missing.append(row)
        else:
            missing.append({"storage": name, "operation": None, "direct": None, "why": rest[0]})
    steps = []
    for (name, operation, direct, processes, repeat), parts in moved.items():
        if len(parts) != processes:
            continue
        seconds = (max(end for _, _, end in parts) - min(begin for _, begin, _ in parts)) / 1e9
        size = sum(size for size, _, _ in parts)
        steps.append(
            {
                "storage": name,
                "operation": operation,
                "direct": direct,
                "processes": processes,
                "repeat": repeat,
                "mib_per_second": size / 2**20 / max(seconds, 1e-9),
            }
        )
    return {"steps": steps, "missing": missing}


def summary(steps: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The repeats of each measurement together: median, least and most MiB/s, in the order in which they were taken."""
    groups: dict[tuple[str, str, bool, int], list[float]] = {}
    for step in steps:
        key = (step["storage"], step["operation"], step["direct"], step["processes"])
        groups.setdefault(key, []).append(step["mib_per_second"])
    return [
        {
            "storage": storage,
            "operation": operation,
            "direct": direct,
            "processes": processes,
            "median": statistics.median(values),
            "least": min(values),
            "most": max(values),
            "repeats": len(values),
        }
        for (storage, operation, direct, processes), values in groups.items()
    ]
