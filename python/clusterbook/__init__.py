"""HPC clusters from a notebook: design, plan, apply, look, run, remove.

    import clusterbook as cb

    design = cb.Design(name="demo", groups=[{"name": "compute", "nodes": 2}])
    design.save()
    cluster = cb.open("demo")
    cluster.plan()
    cluster.apply()
    cluster.nodes["c1"].run("nproc")

Whatever a design describes changes only by `apply`. Everything that returns rows displays as a table and has `to_pandas()`.
"""

from . import _core, charts, containers, hpl, storage
from ._cluster import Cluster, Node, Nodes, Result, Results, Status, clusters, open
from ._core import Secret, __version__
from ._design import Checks, Design
from ._errors import (
    BugError,
    ClusterbookError,
    CommandError,
    DesignError,
    Interrupted,
    JobError,
    LockedError,
    NameInUseError,
    NodeError,
    NotFoundError,
    ProviderError,
    RefusedError,
    SecretError,
    SlurmError,
    StateError,
)
from ._files import Contents, Difference, Files, Versions
from ._gpus import Gpus
from ._plan import Applied, Plan
from ._result import result
from ._slurm import Job, Slurm, SlurmNodes
from ._table import Table


def diff(old: str, new: str) -> Difference:
    """The difference between two texts in unified format; empty when there is none."""
    return Difference(_core.diff(old, new))


def secret(reference: str) -> Secret:
    """The secret that a reference points to, `env:NAME` or `file:/path`. Its text comes only from `reveal()`."""
    return Secret(reference)


__all__ = [
    "Applied",
    "BugError",
    "Checks",
    "Cluster",
    "ClusterbookError",
    "CommandError",
    "Contents",
    "Design",
    "DesignError",
    "Difference",
    "Files",
    "Gpus",
    "Interrupted",
    "Job",
    "JobError",
    "LockedError",
    "NameInUseError",
    "Node",
    "NodeError",
    "Nodes",
    "NotFoundError",
    "Plan",
    "ProviderError",
    "RefusedError",
    "Result",
    "Results",
    "Secret",
    "SecretError",
    "Slurm",
    "SlurmError",
    "SlurmNodes",
    "StateError",
    "Status",
    "Table",
    "Versions",
    "__version__",
    "charts",
    "clusters",
    "containers",
    "diff",
    "hpl",
    "open",
    "result",
    "secret",
    "storage",
]
