"""Container images on a cluster: the lines of job scripts that fetch and run them, the training that shows that they work, and where it
can run.

Pure functions but for `place`, which looks at the nodes; notebooks submit what they give. An image is written as both engines take it:
`docker://registry/name:tag` for a registry, `docker-archive:/path` for what `docker save` or `podman save` wrote, by its path on the cluster.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _core
from ._errors import ClusterbookError
from ._gpus import Place
from ._gpus import place as _place

if TYPE_CHECKING:
    from ._cluster import Cluster

__all__ = [
    "Place",
    "apptainer_build",
    "apptainer_exec",
    "figures",
    "overhead",
    "place",
    "podman_pull",
    "podman_run",
    "runs",
    "training",
]

ARCHIVE = "docker-archive:"
# What may follow the name of a registry: no spaces, and nothing that a shell or an engine takes for an option.
IMAGE = re.compile(r"(docker://[A-Za-z0-9][\w.:/@+-]*|docker-archive:/[^\s:]+)", re.ASCII)


def _image(image: str) -> str:
    if not isinstance(image, str) or not IMAGE.fullmatch(image):
        raise ClusterbookError(
            f"{image!r} is not an image",
            hint="write docker://registry/name:tag, or docker-archive:/path/on/the/cluster.tar",
        )
    return image


def _there(image: str) -> list[str]:
    """Lines that end a script early, and clearly, when an archive isn't there."""
    if not image.startswith(ARCHIVE):
        return []
    path = shlex.quote(image.removeprefix(ARCHIVE))
    return [f'[ -r {path} ] || {{ echo "there is no image archive" {path} "on $(hostname)" >&2; exit 66; }}']


def apptainer_build(image: str, file: str) -> str:
    """A job script that makes the image into `file`, a path in the user's home; made already, it is left alone. It appears when it is
    whole: an image that doesn't exist, a full disk or a cancelled job leave nothing."""
    image = _image(image)
    archive = shlex.quote(image.removeprefix(ARCHIVE)) if image.startswith(ARCHIVE) else ""
    stamp = f"$(stat -c '%s %Y' {archive})" if archive else ""
    return "\n".join(
        [
            "#!/bin/bash -l",
            # Before anything unset becomes an error: modules are other people's scripts.
            "module load apptainer",
            "set -eu",
            f"image={shlex.quote(image)} file={shlex.quote(file)}",
            *_there(image),
            f'from="$image {stamp}"',
            'if [ -e "$file" ] && [ "$(cat "$file.from" 2>/dev/null)" = "$from" ]; then',
            '    echo "$file is made from $image already"',
            "    exit 0",
            "fi",
            'mkdir -p "$(dirname "$file")"',
            'part="$file.part-$SLURM_JOB_ID"',
            """trap 'rm -rf "$part"' EXIT""",
            "trap 'exit 143' TERM INT",
            'apptainer build "$part" "$image" || { echo "no image could be made from $image" >&2; exit 1; }',
            'mv "$part" "$file"',
            'echo "$from" >"$file.from"',
            'ls -lh "$file"',
            "",
        ]
    )


def apptainer_exec(file: str, command: str, *, gpu: bool = False) -> str:
    """The line that runs a shell command in an image's file; the home folder is the user's own."""
    return f"apptainer --quiet exec {'--nv ' if gpu else ''}{shlex.quote(file)} sh -c {shlex.quote(command)}"


def podman_pull(image: str) -> str:
    """Lines that bring the image to the node that they run on, unless it is there; `$image` is its identity afterwards. One of several tasks
    on a node at once is enough."""
    image = _image(image)
    return "\n".join(
        [
            *_there(image),
            f"image=$(podman pull --quiet {shlex.quote(image)} | tail -n 1)",
            f'[ -n "$image" ] || {{ echo "no image could be fetched from "{shlex.quote(image)} >&2; exit 1; }}',
        ]
    )


def podman_run(command: str, *, gpu: bool = False, image: str = '"$image"') -> str:
    """The line that runs a shell command in the image that `podman_pull` brought; the home folder is the user's own, and so are the
    files that it writes."""
    options = "--device nvidia.com/gpu=all " if gpu else ""
    return (
        f'podman run --rm {options}--volume "$HOME:$HOME" --workdir "$PWD" --env HOME {image} '
        f"sh -c {shlex.quote(command)}"
    )


def place(
    cluster: Cluster, *, gpus: int | None = None, partition: str | None = None, user: str | None = None
) -> Place:
    """Where a job on one node can run, by what the nodes have now. Changes nothing.

    `gpus` is how many it needs; None is one where a node really has one, and none where GPUs are only counted or out of order: then the
    CPU does the work. `partition` is where to look; None is the default one if a node there has what is needed, else the first that has
    it, of those that this `user` may use. GPUs that the design doesn't have raise a RefusedError; those that it only counts are given
    out by Slurm, and the job finds no device.
    """
    return _place(_core.Design.stored(cluster.name).values(), cluster.gpus(), gpus, partition, user)


def training(framework: str) -> str:
    """The text of the training in `pytorch` or `tensorflow`: a small network that learns handwritten digits."""
    path = Path(__file__).parent / "training" / f"{framework}.py"
    if framework not in ("pytorch", "tensorflow"):
        raise ClusterbookError(
            f"there is no training in {framework!r}", hint="there are pytorch and tensorflow"
        )
    return path.read_text(encoding="utf-8")


# Runs its second argument, a shell command, with the folder in its first as root: the same files as in the image, and no image. What
# a namespace of its own mounts goes with it.
PLAIN = """unshare --user --map-root-user --mount sh -c '
for folder in dev home proc; do mkdir -p "$1/$folder"; mount --rbind "/$folder" "$1/$folder"; done
exec /usr/sbin/chroot "$1" sh -c "cd \\"$2\\" && $3"' sh"""


def overhead(image: str, file: str, command: str, repeats: int) -> str:
    """A job script that runs a command in three ways, taking turns: `plain`, `podman` and `apptainer`; once to warm up and then `repeats`
    times. The command prints `started=` with the time at its own beginning. `runs` reads what the script prints."""
    return "\n".join(
        [
            "#!/bin/bash -l",
            # Before anything unset becomes an error: modules are other people's scripts.
            "module load apptainer",
            "set -eu",
            podman_pull(image),
            "folder=$(mktemp -d /var/tmp/overhead.XXXXXX)",
            """trap 'chmod -R u+rwX "$folder" && rm -rf "$folder"' EXIT""",
            "trap 'exit 143' TERM INT",
            f'apptainer --quiet build --sandbox "$folder/root" {shlex.quote(file)} >/dev/null',
            f"command={shlex.quote(command)}",
            "plain() { " + PLAIN + ' "$folder/root" "$PWD" "$command"; }',
            "podman_() { " + podman_run(command) + "; }",
            "apptainer_() { " + apptainer_exec(file, command) + "; }",
            'measure() { printf "way=%s\\nrun=%s\\nlaunched=%s\\n" "$1" "$2" "$(date +%s.%N)"; "$3"; echo "ended=$(date +%s.%N)"; }',
            f"for run in $(seq 0 {int(repeats)}); do",
            "    measure plain $run plain",
            "    measure podman $run podman_",
            "    measure apptainer $run apptainer_",
            "done",
            "",
        ]
    )


def runs(output: str) -> list[dict[str, Any]]:
    """The figures of each run that `overhead`'s script has printed."""
    return [figures(f"way={text}") for text in output.split("way=")[1:]]


def figures(output: str) -> dict[str, Any]:
    """What a training printed about itself: its lines `name=value`, numbers as numbers."""
    found: dict[str, Any] = {}
    for line in output.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and re.fullmatch(r"[a-z_]+", name):
            found[name] = float(value) if re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", value) else value
    return found
