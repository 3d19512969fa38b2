"""Clusters, their nodes, and commands on them."""

from __future__ import annotations

import codecs
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import _core
from ._design import Design, _write
from ._errors import (
    ClusterbookError,
    CommandError,
    Interrupted,
    LockedError,
    NodeError,
    NotFoundError,
    RefusedError,
)
from ._files import Files, Versions
from ._gpus import Gpus
from ._html import BAD, show, this_cell
from ._picture import STATES, View
from ._plan import Applied, Plan
from ._progress import progress as _progress
from ._slurm import Slurm
from ._table import Table

Command = str | Sequence[str]


class Result:
    """What a command gave on one node."""

    def __init__(self, node: str, stdout: str, stderr: str, code: int) -> None:
        self.node = node
        self.stdout = stdout
        self.stderr = stderr
        self.code = code

    @property
    def ok(self) -> bool:
        """Whether its exit status was 0."""
        return self.code == 0

    def __repr__(self) -> str:
        return f"Result(node={self.node!r}, code={self.code}, stdout={self.stdout!r}, stderr={self.stderr!r})"

    def __str__(self) -> str:
        return self.stdout

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Result):
            return self.__dict__ == other.__dict__
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        parts = [self.stdout.rstrip("\n"), self.stderr.rstrip("\n")]
        if self.code:
            parts.append(f"[{self.node}: exit status {self.code}]")
        printer.text("\n".join(part for part in parts if part))


class Results(Table):
    """What a command gave on several nodes, a row each. `results["c1"]` is one node's Result."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        shown = [
            {
                "node": row["node"],
                "code": row.get("code"),
                "stdout": row.get("stdout", ""),
                "stderr": row.get("stderr", ""),
                "error": row.get("message", ""),
            }
            for row in rows
        ]
        columns = ["node", "code", "stdout"]
        columns += [column for column in ("stderr", "error") if any(row[column] for row in shown)]
        super().__init__(shown, columns, empty="no nodes")
        self._failures = [
            {key: row.get(key, "") for key in ("what", "doing", "message", "hint")}
            for row in rows
            if "code" not in row
        ]

    @property
    def ok(self) -> bool:
        """Whether it ran everywhere, with exit status 0."""
        return all(row["code"] == 0 for row in self.rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            for row in self.rows:
                if row["node"] == index:
                    if row["code"] is None:
                        raise NodeError(
                            f"the command didn't run on {index}", kind="node", causes=[row["error"]]
                        )
                    return Result(index, row["stdout"], row["stderr"], row["code"])
        return super().__getitem__(index)

    def _style(self, row: Mapping[str, Any], column: str) -> str:
        style = ";font-family:monospace" if column in ("stdout", "stderr") else ""
        return style + (f";color:{BAD}" if column in ("node", "code") and row["code"] != 0 else "")

    def _raise(self, command: str) -> None:
        told = command if len(command) <= 60 else command[:59] + "…"
        bad = [row for row in self.rows if row["code"] not in (0, None)]
        ended = [
            {
                "what": row["node"],
                "doing": f"exit status {row['code']}",
                "message": _tail(row["stderr"]) or _tail(row["stdout"]) or "it said nothing",
                "hint": "",
            }
            for row in bad
        ]
        if self._failures:
            hint = next((failure["hint"] for failure in self._failures if failure["hint"]), None)
            raise NodeError(
                f"`{told}` couldn't be run on {len(self._failures)} of {len(self.rows)} nodes",
                kind="node",
                hint=hint,
                failures=self._failures + ended,
            )
        if bad:
            raise CommandError(
                f"`{told}` failed on {bad[0]['node']}"
                if len(self.rows) == 1
                else f"`{told}` failed on {len(bad)} of {len(self.rows)} nodes",
                failures=ended,
                results=self,
                result=self[bad[0]["node"]],
            )


class Node:
    """One node of a cluster."""

    def __init__(self, cluster: Cluster, row: Mapping[str, Any]) -> None:
        self._cluster = cluster
        self.name: str = row["name"]
        self.role: str = row["role"]
        self.group: str = row["group"]
        self.address: str = row["address"]
        self.flavor: str = row["flavor"]

    @property
    def state(self) -> str:
        """What it is doing now, as the provider sees it."""
        for row in self._cluster.status():
            if row["name"] == self.name:
                return row["state"]
        return "missing"

    def run(
        self,
        command: Command,
        *,
        user: str | None = None,
        stdin: str | bytes = b"",
        check: bool = True,
        live: bool = False,
    ) -> Result:
        """Runs a shell command here and gives what it gave.

        Without `user` it runs as root, with one as that user from their home. Another exit status than 0 raises a CommandError unless
        `check=False`. `live=True` shows lines as they come.
        """
        results = self._cluster._run([self.name], command, user, stdin, check, live)
        return results[self.name]

    def __repr__(self) -> str:
        return f"<Node {self.name} ({self.group}) {self.address} {self.flavor}>"


class Nodes(Mapping[str, Node]):
    """Nodes by name. They can be asked together with `run`."""

    def __init__(self, cluster: Cluster, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        self._cluster = cluster
        self._nodes = {row["name"]: Node(cluster, row) for row in rows}
        self.name = name

    def __getitem__(self, name: str) -> Node:
        try:
            return self._nodes[name]
        except KeyError:
            near = _core.nearest(str(name), list(self._nodes))
            raise NotFoundError(
                f"cluster {self._cluster.name} has no node {name}",
                hint=f"did you mean {near}?" if near else f"there are {', '.join(list(self._nodes)[:16])}",
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def run(
        self,
        command: Command,
        *,
        user: str | None = None,
        stdin: str | bytes = b"",
        check: bool = True,
        live: bool = False,
    ) -> Results:
        """Runs a shell command on all of these at once and gives a table. See Node.run."""
        return self._cluster._run(list(self._nodes), command, user, stdin, check, live)

    def _table(self) -> Table:
        rows = [
            {
                "name": node.name,
                "role": node.role,
                "group": node.group,
                "address": node.address,
                "flavor": node.flavor,
            }
            for node in self._nodes.values()
        ]
        return Table(rows, ["name", "role", "group", "address", "flavor"], empty="no nodes")

    def __repr__(self) -> str:
        return str(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


class Status(Table):
    """The nodes of a cluster as the provider sees them."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        columns = ["name", "group", "flavor", "address", "state"]
        if any(row.get("detail") for row in rows):
            columns.append("detail")
        super().__init__(rows, columns)

    def _style(self, row: Mapping[str, Any], column: str) -> str:
        return f";color:{STATES.get(row['state'], STATES['unknown'])[0]}" if column == "state" else ""


class Cluster:
    """A cluster by its name: plan it, apply it, look at it, work on it."""

    def __init__(self, design: Design) -> None:
        self._given = design
        self.name: str = design.name

    @property
    def design(self) -> Design:
        """Its design as it is now: read from its file again, if it has one."""
        path = self._given.path
        if path is not None and path.exists():
            design = Design.load(path)
            if design.name != self.name:
                raise RefusedError(
                    f"{path} now describes the cluster {design.name}, not {self.name}",
                    hint=f'open that with cb.open("{design.name}")',
                )
            # What was changed here and isn't saved yet goes first.
            if self._given._read == self._given.text:
                self._given = design
        return self._given

    @property
    def exists(self) -> bool:
        """Whether it was applied and not removed since."""
        return any(cluster["name"] == self.name for cluster in _core.clusters())

    def check(self) -> Any:
        """Checks its design. Changes nothing."""
        return self.design.check()

    def plan(self) -> Plan:
        """The changes that would make it as designed. Changes nothing."""
        return Plan(_core.plan(self.design._core))

    def plan_destroy(self) -> Plan:
        """What a destroy would remove. Changes nothing."""
        return Plan(_core.plan_destroy(self.name))

    def apply(self, plan: Plan | None = None, *, progress: bool = True) -> Applied:
        """Makes it as designed, and tells what happens. Safe to run again, and to stop: the next apply goes on from there.

        With a `plan`, nothing is removed that isn't in it, should something have changed since it was made.
        """
        design = self.design
        path = str(design.path) if design.path is not None else None
        agreed = None if plan is None else [change["id"] for change in plan.changes]
        return self._work(
            "apply", "as designed", progress, lambda sink: _core.apply(design._core, path, agreed, sink)
        )

    def destroy(self, confirm: str | None = None, *, progress: bool = True) -> Applied:
        """Removes it with everything it holds, homes included. Only `confirm="NAME"` does it; else the plan is shown and nothing done."""
        if not self.exists:
            nothing = {"cluster": self.name, "provider": self._given.provider, "changes": [], "notes": []}
            return Applied({"cluster": self.name, "number": 0, "plan": nothing, "stages": []}, "not there")
        if confirm != self.name:
            show(self.plan_destroy())
            raise RefusedError(
                f"{self.name} isn't removed, because that isn't confirmed",
                hint=f'to remove everything above, call destroy(confirm="{self.name}")',
            )
        return self._work("remove", "removed", progress, lambda sink: _core.destroy(self.name, sink))

    def _work(self, verb: str, done: str, wanted: bool, work: Any) -> Applied:
        writer = _progress(self.name, verb, wanted)
        try:
            applied = Applied(work(writer), done)
        except Interrupted as error:
            writer.end(
                f"■ {self.name}: {error.message} after {writer.done} changes, {writer.seconds:.1f} s", False
            )
            raise
        except ClusterbookError as error:
            writer.end(f"✘ {self.name}: {error.message}", False)
            raise
        writer.end(str(applied), True)
        applied._told_in = this_cell() if wanted else None
        return applied

    def scale(self, group: str, nodes: int) -> Applied:
        """Sets how many nodes a group has, in the design file too, and applies that."""
        if group == "master":
            raise RefusedError(
                f"the master of {self.name} can't be scaled or removed: a cluster has exactly one",
                hint=f'scale a group of compute nodes, or remove the whole cluster with destroy(confirm="{self.name}")',
            )
        return self._edit(f"groups[{group}].nodes", nodes)

    def power_off(self) -> Applied:
        """Stops all nodes; addresses, disks and host keys stay."""
        return self._edit("power", "off")

    def power_on(self) -> Applied:
        """Starts all nodes."""
        return self._edit("power", "on")

    def versions(self, part: str, nodes: str | Sequence[str] | None = None) -> Versions:
        """The applies that changed a part of the design: `"slurm_conf"`, or the path of an edited file."""
        words = [nodes] if isinstance(nodes, str) else nodes
        return Versions(part, _core.versions(self.name, part, None if words is None else list(words)))

    def roll_back(self, part: str, apply: int, nodes: str | Sequence[str] | None = None) -> Applied:
        """Gives a part of the design back what it was with an earlier apply, in the design file too, and applies that."""
        return self._changed(self.design.copy().roll_back(part, apply, nodes))

    @property
    def files(self) -> Files:
        """Its design's configuration files, and what any file holds on its nodes."""
        return Files(self)

    def _edit(self, path: str, value: Any) -> Applied:
        return self._changed(self.design.copy().set(path, value))

    def _changed(self, design: Design) -> Applied:
        before = self._given
        if design.path is not None:
            design.save()
        self._given = design
        try:
            return self.apply()
        except (LockedError, RefusedError):
            # Nothing was begun, so the design stays what it was, too.
            self._given = before
            if before.path is not None:
                _write(before.path, before.text)
            raise

    def _applied(self) -> list[dict[str, Any]]:
        """The nodes as last applied, for what is done on them; as designed before the first apply."""
        core = _core.Design.stored(self.name) if self.exists else self.design._core
        return core.nodes()

    @property
    def nodes(self) -> Nodes:
        """Its nodes by name."""
        return Nodes(self, self._applied(), "all")

    @property
    def master(self) -> Node:
        """The node that runs the controller."""
        return next(node for node in self.nodes.values() if node.role == "master")

    def group(self, name: str) -> Nodes:
        """The nodes of one group."""
        rows = self._applied()
        groups = list(dict.fromkeys(row["group"] for row in rows))
        known = list(dict.fromkeys([*groups, *(group["name"] for group in self.design.groups)]))
        if name not in known:
            near = _core.nearest(name, known)
            raise NotFoundError(
                f"cluster {self.name} has no group {name}",
                hint=f"did you mean {near}?" if near else f"there are {', '.join(known)}",
            )
        return Nodes(self, [row for row in rows if row["group"] == name], name)

    def run(
        self,
        command: Command,
        *,
        user: str | None = None,
        stdin: str | bytes = b"",
        check: bool = True,
        live: bool = False,
    ) -> Results:
        """Runs a shell command on every node at once and gives a table. See Node.run."""
        return self._run(["all"], command, user, stdin, check, live)

    def _run(
        self,
        selection: list[str],
        command: Command,
        user: str | None,
        stdin: str | bytes,
        check: bool,
        live: bool,
    ) -> Results:
        line = command if isinstance(command, str) else shlex.join(command)
        if user is not None and user != "root":
            known = [one["name"] for one in _core.Design.stored(self.name).values()["users"]]
            if user not in known:
                near = _core.nearest(user, known)
                raise NotFoundError(
                    f"cluster {self.name} has no user {user}",
                    hint=f"did you mean {near}?" if near else "add the user to the design and apply",
                )
            # A login shell, so that it runs as it would for the user.
            line_there = f"exec su - {shlex.quote(user)} -c {shlex.quote(line)}"
        else:
            line_there = line
        sent = stdin.encode() if isinstance(stdin, str) else bytes(stdin)
        sink = _Live(several=len(selection) > 1 or selection == ["all"]) if live else None
        if not selection:
            return Results([])
        try:
            results = Results(_core.run(self.name, selection, line_there, sent, sink))
        finally:
            if sink is not None:
                sink.close()
        if check:
            results._raise(line)
        return results

    @property
    def slurm(self) -> Slurm:
        """Its Slurm: nodes, partitions, jobs."""
        return Slurm(self)

    def gpus(self) -> Gpus:
        """The GPUs that its workers have, held against the design that it was last applied with. Changes nothing."""
        found = _core.gpus(self.name)
        return Gpus(found["rows"], found["proposals"])

    def status(self) -> Status:
        """Its nodes and what they are doing, as the provider sees them."""
        return Status(_core.status(self.name)["nodes"])

    def _view(self) -> View:
        design = self.design
        note = ""
        try:
            nodes = _core.status(self.name)["nodes"]
            known = {node["name"] for node in nodes}
            nodes += [_unmade(row, "missing") for row in design._core.nodes() if row["name"] not in known]
        except NotFoundError:
            nodes = [_unmade(row, "missing") for row in design._core.nodes()]
        except ClusterbookError as error:
            nodes = [_unmade(row, "unknown") for row in design._core.nodes()]
            note = ": ".join([error.message, *error.causes])
        return View(design.to_dict(), nodes, note)

    def __repr__(self) -> str:
        # Cheap, because debuggers and tracebacks show it too; str() and a cell's display ask the provider.
        return f"<Cluster {self.name} on {self._given.provider}>"

    def __str__(self) -> str:
        return self._view().text()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return self._view().bundle()


def _unmade(row: Mapping[str, Any], state: str) -> dict[str, Any]:
    return {**row, "state": state, "detail": ""}


def _minute(time: str) -> str:
    """A time as people read it; that it is UTC stays said."""
    return f"{time[:16].replace('T', ' ')} UTC" if time.endswith("Z") else time


def _tail(text: str, lines: int = 5) -> str:
    return "\n    ".join(text.strip().splitlines()[-lines:])


class _Live:
    """Shows a command's output line by line; of several nodes with their names in front."""

    def __init__(self, several: bool) -> None:
        self._several = several
        self._rests: dict[tuple[str, bool], str] = {}
        self._decoders: dict[tuple[str, bool], codecs.IncrementalDecoder] = {}

    def __call__(self, messages: Sequence[Mapping[str, Any]]) -> None:
        for message in messages:
            if message["event"] != "output":
                continue
            key = (message["node"], message["stderr"])
            if key not in self._decoders:
                self._decoders[key] = codecs.getincrementaldecoder("utf-8")("replace")
            text = self._rests.pop(key, "") + self._decoders[key].decode(message["bytes"])
            *lines, rest = text.split("\n")
            if rest:
                self._rests[key] = rest
            for line in lines:
                self._print(key, line)

    def close(self) -> None:
        for key, rest in self._rests.items():
            self._print(key, rest)
        self._rests.clear()

    def _print(self, key: tuple[str, bool], line: str) -> None:
        node, stderr = key
        print(
            f"{node}: {line}" if self._several else line,
            file=sys.stderr if stderr else sys.stdout,
            flush=True,
        )


def open(what: str | os.PathLike[str] | Design) -> Cluster:
    """A cluster by its name, design file or design. Nothing is made or asked yet."""
    return Cluster(what if isinstance(what, Design) else Design.load(what))


def clusters() -> Table:
    """Every cluster of yours, with its state."""
    rows = []
    for cluster in _core.clusters():
        try:
            nodes = _core.status(cluster["name"])["nodes"]
            running = sum(node["state"] == "running" for node in nodes)
            state = f"{running} of {len(nodes)} nodes run"
        except ClusterbookError as error:
            state = f"unknown: {': '.join([error.message, *error.causes])}"
        rows.append({**cluster, "created": _minute(cluster["created"]), "state": state})
    return Table(
        rows,
        ["name", "provider", "state", "applies", "created", "design_path"],
        empty="no clusters; notebook 010 makes one",
    )


for _thing in (Result, Results, Node, Nodes, Status, Cluster, open, clusters):
    _thing.__module__ = "clusterbook"
