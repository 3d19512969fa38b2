"""The whole interface of `clusterbook`. A test holds it against the module, in both directions."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, overload

from . import _core as _core
from . import charts as charts
from . import containers as containers
from . import hpl as hpl
from . import storage as storage

__version__: str
__all__: list[str]

Command = str | Sequence[str]

class _Told:
    message: str
    causes: list[str]
    kind: str
    hint: str | None
    failures: list[dict[str, Any]]

class Secret:
    """A secret. Nothing but `reveal()` gives its text away, and that first tells the notebook's runner to mask it."""

    def __init__(self, reference: str) -> None: ...
    @property
    def reference(self) -> str:
        """Where it comes from; never the secret itself."""
    def reveal(self) -> str:
        """The text. Whoever calls this answers for where it goes."""

def secret(reference: str) -> Secret:
    """The secret that a reference points to, `env:NAME` or `file:/path`. Its text comes only from `reveal()`."""

class ClusterbookError(_Told, Exception):
    """Anything that clusterbook reports. Catch it to catch all of them.

    `kind` says whose it is: `yours`, `configuration`, `provider`, `node` or `bug`. `hint` says what to do next. `failures` lists what
    failed, by node or resource, each with `what`, `doing`, `message` and `hint`.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str = "yours",
        hint: str | None = None,
        causes: Sequence[str] = (),
        failures: Sequence[Mapping[str, Any]] = (),
    ) -> None: ...

class DesignError(ClusterbookError):
    """The design is not sound, or can't be edited so. Catch it to correct parameters: `faults` holds all of them, each with `path`,
    `message` and `help`."""

    faults: list[dict[str, str]]
    def __init__(
        self,
        message: str,
        *,
        kind: str = "yours",
        hint: str | None = None,
        causes: Sequence[str] = (),
        failures: Sequence[Mapping[str, Any]] = (),
        faults: Sequence[Mapping[str, str]] = (),
    ) -> None: ...

class NotFoundError(ClusterbookError, LookupError):
    """A cluster, node, group or job of that name isn't there. Catch it to make one or to correct the name."""

class NameInUseError(ClusterbookError):
    """The cluster's name is already used by something that isn't this cluster. Catch it to choose another name."""

class StateError(ClusterbookError):
    """The state folder or a design file can't be read or written. Catch it to point `CLUSTERBOOK_HOME` elsewhere or to make room."""

class LockedError(ClusterbookError):
    """Somebody else is changing the cluster at the moment; the text says who, where and since when. Catch it to try again later."""

class ProviderError(ClusterbookError):
    """The provider can't be used, or can't do what the design needs. Catch it to try later or with another provider."""

class RefusedError(ClusterbookError):
    """What was asked for would destroy what it must not, or isn't confirmed. Nothing was changed."""

class NodeError(ClusterbookError):
    """Something failed on nodes or single resources while the others went on: `failures` lists them. Catch it to mend the cause and
    apply again, which goes on from there."""

class CommandError(ClusterbookError):
    """A command ran on a node and ended with another status than 0. `results` has what every node answered; `result` is the first that
    failed. Pass `check=False` to get the results instead."""

    results: Any
    result: Any
    def __init__(
        self,
        message: str,
        *,
        kind: str = "node",
        hint: str | None = None,
        causes: Sequence[str] = (),
        failures: Sequence[Mapping[str, Any]] = (),
        results: Any = None,
        result: Any = None,
    ) -> None: ...

class SlurmError(ClusterbookError):
    """Slurm refused, or didn't answer. Catch it to correct a job, or to look at the controller."""

class JobError(ClusterbookError):
    """A job that was waited for ended otherwise than well; `job` is its last state. Pass `check=False` to get the job instead."""

    job: Any
    def __init__(
        self,
        message: str,
        *,
        kind: str = "yours",
        hint: str | None = None,
        causes: Sequence[str] = (),
        failures: Sequence[Mapping[str, Any]] = (),
        job: Any = None,
    ) -> None: ...

class SecretError(ClusterbookError):
    """A secret can't be read, or can't be masked and therefore isn't revealed."""

class BugError(ClusterbookError):
    """Something that can't happen did. Report it with its text."""

class Interrupted(_Told, KeyboardInterrupt):
    """The stop button or Ctrl-C was pressed. It is a `KeyboardInterrupt`, so `except Exception` doesn't swallow it. What was done is
    kept; applying again goes on from there."""

    def __init__(
        self,
        message: str = "stopped",
        *,
        kind: str = "interrupted",
        hint: str | None = None,
        causes: Sequence[str] = (),
        failures: Sequence[Mapping[str, Any]] = (),
    ) -> None: ...

class Table(Sequence[dict[str, Any]]):
    """A list of dictionaries that displays as a table. `to_pandas()` makes a DataFrame of it."""

    rows: list[dict[str, Any]]
    columns: list[str]
    title: str | None
    def __init__(
        self,
        rows: Iterable[Mapping[str, Any]],
        columns: Iterable[str] | None = None,
        title: str | None = None,
        empty: str = "nothing",
    ) -> None: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[dict[str, Any]]: ...
    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Table: ...
    @overload
    def __getitem__(self, index: str) -> list[Any]: ...
    def __eq__(self, other: object) -> bool: ...
    def column(self, name: str) -> list[Any]:
        """The values of one column."""
    def to_pandas(self) -> Any:
        """The same as a pandas DataFrame."""

class _Judged(Table):
    @property
    def ok(self) -> bool:
        """Whether no row is bad."""

class Checks(_Judged):
    """What could be found out about a design before anything is made: ✔ is fine, • is worth knowing, ✘ would make an apply fail."""

    def __init__(self, name: str, rows: Iterable[Mapping[str, str]]) -> None: ...
    def raise_if_bad(self) -> Checks:
        """Raises a DesignError that holds every bad check; else gives the table back."""

class Gpus(_Judged):
    """The GPUs of each worker, held against the design: ✔ as designed, • works and is worth knowing, ✘ jobs would fail.

    `proposals` has, by group, what all of its nodes have: a list that can be written into the design as it is.
    """

    proposals: dict[str, list[dict[str, Any]]]
    def __init__(
        self,
        rows: Iterable[Mapping[str, Any]],
        proposals: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    ) -> None: ...
    def raise_if_bad(self) -> Gpus:
        """Raises a NodeError that lists every node that lacks something; else gives the table back."""

class Design:
    """What a cluster should be, checked. Making one changes nothing anywhere.

    Every parameter but `name` may be left out or be `None`, and then has its default. All faults are reported at once, as a
    DesignError.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        provider: str | None = None,
        image: str | None = None,
        architecture: str | None = None,
        power: str | None = None,
        network: Mapping[str, Any] | None = None,
        master: Mapping[str, Any] | None = None,
        groups: Iterable[Mapping[str, Any]] | None = None,
        disks: Iterable[Mapping[str, Any]] | None = None,
        mounts: Iterable[Mapping[str, Any]] | None = None,
        partitions: Iterable[Mapping[str, Any]] | None = None,
        accounting: Mapping[str, Any] | None = None,
        unix_groups: Iterable[Mapping[str, Any]] | None = None,
        users: Iterable[Mapping[str, Any]] | None = None,
        slurm_conf: Mapping[str, Any] | None = None,
        files: Iterable[Mapping[str, Any]] | None = None,
        containers: Iterable[str] | None = None,
        default_modules: Iterable[str] | None = None,
        **parameters: Any,
    ) -> None: ...
    @classmethod
    def load(cls, name: str | os.PathLike[str]) -> Design:
        """The design of that name: from `NAME.cluster.yaml` in the current folder, else from the file that the cluster was last applied
        from, else as it was last applied. A path to a file is taken as it is."""
    def save(self, path: str | os.PathLike[str] | None = None, replace: bool = False) -> Path:
        """Writes the design's file, by default `NAME.cluster.yaml`, and gives its path.

        A file that describes the same already is left as it is, comments included. One that describes something else is replaced only
        with `replace=True`, unless it is the file that this design was loaded from and nobody has changed it since.
        """
    @property
    def path(self) -> Path | None:
        """The file that it was loaded from or saved to."""
    @property
    def text(self) -> str:
        """The text of its file."""
    def to_dict(self) -> dict[str, Any]:
        """Every parameter with its value, defaults included."""
    @property
    def name(self) -> str:
        """The cluster's name."""
    @property
    def provider(self) -> str:
        """Where its nodes come from."""
    @property
    def image(self) -> str:
        """The distribution on its nodes."""
    @property
    def architecture(self) -> str:
        """The instruction set of its nodes; `native` for that of their flavors."""
    @property
    def power(self) -> str:
        """`on` or `off`."""
    @property
    def network(self) -> dict[str, Any]:
        """Its network: `subnet`, `dns_forwarders`, `dns_domain`."""
    @property
    def master(self) -> dict[str, Any]:
        """Its master: `host`, `address`, `flavor`."""
    @property
    def groups(self) -> Table:
        """Its groups of compute nodes."""
    @property
    def disks(self) -> Table:
        """Its shared disks."""
    @property
    def mounts(self) -> Table:
        """Storage of others that its nodes mount."""
    @property
    def partitions(self) -> Table:
        """Its Slurm partitions."""
    @property
    def accounting(self) -> dict[str, Any]:
        """Its accounting: `enabled`, `accounts`, `fair_share`."""
    @property
    def unix_groups(self) -> Table:
        """Its groups that users share, each with its members."""
    @property
    def users(self) -> Table:
        """Its users. Of a key only its comment is shown; the rows hold all of it."""
    @property
    def slurm_conf(self) -> dict[str, str]:
        """Further keys of slurm.conf."""
    @property
    def files(self) -> Table:
        """Its edited configuration files. The rows hold their `content`, too."""
    def file(self, path: str, nodes: str | Iterable[str] | None = None) -> dict[str, Any] | None:
        """One edited file; none if the design doesn't name it. `nodes` says which one where several have the path."""
    @property
    def containers(self) -> list[str]:
        """What its nodes run containers with: `apptainer`, `podman`."""
    @property
    def default_modules(self) -> list[str]:
        """Environment modules that every login shell loads by itself."""
    @property
    def nodes(self) -> Table:
        """Every node that it describes."""
    def check(self) -> Checks:
        """Checks it against the provider and what exists. Changes nothing."""
    def set(self, path: str, value: Any) -> Design:
        """Changes one value, for example `set("groups[compute].nodes", 4)`. The file is written by `save`."""
    def add_user(
        self,
        name: str,
        keys: str | Iterable[str] | None = None,
        uid: int | None = None,
        sudo: bool | None = None,
        groups: str | Iterable[str] | None = None,
        accounts: str | Iterable[str] | None = None,
        fairshare: int | None = None,
        limits: Mapping[str, Any] | None = None,
    ) -> Design:
        """Adds a user with these public SSH keys. Without `uid`, the next number that is free from 2001 on. `groups` are Unix groups that
        the user shares with others; those that aren't in the design yet are added, see `add_unix_group`. `accounts` are the accounts that
        the user's jobs may belong to, the default first; `limits` are Slurm's, such as `{"MaxJobs": 4}`. Of a user who is there already
        what is given is set, so an empty list takes all of them away."""
    def remove_user(self, name: str) -> Design:
        """Removes a user. Their home stays on its disk."""
    def add_unix_group(self, name: str, gid: int | None = None) -> Design:
        """Adds a group that users share, for example a project's. Without `gid`, the next number that is free from 3001 on. One that is
        there already is left as it is."""
    def remove_unix_group(self, name: str) -> Design:
        """Removes a group and takes it from its users. Files that belong to it stay, with its number."""
    def set_file(
        self,
        path: str,
        content: str,
        *,
        nodes: str | Iterable[str] | None = None,
        mode: str | None = None,
        owner: str | None = None,
        reload: str | Iterable[str] | None = None,
        restart: str | Iterable[str] | None = None,
    ) -> Design:
        """Sets what a configuration file holds on nodes: `all`, `master`, or groups.

        When it changes, the services of `reload` read their configuration again, and those of `restart` are restarted. Of a file that is
        there already, what isn't given stays. Files that follow from other parameters are refused, with the name of the parameter.
        """
    def remove_file(self, path: str, nodes: str | Iterable[str] | None = None) -> Design:
        """Stops keeping a file: applying puts back what was there before its first edit."""
    def set_slurm_conf(self, settings: Mapping[str, Any]) -> Design:
        """Sets further keys of slurm.conf; `None` takes a key out. Others stay. Keys that follow from other parameters are refused, with
        the name of the parameter."""
    def roll_back(self, part: str, apply: int, nodes: str | Iterable[str] | None = None) -> Design:
        """Gives a part back what it was with an earlier apply of this cluster: `"slurm_conf"`, or the path of an edited file.

        A negative number counts back over versions that were applied to their end: -1 is the one before the present.
        """
    def diff(self, other: Design | str | os.PathLike[str] | None = None) -> str:
        """What differs from another design, or from its own file as it is now; empty when nothing does."""
    def copy(self) -> Design:
        """One that can be changed without changing this."""
    def __eq__(self, other: object) -> bool: ...

class Contents(Table):
    """What a file holds on nodes, a row each. `text` is its content where all of them agree."""

    path: str
    def __init__(self, path: str, rows: Iterable[Mapping[str, Any]]) -> None: ...
    @property
    def text(self) -> str:
        """What it holds; empty where it isn't there. Nodes that differ raise a RefusedError, nodes that don't answer a NodeError."""

class Difference(str):
    """A difference in unified format; empty when there is none. It is text that displays with its lines coloured."""

class Versions(Table):
    """The applies that changed a part of the design, the oldest first. Rows hold `text`, `None` where there was none, and `diff`."""

    def __init__(self, what: str, rows: Iterable[Mapping[str, Any]]) -> None: ...
    def of(self, apply: int) -> dict[str, Any]:
        """The version that was in force with this apply, be it its own or an earlier one's."""

class Files(Table):
    """The files of a cluster's design. `show` reads any file on its nodes."""

    def __init__(self, cluster: Cluster) -> None: ...
    def show(self, path: str, nodes: str | Sequence[str] = "all") -> Contents:
        """What a file holds now, on `all` nodes, the `master`, a group or single nodes. Any file may be asked for. Changes nothing."""
    def edit(
        self,
        path: str,
        nodes: str | Sequence[str] = "all",
        folder: str | os.PathLike[str] = "edit",
        fresh: bool = False,
    ) -> Path:
        """Puts a copy of a file into a folder here, to be edited, and gives its path: `edit/CLUSTER/NODES/PATH`.

        It holds what the design says, else what the nodes have. Pass its text to `Design.set_file` afterwards. A copy that you have edited
        is left as it is until its text is the file's; one that you haven't, or whose text was applied since, follows the file. Where both
        have changed, a RefusedError shows how; `fresh` then takes the file, and keeps your copy beside it under another name.
        """
    def versions(self, path: str, nodes: str | Sequence[str] | None = None) -> Versions:
        """The applies that changed this file."""
    def roll_back(self, path: str, apply: int, nodes: str | Sequence[str] | None = None) -> Applied:
        """Gives the file back what it held with this apply, in the design file too, and applies that."""

def diff(old: str, new: str) -> Difference:
    """The difference between two texts in unified format; empty when there is none."""

class Plan(Table):
    """The changes that would make a cluster as it is designed. It is true when there are any; showing it changes nothing."""

    cluster: str
    provider: str
    notes: list[str]
    def __init__(self, plan: Mapping[str, Any]) -> None: ...
    @property
    def changes(self) -> list[dict[str, Any]]:
        """The changes, in the order in which they begin: `id`, `phase`, `verb`, `what`, `node`, `reason`."""
    @property
    def destroys(self) -> bool:
        """Whether anything is removed with what it holds."""

class Applied:
    """What an apply did. `changes` are those that it carried out, `stages` how long each part took."""

    cluster: str
    number: int
    stages: dict[str, float]
    def __init__(self, applied: Mapping[str, Any], done: str = "as designed") -> None: ...
    @property
    def changes(self) -> list[dict[str, Any]]:
        """The changes that were made."""
    @property
    def seconds(self) -> float:
        """How long it took."""
    def __bool__(self) -> bool: ...

class Job:
    """A job: its number, and what Slurm last said about it."""

    def __init__(self, slurm: Slurm, row: Mapping[str, Any]) -> None: ...
    @property
    def id(self) -> int:
        """Its number."""
    @property
    def row(self) -> dict[str, Any]:
        """Everything that Slurm last said about it."""
    @property
    def name(self) -> str:
        """Its name."""
    @property
    def state(self) -> str:
        """Its last known state in Slurm's words, such as `RUNNING`; `refresh` asks again."""
    @property
    def nodes(self) -> str:
        """Its nodes as a hostlist; empty before it starts."""
    @property
    def exit_code(self) -> int | None:
        """The exit status of its script; none before its end."""
    @property
    def finished(self) -> bool:
        """Whether it has ended, well or not."""
    @property
    def succeeded(self) -> bool:
        """Whether it ended well."""
    @property
    def seconds(self) -> float | None:
        """How long it ran, or has run until now."""
    def refresh(self) -> Job:
        """Asks Slurm about it again."""
    def wait(self, *, progress: bool = True, check: bool = True) -> Job:
        """Waits until it has ended. See Slurm.wait."""
    def cancel(self) -> None:
        """Stops it; one that has ended already is fine, too."""
    def output(self) -> str:
        """What it has written to its standard output until now, read on the master."""

class _States(Table): ...

class SlurmNodes(_States):
    """Nodes as Slurm sees them, those of one partition if it was asked for."""

    def __init__(self, rows: Iterable[Mapping[str, Any]], partition: str | None = None) -> None: ...
    def ready(self) -> SlurmNodes:
        """Those that take jobs, idle or not. Where none does, a NodeError says why; where there is no node at all, a NotFoundError."""
    def raise_if_bad(self) -> SlurmNodes:
        """Raises a NodeError that lists every node that takes no jobs, such as a drained one; else gives the table back."""

class Slurm:
    """A cluster's Slurm, asked through its master."""

    def __init__(self, cluster: Cluster) -> None: ...
    def nodes(self, partition: str | None = None) -> SlurmNodes:
        """Its nodes and what jobs use of them; with `partition` only that one's."""
    def partitions(self) -> Table:
        """Its partitions."""
    @property
    def default_partition(self) -> str:
        """The partition of jobs that name none, as the cluster was last applied."""
    def jobs(self, finished: bool = False) -> Table:
        """The jobs that wait or run; with `finished` also those that ended in the last minutes."""
    def history(
        self,
        user: str | None = None,
        account: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> Table:
        """The jobs of the past, from the cluster's accounts (`sacct`): of the last day, or `since` a time in Slurm's words, such as
        `2026-04-01` or `now-7days`. Memory is in bytes; times are seconds since 1970."""
    def associations(self) -> Table:
        """Its accounts and the users in them, with shares and the limits that hold (`sacctmgr`). Memory is in MiB, time in minutes."""
    def fair_share(self) -> Table:
        """What accounts and users may use and have used, as parts of what their siblings have together (`sshare`); `factor`, from 0 to 1,
        goes into the priority of a user's jobs."""
    def ping(self) -> Table:
        """Its controllers and whether they answer."""
    def configuration(self) -> dict[str, str]:
        """What its controller runs with, every setting by its name: `scontrol show config`."""
    def job(self, id: int) -> Job:
        """One job by its number."""
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
    def wait(self, job: Job | int, *, progress: bool = True, check: bool = True) -> Job:
        """Waits until a job has ended and gives its last state. One that ended otherwise than well raises a JobError unless
        `check=False`. Stopping ends the waiting and leaves the job alone."""
    def cancel(self, job: Job | int) -> None:
        """Stops a job; one that has ended already is fine, too."""

class Result:
    """What a command gave on one node."""

    node: str
    stdout: str
    stderr: str
    code: int
    def __init__(self, node: str, stdout: str, stderr: str, code: int) -> None: ...
    @property
    def ok(self) -> bool:
        """Whether its exit status was 0."""
    def __eq__(self, other: object) -> bool: ...

class Results(Table):
    """What a command gave on several nodes, a row each. `results["c1"]` is one node's Result."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None: ...
    @property
    def ok(self) -> bool:
        """Whether it ran everywhere, with exit status 0."""
    def __getitem__(self, index: Any) -> Any: ...

class Node:
    """One node of a cluster."""

    name: str
    role: str
    group: str
    address: str
    flavor: str
    def __init__(self, cluster: Cluster, row: Mapping[str, Any]) -> None: ...
    @property
    def state(self) -> str:
        """What it is doing now, as the provider sees it."""
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

class Nodes(Mapping[str, Node]):
    """Nodes by name. They can be asked together with `run`."""

    name: str
    def __init__(self, cluster: Cluster, rows: Sequence[Mapping[str, Any]], name: str) -> None: ...
    def __getitem__(self, name: str) -> Node: ...
    def __contains__(self, name: object) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
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

class Status(Table):
    """The nodes of a cluster as the provider sees them."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None: ...

class Cluster:
    """A cluster by its name: plan it, apply it, look at it, work on it."""

    name: str
    def __init__(self, design: Design) -> None: ...
    @property
    def design(self) -> Design:
        """Its design as it is now: read from its file again, if it has one."""
    @property
    def exists(self) -> bool:
        """Whether it was applied and not removed since."""
    def check(self) -> Any:
        """Checks its design. Changes nothing."""
    def plan(self) -> Plan:
        """The changes that would make it as designed. Changes nothing."""
    def plan_destroy(self) -> Plan:
        """What a destroy would remove. Changes nothing."""
    def apply(self, plan: Plan | None = None, *, progress: bool = True) -> Applied:
        """Makes it as designed, and tells what happens. Safe to run again, and to stop: the next apply goes on from there.

        With a `plan`, nothing is removed that isn't in it, should something have changed since it was made.
        """
    def destroy(self, confirm: str | None = None, *, progress: bool = True) -> Applied:
        """Removes it with everything it holds, homes included. Only `confirm="NAME"` does it; else the plan is shown and nothing done."""
    def scale(self, group: str, nodes: int) -> Applied:
        """Sets how many nodes a group has, in the design file too, and applies that."""
    def power_off(self) -> Applied:
        """Stops all nodes; addresses, disks and host keys stay."""
    def power_on(self) -> Applied:
        """Starts all nodes."""
    def versions(self, part: str, nodes: str | Sequence[str] | None = None) -> Versions:
        """The applies that changed a part of the design: `"slurm_conf"`, or the path of an edited file."""
    def roll_back(self, part: str, apply: int, nodes: str | Sequence[str] | None = None) -> Applied:
        """Gives a part of the design back what it was with an earlier apply, in the design file too, and applies that."""
    @property
    def files(self) -> Files:
        """Its design's configuration files, and what any file holds on its nodes."""
    @property
    def nodes(self) -> Nodes:
        """Its nodes by name."""
    @property
    def master(self) -> Node:
        """The node that runs the controller."""
    def group(self, name: str) -> Nodes:
        """The nodes of one group."""
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
    @property
    def slurm(self) -> Slurm:
        """Its Slurm: nodes, partitions, jobs."""
    def gpus(self) -> Gpus:
        """The GPUs that its workers have, held against the design that it was last applied with. Changes nothing."""
    def status(self) -> Status:
        """Its nodes and what they are doing, as the provider sees them."""

def open(what: str | os.PathLike[str] | Design) -> Cluster:
    """A cluster by its name, design file or design. Nothing is made or asked yet."""

def clusters() -> Table:
    """Every cluster of yours, with its state."""

def result(**values: Any) -> None:
    """Hands values on: in a flow they become parameters of later notebooks, and the run's record keeps them. They are text, numbers,
    True and False, lists and dictionaries; never secrets."""
