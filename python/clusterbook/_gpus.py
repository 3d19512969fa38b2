"""GPUs: what nodes have, what the design says, and whether a job could get what it asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import _core
from ._errors import NodeError, NotFoundError, RefusedError
from ._table import _Judged


class Gpus(_Judged):
    """The GPUs of each worker, held against the design: ✔ as designed, • works and is worth knowing, ✘ jobs would fail.

    `proposals` has, by group, what all of its nodes have: a list that can be written into the design as it is.
    """

    def __init__(
        self,
        rows: Iterable[Mapping[str, Any]],
        proposals: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    ) -> None:
        super().__init__(rows, ["node", "group", "designed", "found", "detail", "help"], empty="no workers")
        self.proposals: dict[str, list[dict[str, Any]]] = {
            group: [dict(gpu) for gpu in gpus] for group, gpus in (proposals or {}).items()
        }

    def raise_if_bad(self) -> Gpus:
        """Raises a NodeError that lists every node that lacks something; else gives the table back."""
        if bad := self._bad():
            failures = [
                {"what": row["node"], "doing": "GPUs", "message": row["detail"], "hint": row["help"]}
                for row in bad
            ]
            raise NodeError(
                "nodes don't have the GPUs that the design says: "
                + "; ".join(f"{row['node']}: {row['detail']}" for row in bad),
                kind="node",
                failures=failures,
                hint=bad[0]["help"] or None,
            )
        return self


def short(gpus: Iterable[Mapping[str, Any]]) -> str:
    """GPUs as a design writes them in short: `t4:2`."""
    return ",".join(f"{gpu['type']}:{gpu['count']}" if gpu["type"] else str(gpu["count"]) for gpu in gpus)


def wanted(
    script: str, partition: str | None, gpus: int | str | None, gres: str | None
) -> tuple[str | None, list[str]]:
    """The partition that a job names, and the types of GPU that it asks for (an empty text where any will do), from what was given
    or, as sbatch does it, from the script's `#SBATCH` lines."""
    asked: list[str] = []
    lines = re.findall(r"^#SBATCH\s+--([\w-]+)[= ]([^\s#]+)", script, re.MULTILINE)
    if gpus is None:
        gpus = next(
            (value for key, value in lines if key in ("gpus", "gpus-per-node", "gpus-per-task")), None
        )
    if gres is None:
        gres = next((value for key, value in lines if key == "gres"), None)
    if partition is None:
        partition = next((value for key, value in lines if key == "partition"), None)
    if gpus:
        asked += [part.rpartition(":")[0] for part in str(gpus).split(",") if part.rpartition(":")[2] != "0"]
    for part in (gres or "").split(","):
        words = part.removeprefix("gres/").split(":")
        if words[0] == "gpu" and words[-1] != "0":
            types = [word for word in words[1:] if not word.isdigit()]
            asked.append(types[0] if types else "")
    return partition, asked


def refuse(design: Mapping[str, Any], partition: str | None, asked: Sequence[str]) -> None:
    """Refuses a job that asks for GPUs where there are none. Slurm's own words for that don't say where there are some."""
    partitions = design["partitions"]
    chosen = [
        one for one in partitions if (one["default"] if partition is None else one["name"] == partition)
    ]
    if not asked or not chosen:
        return
    groups = {group["name"]: group for group in design["groups"]}

    def types(one: Mapping[str, Any]) -> set[str]:
        return {gpu["type"] for name in one["groups"] if name in groups for gpu in groups[name]["gpus"]}

    for kind in asked:
        if types(chosen[0]) and (not kind or kind.lower() in {name.lower() for name in types(chosen[0])}):
            continue
        others = [one["name"] for one in partitions if types(one) and (not kind or kind in types(one))]
        has = ", ".join(sorted(name for name in types(chosen[0]) if name))
        raise RefusedError(
            f"partition {chosen[0]['name']} has no GPUs"
            + (f" of type {kind}" if kind else "")
            + (
                f", but {has}"
                if has
                else f": its groups are {', '.join(chosen[0]['groups']) or 'none'}, and none has any"
            ),
            hint=f"submit to {' or '.join(others)}"
            if others
            else "give a group GPUs with notebook 032, or in the design file (gpus: t4:2), and apply",
        )


@dataclass(frozen=True)
class Place:
    """Where a job goes: its `partition`, how many `gpus` it asks for, the nodes that it is kept off because theirs are only counted or out
    of order, and the table of GPUs that this follows from. `cluster.slurm.submit(script, **place.options)` sends it there."""

    partition: str
    gpus: int
    exclude: tuple[str, ...]
    found: Gpus

    @property
    def options(self) -> dict[str, Any]:
        """What `submit` needs to know."""
        return {
            "partition": self.partition,
            "gres": f"gpu:{self.gpus}" if self.gpus else None,
            "extra": [f"--exclude={','.join(self.exclude)}"] if self.exclude else [],
        }


def place(
    design: Mapping[str, Any],
    found: Gpus,
    gpus: int | None = None,
    partition: str | None = None,
    user: str | None = None,
) -> Place:
    """The decision behind `containers.place`, from a design's values and what its nodes have."""
    partitions = design["partitions"]
    if partition is None:
        mine = _groups(design, user)
        may = [
            one
            for one in partitions
            if mine is None or not one["allow_groups"] or mine & {*one["allow_groups"]}
        ]
        # The default first; without any, Slurm itself says who may use what.
        candidates = sorted(may or partitions, key=lambda one: not one["default"])
    else:
        names = [one["name"] for one in partitions]
        if partition not in names:
            near = _core.nearest(partition, names)
            raise NotFoundError(
                f"the cluster {design['name']} has no partition {partition}",
                hint=f"did you mean {near}?" if near else f"there are {', '.join(names)}",
            )
        candidates = [one for one in partitions if one["name"] == partition]
    wanted = 1 if gpus is None else gpus
    said = {row["node"]: _count(row["designed"]) for row in found}
    there = {row["node"]: _count(row["found"]) for row in found if row["designed"] and row["state"] != "bad"}

    def members(one: Mapping[str, Any]) -> list[str]:
        return [row["node"] for row in found if row["group"] in one["groups"]]

    def first(counts: Mapping[str, int]) -> Mapping[str, Any] | None:
        has = (one for one in candidates if any(counts.get(node, 0) >= wanted for node in members(one)))
        return next(has, None)

    if wanted == 0:
        return Place(candidates[0]["name"], 0, (), found)
    if chosen := first(there):
        # Slurm would give out those that are only counted just as well.
        without = tuple(node for node in members(chosen) if said[node] and not there.get(node))
        return Place(chosen["name"], wanted, without, found)
    if gpus is None:
        return Place(candidates[0]["name"], 0, (), found)
    if chosen := first(said):
        return Place(chosen["name"], wanted, (), found)
    most = max((said[node] for one in candidates for node in members(one)), default=0)
    raise RefusedError(
        f"a job that asks for {wanted} GPUs can't run: in "
        + ", ".join(one["name"] for one in candidates)
        + (f" no node has more than {most}" if most else " no node has any"),
        hint="ask for less, or choose another partition; notebook 032 shows what nodes have, and gives groups GPUs",
    )


def _groups(design: Mapping[str, Any], user: str | None) -> set[str] | None:
    """The Unix groups of a user; nothing for root, who may use every partition."""
    if user in (None, "root"):
        return None
    shared = next((one.get("groups", []) for one in design["users"] if one["name"] == user), [])
    return {user, *shared}


def _count(gpus: str) -> int:
    """How many GPUs `t4:2,a100:1` are."""
    return sum(int(part.rpartition(":")[2]) for part in gpus.split(",") if part and part != "unknown")


Gpus.__module__ = "clusterbook"
Place.__module__ = "clusterbook.containers"
