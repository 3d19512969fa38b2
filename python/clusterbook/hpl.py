"""Linpack (HPL) by way of the HPC Challenge benchmark: its input, its size, its figures. Pure functions."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from ._errors import ClusterbookError

__all__ = ["Size", "choose", "environment", "grid", "hpccinf", "parse"]

# Of the memory as much may be the matrix's; the rest is the system's, MPI's and the other tests'.
SHARE = 0.8
# Where nothing is known about the machine: what a core of the last ten years does.
GFLOPS_PER_RANK = 5.0


@dataclass(frozen=True)
class Size:
    """What to run: a matrix of order `n` in blocks of `nb`, over `p` × `q` ranks."""

    n: int
    nb: int
    p: int
    q: int
    #: What the matrix takes in all, in bytes.
    memory: int
    #: How long it should take, in seconds.
    seconds: float
    #: What kept `n` from being larger: `memory` or `time`.
    limit: str

    @property
    def ranks(self) -> int:
        """How many ranks that needs."""
        return self.p * self.q

    @property
    def operations(self) -> float:
        """Floating-point operations."""
        return 2 / 3 * self.n**3 + 3 / 2 * self.n**2


def grid(ranks: int) -> tuple[int, int]:
    """P × Q for so many ranks: as square as it can be, P not above Q."""
    if ranks < 1:
        raise ValueError(f"{ranks} ranks can't compute anything")
    p = next(p for p in range(math.isqrt(ranks), 0, -1) if ranks % p == 0)
    return p, ranks // p


def choose(
    memory_per_node_bytes: int,
    nodes: int,
    ranks: int,
    seconds: float = 60.0,
    gflops_estimate: float | None = None,
    *,
    nb: int = 192,
) -> Size:
    """The largest problem that fits the nodes' memory and the time. `gflops_estimate` is for all ranks together; without, 5 Gflop/s for
    each. N is a multiple of NB, and at least as large that every rank has a block."""
    if nodes < 1 or memory_per_node_bytes < 1 or seconds <= 0 or nb < 1:
        raise ValueError("nodes, memory, seconds and NB have to be above 0")
    gflops = gflops_estimate if gflops_estimate is not None else GFLOPS_PER_RANK * ranks
    if gflops <= 0:
        raise ValueError("the estimate of Gflop/s has to be above 0")
    p, q = grid(ranks)
    by_memory = math.isqrt(int(SHARE * memory_per_node_bytes * nodes / 8))
    by_time = (1.5 * seconds * gflops * 1e9) ** (1 / 3)
    wanted = min(by_memory, by_time)
    n = max(int(wanted) // nb, q) * nb
    if n > by_memory:
        if by_memory < 16:
            raise ValueError(f"{memory_per_node_bytes * nodes} bytes of memory are too few for any matrix")
        # Little memory: smaller blocks rather than none.
        nb = max(1, min(nb, by_memory // q))
        n = max(1, by_memory // nb) * nb
    return Size(
        n=n,
        nb=nb,
        p=p,
        q=q,
        memory=8 * n * n,
        seconds=2 / 3 * n**3 / (gflops * 1e9),
        limit="memory" if by_memory <= by_time else "time",
    )


def environment(ranks: int, cores: int) -> dict[str, str]:
    """Variables for the job: a rank is one thread, and where ranks share cores a waiting one steps aside."""
    variables = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    if ranks > cores:
        variables["OMPI_MCA_mpi_yield_when_idle"] = "1"
    return variables


def hpccinf(n: int, nb: int, p: int, q: int) -> str:
    """The text of `hpccinf.txt`: HPL's input, and the lines for PTRANS, which runs with the same blocks on a matrix of half the order."""
    values = [
        ("HPL.out", "output file name (if any)"),
        (8, "device out (6=stdout,7=stderr,file)"),
        (1, "# of problems sizes (N)"),
        (n, "Ns"),
        (1, "# of NBs"),
        (nb, "NBs"),
        (0, "PMAP process mapping (0=Row-,1=Column-major)"),
        (1, "# of process grids (P x Q)"),
        (p, "Ps"),
        (q, "Qs"),
        ("16.0", "threshold"),
        (1, "# of panel fact"),
        (2, "PFACTs (0=left, 1=Crout, 2=Right)"),
        (1, "# of recursive stopping criterium"),
        (4, "NBMINs (>= 1)"),
        (1, "# of panels in recursion"),
        (2, "NDIVs"),
        (1, "# of recursive panel fact."),
        (1, "RFACTs (0=left, 1=Crout, 2=Right)"),
        (1, "# of broadcast"),
        (1, "BCASTs (0=1rg,1=1rM,2=2rg,3=2rM,4=Lng,5=LnM)"),
        (1, "# of lookahead depth"),
        (1, "DEPTHs (>=0)"),
        (2, "SWAP (0=bin-exch,1=long,2=mix)"),
        (64, "swapping threshold"),
        (0, "L1 in (0=transposed,1=no-transposed) form"),
        (0, "U  in (0=transposed,1=no-transposed) form"),
        (1, "Equilibration (0=no,1=yes)"),
        (8, "memory alignment in double (> 0)"),
    ]
    lines = ["HPLinpack benchmark input file", f"N {n}, NB {nb}, {p} x {q} ranks"]
    lines += [f"{value!s:<12} {meaning}" for value, meaning in values]
    lines += [
        "##### This line (no. 32) is ignored (it serves as a separator). ######",
        "0            Number of additional problem sizes for PTRANS",
        "1200         values of N",
        "0            number of additional blocking sizes for PTRANS",
        "40           values of NB",
    ]
    return "\n".join(lines) + "\n"


# Our names for the summary's, and what to multiply with.
FIGURES: dict[str, tuple[str, float]] = {
    "gflops": ("HPL_Tflops", 1000.0),
    "seconds": ("HPL_time", 1.0),
    "n": ("HPL_N", 1.0),
    "nb": ("HPL_NB", 1.0),
    "p": ("HPL_nprow", 1.0),
    "q": ("HPL_npcol", 1.0),
    "ranks": ("CommWorldProcs", 1.0),
    "star_dgemm_gflops": ("StarDGEMM_Gflops", 1.0),
    "single_dgemm_gflops": ("SingleDGEMM_Gflops", 1.0),
    "star_stream_copy_gbs": ("StarSTREAM_Copy", 1.0),
    "star_stream_scale_gbs": ("StarSTREAM_Scale", 1.0),
    "star_stream_add_gbs": ("StarSTREAM_Add", 1.0),
    "star_stream_triad_gbs": ("StarSTREAM_Triad", 1.0),
    "single_stream_triad_gbs": ("SingleSTREAM_Triad", 1.0),
    "ptrans_gbs": ("PTRANS_GBs", 1.0),
    "fft_gflops": ("MPIFFT_Gflops", 1.0),
    "random_access_gups": ("MPIRandomAccess_GUPs", 1.0),
    "latency_microseconds": ("AvgPingPongLatency_usec", 1.0),
    "bandwidth_gbs": ("AvgPingPongBandwidth_GBytes", 1.0),
    "ring_latency_microseconds": ("RandomlyOrderedRingLatency_usec", 1.0),
    "ring_bandwidth_gbs": ("RandomlyOrderedRingBandwidth_GBytes", 1.0),
}
WHOLE = {"n", "nb", "p", "q", "ranks"}
RESIDUAL = re.compile(r"^\|\|Ax-b\|\|_oo/.*?=\s*(\S+)\s*\.*\s*(PASSED|FAILED)\s*$", re.MULTILINE)


def parse(text: str) -> dict[str, Any]:
    """The figures of an `hpccoutf.txt`; of its last run, if it holds several.

    Gflop/s, GB/s, GUP/s, microseconds and seconds, as the names say. `passed` is HPL's residual check, `residual` its value, `success`
    whether every test of the run passed its own check. `summary` holds all lines of the summary as they are.
    """
    begin = text.rfind("Begin of Summary section.")
    if begin < 0 or "End of Summary section." not in text[begin:]:
        last = next((line for line in reversed(text.splitlines()) if line.strip()), "nothing")
        raise ClusterbookError(
            "the benchmark didn't come to its end: its output has no summary",
            kind="node",
            causes=[f"its last line is {last.strip()!r}"],
            hint="look at the job's own output; it may have run out of memory or time",
        )
    pairs = dict(re.findall(r"^(\w+)=(.*)$", text[begin:].split("End of Summary section.")[0], re.MULTILINE))
    figures: dict[str, Any] = {}
    for name, (key, scale) in FIGURES.items():
        try:
            value = float(pairs[key]) * scale
        except (KeyError, ValueError):
            value = None
        figures[name] = int(value) if name in WHOLE and value is not None else value
    run = text[: begin if begin >= 0 else None]
    run = (
        run[run.rfind("This is the DARPA/DOE HPC Challenge Benchmark") :]
        if "This is the DARPA" in run
        else run
    )
    checks = RESIDUAL.findall(run)
    figures["residual"] = float(checks[-1][0]) if checks else None
    figures["passed"] = bool(checks) and all(word == "PASSED" for _, word in checks)
    figures["success"] = pairs.get("Success") == "1"
    figures["summary"] = pairs
    return figures
