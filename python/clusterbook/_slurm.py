"""A cluster's Slurm, as tables and jobs."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from . import _core
from ._errors import ClusterbookError, DesignError, JobError, NodeError, NotFoundError
from ._gpus import refuse, wanted
from ._html import BAD, BUSY, GOOD, IDLE, NOTE, escape, in_notebook, this_cell
from ._table import Table

if TYPE_CHECKING:
    from ._cluster import Cluster

GONE_WELL = "COMPLETED"
ENDED = (
    "COMPLETED",
    "CANCELLED",
    "FAILED",
    "TIMEOUT",
    "NODE_FAIL",
    "PREEMPTED",
    "BOOT_FAIL",
    "DEADLINE",
    "OUT_OF_MEMORY",
)

# What a node that takes jobs is doing, and how the flags begin that keep jobs away all the same.
READY = ("IDLE", "MIXED", "ALLOCATED")
AWAY = ("DRAIN", "FAIL", "NOT_RESPONDING", "INVALID_REG", "POWER", "REBOOT_ISSUED")


def _takes_jobs(state: str) -> bool:
    word, *flags = state.split("+")
    return word in READY and not any(flag.startswith(AWAY) for flag in flags)


def _colour(state: str) -> str:
    word = state.split("+")[0]
    flags = state.split("+")[1:]
    if (
        word in ("DOWN", "ERROR", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL")
        or "NOT_RESPONDING" in flags
    ):
        return BAD
    if "DRAIN" in flags or word in ("PENDING", "SUSPENDED", "CANCELLED"):
        return NOTE
    if word in ("ALLOCATED", "MIXED", "RUNNING"):
        return BUSY
    return GOOD if word in ("IDLE", "COMPLETED", "UP") else IDLE


class _States(Table):
    def _style(self, row: Mapping[str, Any], column: str) -> str:
        return f";color:{_colour(str(row.get('state', '')))}" if column == "state" else ""


class SlurmNodes(_States):
    """Nodes as Slurm sees them, those of one partition if it was asked for."""

    def __init__(self, rows: Iterable[Mapping[str, Any]], partition: str | None = None) -> None:
        columns = [
            "name",
            "state",
            "partitions",
            "cpus",
            "allocated_cpus",
            "memory_mib",
            "allocated_memory_mib",
            "load",
        ]
        rows = list(rows)
        if any(row.get("reason") for row in rows):
            columns.append("reason")
        self._where = f" of partition {partition}" if partition else ""
        self._partition = partition
        super().__init__(rows, columns, empty=f"no nodes{self._where}")

    def ready(self) -> SlurmNodes:
        """Those that take jobs, idle or not. Where none does, a NodeError says why; where there is no node at all, a NotFoundError."""
        if not self.rows:
            raise NotFoundError(
                f"there are no nodes{self._where}",
                hint="give one of its groups nodes, or choose another partition: cluster.slurm.partitions()",
            )
        taking = [row for row in self.rows if _takes_jobs(row["state"])]
        if not taking:
            self.raise_if_bad()
        return SlurmNodes(taking, self._partition)

    def raise_if_bad(self) -> SlurmNodes:
        """Raises a NodeError that lists every node that takes no jobs, such as a drained one; else gives the table back."""
        bad = [row for row in self.rows if not _takes_jobs(row["state"])]
        if bad:
            raise NodeError(
                f"{len(bad)} of {len(self.rows)} nodes{self._where} take no jobs",
                kind="node",
                failures=[
                    {
                        "what": row["name"],
                        "doing": row["state"],
                        "message": _why_away(row),
                        "hint": _back([row]),
                    }
                    for row in bad
                ],
                hint=_back(bad),
            )
        return self


def _why_away(row: Mapping[str, Any]) -> str:
    if not row.get("reason"):
        return "Slurm gives no reason"
    return f"{row['reason']} (set by {row['reason_by']})" if row.get("reason_by") else row["reason"]


def _back(bad: Sequence[Mapping[str, Any]]) -> str:
    """What gives these nodes jobs again."""
    # A node that is drained and also down has to come up first.
    drained = [row["name"] for row in bad if _takes_jobs(re.sub(r"\+DRAIN\w*", "", row["state"]))]
    ways = []
    if drained:
        command = f"scontrol update nodename={','.join(drained)} state=resume"
        ways.append(f'once the reason is settled, run cluster.master.run("{command}")')
    if len(drained) < len(bad):
        ways.append("apply the design again, which brings back nodes that are down: cluster.apply()")
    return "; ".join(ways)


class _Limits(Table):
    def _cells(self) -> list[list[str]]:
        rows = super()._cells()
        place = self.columns.index("limits")
        for cells, row in zip(rows, self.rows, strict=False):
            cells[place] = "; ".join(f"{name} {value}" for name, value in row["limits"].items())
        return rows


class Job:
    """A job: its number, and what Slurm last said about it."""

    def __init__(self, slurm: Slurm, row: Mapping[str, Any]) -> None:
        self._slurm = slurm
        self._row = dict(row)
        # The cell in which waiting for it has shown how it ended.
        self._told_in: int | None = None

    @property
    def id(self) -> int:
        """Its number."""
        return self._row["id"]

    @property
    def row(self) -> dict[str, Any]:
        """Everything that Slurm last said about it."""
        return dict(self._row)

    @property
    def name(self) -> str:
        """Its name."""
        return self._row.get("name", "")

    @property
    def state(self) -> str:
        """Its last known state in Slurm's words, such as `RUNNING`; `refresh` asks again."""
        return self._row.get("state", "")

    @property
    def nodes(self) -> str:
        """Its nodes as a hostlist; empty before it starts."""
        return self._row.get("nodes", "")

    @property
    def exit_code(self) -> int | None:
        """The exit status of its script; none before its end."""
        return self._row.get("exit_code")

    @property
    def finished(self) -> bool:
        """Whether it has ended, well or not."""
        words = self.state.split("+")
        return words[0] in ENDED and not {"COMPLETING", "REQUEUED", "REQUEUE_HOLD"} & set(words)

    @property
    def _waits_for(self) -> str:
        """Slurm's reason why it waits, in brackets; nothing where it doesn't, or where there is none."""
        reason = self._row.get("reason")
        return f" ({reason})" if reason and self.state.startswith("PENDING") else ""

    @property
    def succeeded(self) -> bool:
        """Whether it ended well."""
        return self.finished and self.state.split("+")[0] == GONE_WELL and (self.exit_code or 0) == 0

    @property
    def seconds(self) -> float | None:
        """How long it ran, or has run until now."""
        start, end = self._row.get("start_time"), self._row.get("end_time")
        if not start or self.state.startswith("PENDING"):
            return None
        return max(0.0, (end if self.finished and end else time.time()) - start)

    def refresh(self) -> Job:
        """Asks Slurm about it again."""
        self._row = self._slurm.job(self.id)._row
        return self

    def wait(self, *, progress: bool = True, check: bool = True) -> Job:
        """Waits until it has ended. See Slurm.wait."""
        done = self._slurm.wait(self, progress=progress, check=check)
        self._row, self._told_in = done._row, done._told_in
        return self

    def cancel(self) -> None:
        """Stops it; one that has ended already is fine, too."""
        self._slurm.cancel(self)

    def output(self) -> str:
        """What it has written to its standard output until now, read on the master."""
        path = self._row.get("output") or self.refresh()._row.get("output")
        if not path:
            raise NotFoundError(
                f"Slurm doesn't say where job {self.id} writes", hint="pass output= to submit"
            )
        path = path.replace("%j", str(self.id)).replace("%A", str(self.id)).replace("%x", self.name)
        return self._slurm._cluster.master.run(f"cat -- {shlex.quote(path)}").stdout

    def __repr__(self) -> str:
        where = f" on {self.nodes}" if self.nodes else ""
        name = f" {self.name}" if self.name else ""
        return f"<Job {self.id}{name}: {self.state or 'submitted'}{self._waits_for}{where}>"

    def _html(self, more: str = "") -> str:
        where = f" on {escape(self.nodes)}" if self.nodes else ""
        name = f" {escape(self.name)}" if self.name else ""
        state = self.state or "submitted"
        return (
            f"<div>Job <b>{self.id}</b>{name}: "
            f'<span style="color:{_colour(state)}">{escape(state)}</span>'
            f"{escape(self._waits_for)}{where}{escape(more)}</div>"
        )

    def _repr_html_(self) -> str:
        return self._html()

    def _ipython_display_(self) -> None:
        # Waiting has ended in the same line; a cell that ends in wait() needn't say it twice.
        if self._told_in is not None and self._told_in == this_cell():
            return
        from IPython.display import display

        display({"text/plain": repr(self), "text/html": self._repr_html_()}, raw=True)


class Slurm:
    """A cluster's Slurm, asked through its master."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def _name(self) -> str:
        return self._cluster.name

    def nodes(self, partition: str | None = None) -> SlurmNodes:
        """Its nodes and what jobs use of them; with `partition` only that one's."""
        rows = _core.slurm_nodes(self._name)
        if partition is None:
            return SlurmNodes(rows)
        chosen = [row for row in rows if partition in row["partitions"]]
        if not chosen:
            # It may be there and have no nodes now.
            known = [row["name"] for row in _core.slurm_partitions(self._name)]
            if partition not in known:
                near = _core.nearest(partition, known)
                raise NotFoundError(
                    f"cluster {self._name} has no partition {partition}",
                    hint=f"did you mean {near}?" if near else f"there are {', '.join(known)}",
                )
        return SlurmNodes(chosen, partition)

    def partitions(self) -> Table:
        """Its partitions."""
        columns = ["name", "state", "nodes", "node_count", "cpus", "max_time_minutes"]
        return _States(_core.slurm_partitions(self._name), columns, empty="no partitions")

    @property
    def default_partition(self) -> str:
        """The partition of jobs that name none, as the cluster was last applied."""
        partitions = _core.Design.stored(self._name).values()["partitions"]
        return next(partition["name"] for partition in partitions if partition["default"])

    def jobs(self, finished: bool = False) -> Table:
        """The jobs that wait or run; with `finished` also those that ended in the last minutes."""
        columns = ["id", "name", "user", "state", "partition", "nodes", "tasks", "reason"]
        return _States(_core.slurm_jobs(self._name, finished), columns, empty="no jobs")

    def history(
        self,
        user: str | None = None,
        account: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> Table:
        """The jobs of the past, from the cluster's accounts (`sacct`): of the last day, or `since` a time in Slurm's words, such as
        `2026-04-01` or `now-7days`. Memory is in bytes; times are seconds since 1970."""
        columns = [
            "id",
            "name",
            "user",
            "account",
            "state",
            "nodes",
            "allocated",
            "elapsed_seconds",
            "exit_code",
        ]
        rows = self._kept(_core.slurm_history(self._name, user, account, since, until))
        return _States(rows, columns, empty="no jobs")

    def associations(self) -> Table:
        """Its accounts and the users in them, with shares and the limits that hold (`sacctmgr`). Memory is in MiB, time in minutes."""
        rows = self._kept(_core.slurm_associations(self._name))
        return _Limits(rows, ["account", "user", "parent", "is_default", "shares", "limits"])

    def fair_share(self) -> Table:
        """What accounts and users may use and have used, as parts of what their siblings have together (`sshare`); `factor`, from 0 to 1,
        goes into the priority of a user's jobs."""
        rows = self._kept(_core.slurm_fair_share(self._name))
        return Table(rows, ["account", "user", "shares", "share", "usage", "used", "factor"])

    def _kept(self, rows: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
        if rows is None:
            raise NotFoundError(
                f"the cluster {self._name} keeps no accounts",
                hint="set accounting.enabled to true in its design and apply it",
            )
        return rows

    def ping(self) -> Table:
        """Its controllers and whether they answer."""
        return Table(_core.slurm_ping(self._name))

    def configuration(self) -> dict[str, str]:
        """What its controller runs with, every setting by its name: `scontrol show config`."""
        return {row["key"]: row["value"] for row in _core.slurm_configuration(self._name)}

    def job(self, id: int) -> Job:
        """One job by its number."""
        row = _core.slurm_job(self._name, int(id))
        if row is None:
            raise NotFoundError(
                f"Slurm doesn't know job {id}",
                hint="it forgets a job some minutes after its end unless it keeps accounts",
            )
        return Job(self, row)

    def submit(
        self,
        script: str,
        *,
        user: str | None = None,
        name: str | None = None,
        nodes: int | None = None,
        ntasks: int | None = None,
        ntasks_per_node: int | None = None,
        cpus_per_task: int | None = None,
        memory: int | str | None = None,
        partition: str | None = None,
        time_limit: float | str | timedelta | None = None,
        gpus: int | str | None = None,
        gres: str | None = None,
        chdir: str | None = None,
        output: str | None = None,
        error: str | None = None,
        environment: Mapping[str, str] | None = None,
        extra: Iterable[str] = (),
    ) -> Job:
        """Submits a job script and gives the job.

        What is left out is Slurm's default or comes from the script's `#SBATCH` lines. `user` is one of the design's users; without, it
        is root's job. `memory` is for each node, in MiB or as text such as `2 GiB`. `time_limit` is in seconds, or text as Slurm writes
        it, such as `1:30:00`. `gpus` is for the whole job, a number or text such as `t4:2`; `gres` for each node, such as `gpu:1`.
        Where the design has no such GPUs, a RefusedError says where there are some. `environment` can be seen by others: no secrets there. `extra` holds further options of sbatch.
        """
        if not script.startswith("#!"):
            script = "#!/bin/sh\n" + script
        place, kinds = wanted(script, partition, gpus, gres)
        if kinds:
            refuse(_core.Design.stored(self._name).values(), place, kinds)
        wishes = {
            "name": name,
            "nodes": nodes,
            "ntasks": ntasks,
            "ntasks_per_node": ntasks_per_node,
            "cpus_per_task": cpus_per_task,
            "memory_mib": _mebibytes(memory),
            "partition": partition,
            "time_limit_seconds": _seconds(time_limit),
            "gpus": None if gpus is None else str(gpus),
            "gres": gres,
            "chdir": chdir,
            "output": output,
            "error": error,
            "environment": [[key, str(value)] for key, value in (environment or {}).items()],
            "extra": list(extra),
        }
        id = _core.slurm_submit(self._name, user, script, wishes)
        return Job(self, {"id": id, "name": name or "", "state": ""})

    def wait(self, job: Job | int, *, progress: bool = True, check: bool = True) -> Job:
        """Waits until a job has ended and gives its last state. One that ended otherwise than well raises a JobError unless
        `check=False`. Stopping ends the waiting and leaves the job alone."""
        id = job.id if isinstance(job, Job) else int(job)
        writer = _Waiting(self, job if isinstance(job, Job) else Job(self, {"id": id})) if progress else None
        done = Job(self, _core.slurm_wait(self._name, id, writer))
        if writer is not None:
            writer.end(done)
            done._told_in = this_cell()
        if check and not done.succeeded:
            code = f", exit status {done.exit_code}" if done.exit_code else ""
            reason = done.row.get("reason")
            raise JobError(
                f"job {id} ended as {done.state}{code}"
                + (f" ({reason})" if reason else "")
                + _last_words(done),
                hint=f"look at its output with cluster.slurm.job({id}).output()",
                job=done,
            )
        return done

    def cancel(self, job: Job | int) -> None:
        """Stops a job; one that has ended already is fine, too."""
        _core.slurm_cancel(self._name, job.id if isinstance(job, Job) else int(job))

    def __repr__(self) -> str:
        return f"<Slurm of {self._name}>"


class _Waiting:
    """Shows a job's state: in a notebook one line that changes, elsewhere a line for each change."""

    def __init__(self, slurm: Slurm, job: Job) -> None:
        self._slurm = slurm
        self._job = job
        self._begun = self._shown = time.monotonic()
        self._handle: Any = None
        if in_notebook():
            from IPython.display import display

            self._handle = display(self._bundle(), raw=True, display_id=True)

    def _bundle(self) -> dict[str, str]:
        # Of a job that has ended, how long it ran; until then, how long this waits.
        ran = self._job.seconds if self._job.finished else None
        seconds = f" · {time.monotonic() - self._begun if ran is None else ran:.0f} s"
        return {"text/plain": repr(self._job) + seconds, "text/html": self._job._html(seconds)}

    def __call__(self, messages: Sequence[Mapping[str, Any]]) -> None:
        changed = False
        for message in messages:
            if message["event"] == "job":
                self._job = Job(self._slurm, message["job"])
                changed = True
                if self._handle is None:
                    reason = self._job.row.get("reason")
                    print(
                        f"job {self._job.id}: {self._job.state}" + (f" ({reason})" if reason else ""),
                        flush=True,
                    )
        if self._handle is not None and (changed or time.monotonic() - self._shown >= 1.0):
            self._shown = time.monotonic()
            self._handle.update(self._bundle(), raw=True)

    def end(self, job: Job) -> None:
        self._job = job
        if self._handle is not None:
            self._handle.update(self._bundle(), raw=True)


def _last_words(job: Job, lines: int = 10) -> str:
    """The end of a job's output, for an error; nothing where it can't be had."""
    try:
        words = job.output().strip().splitlines()[-lines:]
    except ClusterbookError:
        return ""
    return "; its last words:\n" + "\n".join(f"    {line}" for line in words) if words else ""


def _mebibytes(memory: int | str | None) -> int | None:
    if memory is None or isinstance(memory, int):
        return memory
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT])(?:i?B)?\s*", memory)
    if not match:
        raise DesignError(f"{memory!r} is not a size", hint="write a number of MiB, or text such as 2 GiB")
    scale = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}[match[2]]
    return max(1, round(float(match[1]) * scale / 2**20))


def _seconds(limit: float | str | timedelta | None) -> int | None:
    if limit is None:
        return None
    if isinstance(limit, timedelta):
        return round(limit.total_seconds())
    if isinstance(limit, str):
        # Slurm's notations: minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]]
        days, _, rest = limit.strip().rpartition("-")
        parts = rest.split(":")
        if not all(part.isdigit() for part in parts) or (days and not days.isdigit()) or len(parts) > 3:
            raise DesignError(
                f"{limit!r} is not a time", hint="write seconds, or text such as 1:30:00 or 1-00:00:00"
            )
        numbers = [int(part) for part in parts]
        if days:
            hours, minutes, seconds = [*numbers, 0, 0][:3]
        elif len(numbers) == 3:
            hours, minutes, seconds = numbers
        else:
            hours, (minutes, seconds) = 0, [*numbers, 0][:2]
        return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds
    return round(limit)


for _thing in (Job, Slurm, SlurmNodes):
    _thing.__module__ = "clusterbook"
