"""The figures: how each is taken."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import machine
from program import Applied, Clusterbook, Failed, Ran
from yardstick import Ansible

# In the in-memory world: for the plan, and for how an apply's cost grows.
PLANNED = 10_000
APPLIED = [1_000, 2_000, 4_000]
# Cost per node may differ by this much between clusters before it counts as growth: that is what runs differ by.
GROWTH = 1.25


@dataclass
class Figure:
    """One line of the table, and what stands behind it."""

    what: str
    #: How far it should reach, for people; and whether it does.
    reach: str
    reached: Callable[[float], bool]
    #: Every measurement.
    values: list[float]
    unit: str
    yardstick: str = ""
    #: Where the time went, in the median run: name and seconds. Names that begin with a space are parts of the line above.
    parts: list[tuple[str, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    load: float = field(default_factory=machine.load)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def document(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "reach": self.reach,
            "reached": self.reached(self.median),
            "median": self.median,
            "values": self.values,
            "unit": self.unit,
            "yardstick": self.yardstick,
            "parts": [{"part": part, "seconds": seconds} for part, seconds in self.parts],
            "notes": self.notes,
            "load": self.load,
        }


def at_most(limit: float) -> Callable[[float], bool]:
    return lambda value: value <= limit


def at_least(limit: float) -> Callable[[float], bool]:
    return lambda value: value >= limit


@dataclass
class Bench:
    """What measuring needs, and what one figure leaves to another."""

    clusterbook: Clusterbook
    engine: machine.ContainerEngine
    nodes: list[int]
    repeat: int
    ansible: Callable[[], Ansible]
    say: Callable[[str], None]
    #: The playbook's first and second run, by figure of nodes.
    yardsticks: dict[int, tuple[Ran, Ran]] = field(default_factory=dict)
    #: Processor time that the playbook's first run took on the nodes.
    on_nodes: dict[int, float] = field(default_factory=dict)

    def images(self) -> None:
        """Builds what is missing, before any clock starts, and warms what a first use warms."""
        self.say("images, with one cluster before the clock starts")
        self.clusterbook.compute("bench-warm", 1)
        self.clusterbook.apply("bench-warm")
        self.clusterbook.destroy("bench-warm")

    def start(self) -> Iterator[Figure]:
        """Images built → a job has run on all nodes."""
        for count in self.nodes:
            load = machine.load()
            name = f"bench-start-{count}"
            self.clusterbook.compute(name, count)
            runs: list[tuple[float, Applied, Ran]] = []
            for turn in range(self.repeat):
                self.say(f"start, 1+{count} nodes ({turn + 1} of {self.repeat})")
                applied = self.clusterbook.apply(name)
                job = self._job(name, count)
                runs.append((applied.seconds + job.seconds, applied, job))
                self.clusterbook.destroy(name)
            _, applied, job = _median(runs, key=lambda run: run[0])
            limit = 8.0 if count <= 2 else 20.0
            yield Figure(
                what=f"images built → `srun -N{count} hostname` answered, 1+{count} nodes",
                reach=f"≤ {limit:.0f} s",
                reached=at_most(limit),
                values=[seconds for seconds, _, _ in runs],
                unit="s",
                yardstick=self._yardstick_of_start(count),
                parts=[*applied.parts.items(), (f"srun -N{count} hostname, by a new process", job.seconds)],
                load=load,
            )

    def _job(self, name: str, count: int) -> Ran:
        job = self.clusterbook("run", name, "--on", "master", "--", "srun", f"-N{count}", "hostname")
        answered = {line for line in job.stdout.splitlines() if line.startswith("master: c")}
        if len(answered) != count:
            raise Failed(f"srun answered from {len(answered)} nodes of {count}")
        return job

    def _yardstick_of_start(self, count: int) -> str:
        if count not in self.yardsticks:
            return ""
        return f"{self.yardsticks[count][0].seconds:.1f} s for the configuration alone"

    def configure(self) -> Iterator[Figure]:
        """Nodes that are booted and not configured → idle nodes; ours against the playbook."""
        count = max(self.nodes)
        load = machine.load()
        name = f"bench-booted-{count}"
        self.clusterbook.compute(name, count)
        runs: list[Applied] = []
        on_nodes: list[float] = []
        for turn in range(self.repeat):
            self.say(f"configure, 1+{count} nodes ({turn + 1} of {self.repeat})")
            self.clusterbook.boot_only(name)
            before = self.engine.processor_seconds(name)
            runs.append(self.clusterbook.apply(name))
            on_nodes.append(self.engine.processor_seconds(name) - before)
            self._job(name, count)
            self.clusterbook.destroy(name)
        first, _ = self.playbook(count)
        ratios = [first.seconds / run.seconds for run in runs]
        run = _median(runs, key=lambda run: run.seconds)
        yield Figure(
            what=f"configuring 1+{count} booted nodes: times faster than the yardstick",
            reach="≥ 20 ×",
            reached=at_least(20),
            values=ratios,
            unit="×",
            yardstick=f"{first.seconds:.1f} s",
            parts=list(run.parts.items()),
            notes=[
                f"ours {_range([run.seconds for run in runs], 's')}, from the program's start to its end",
                f"processor time on the nodes: ours {statistics.median(on_nodes):.1f} s, "
                f"the yardstick's {self.on_nodes[count]:.1f} s",
                f"processor time of the tool's own processes: ours {run.processor_seconds:.2f} s, "
                f"the yardstick's {first.processor_seconds:.1f} s",
                "processor time together, which a busy machine changes little: "
                f"{(self.on_nodes[count] + first.processor_seconds) / (statistics.median(on_nodes) + run.processor_seconds):.1f}"
                " times less",
            ],
            load=load,
        )

    def again(self) -> Iterator[Figure]:
        """Nothing to change, by a new process."""
        count = max(self.nodes)
        load = machine.load()
        name = f"bench-again-{count}"
        self.clusterbook.compute(name, count)
        self.say(f"again, 1+{count} nodes")
        self.clusterbook.apply(name)
        self.clusterbook.booted(name)
        runs = [self.clusterbook.apply(name) for _ in range(max(self.repeat, 5))]
        for run in runs:
            if "Nothing to do" not in run.stdout:
                raise Failed("there was something to do the second time:\n" + run.stdout)
        plan = statistics.median(self.clusterbook("plan", name).seconds for _ in range(3))
        one = statistics.median(
            self.clusterbook("run", name, "--on", "c1", "--", "true").seconds for _ in range(3)
        )
        answers = [
            (
                f" the engine's answer to {what.split('?')[0]}",
                statistics.median(self.engine.seconds(what) for _ in range(3)),
            )
            for what in (
                "_ping",
                "version",
                "info",
                "containers/json?all=1",
                "images/json",
                "networks",
                "volumes",
            )
        ]
        self.clusterbook.destroy(name)
        _, second = self.playbook(count)
        yield Figure(
            what=f"apply again from a new process, nothing to change, 1+{count} nodes",
            reach="≤ 1 s",
            reached=at_most(1),
            values=[run.seconds for run in runs],
            unit="s",
            yardstick=f"{second.seconds:.1f} s",
            parts=[
                ("of which its plan: ask the engine, look at every node", plan),
                ("of which one command on one node takes", one),
                *answers,
            ],
            load=load,
        )

    def power(self) -> Iterator[Figure]:
        """All nodes off, and on again until a job has run on every one: what the notebooks 911 and 912 do."""
        count = max(self.nodes)
        load = machine.load()
        name = f"bench-power-{count}"
        self.clusterbook.compute(name, count)
        self.clusterbook.apply(name)
        self.clusterbook.booted(name)
        runs: list[tuple[float, Applied, Applied, Ran]] = []
        for turn in range(self.repeat):
            self.say(f"power, 1+{count} nodes ({turn + 1} of {self.repeat})")
            self.clusterbook.compute(name, count, power="off")
            off = self.clusterbook.apply(name)
            self.clusterbook.compute(name, count)
            on = self.clusterbook.apply(name)
            job = self._job(name, count)
            runs.append((off.seconds + on.seconds + job.seconds, off, on, job))
        self.clusterbook.destroy(name)
        _, off, on, job = _median(runs, key=lambda run: run[0])
        yield Figure(
            what=f"all nodes off, on, and `srun -N{count} hostname` answered, 1+{count} nodes",
            reach="≤ 20 s",
            reached=at_most(20),
            values=[seconds for seconds, *_ in runs],
            unit="s",
            parts=[
                ("off", off.seconds),
                *((f" {part}", seconds) for part, seconds in off.parts.items()),
                ("on", on.seconds),
                *((f" {part}", seconds) for part, seconds in on.parts.items()),
                (f"srun -N{count} hostname, by a new process", job.seconds),
            ],
            load=load,
        )

    def scale(self) -> Iterator[Figure]:
        """Large clusters in a world without machines: our own cost, and nothing else's."""
        load = machine.load()
        with self.clusterbook.world():
            self.say(f"plan, {PLANNED} nodes")
            self._world("bench-plan", PLANNED)
            plans = [self.clusterbook("plan", "bench-plan") for _ in range(self.repeat)]
            yield Figure(
                what=f"plan for {PLANNED} nodes in the in-memory world: time",
                reach="≤ 1 s",
                reached=at_most(1),
                values=[run.seconds for run in plans],
                unit="s",
                load=load,
            )
            yield Figure(
                what="the same: memory at its peak",
                reach="≤ 200 MB",
                reached=at_most(200),
                values=[run.peak_mib * 1.048576 for run in plans],
                unit="MB",
                load=load,
            )
            costs: dict[int, list[Applied]] = {count: [] for count in APPLIED}
            for turn in range(self.repeat):
                for count in APPLIED:
                    self.say(f"apply, {count} nodes ({turn + 1} of {self.repeat})")
                    # Another name each time: the world keeps what it was given.
                    name = f"bench-{count}-{turn}"
                    self._world(name, count)
                    costs[count].append(self.clusterbook.apply(name))
                    self.clusterbook.destroy(name)
            least, most = min(APPLIED), max(APPLIED)
            per_node = {count: [1000 * run.seconds / count for run in runs] for count, runs in costs.items()}
            yield Figure(
                what=f"apply's cost per node, {most} nodes against {least}",
                reach=f"≤ {GROWTH} ×",
                reached=at_most(GROWTH),
                values=[large / small for small, large in zip(per_node[least], per_node[most], strict=True)],
                unit="×",
                parts=list(_median(costs[most], key=lambda run: run.seconds).parts.items()),
                notes=[
                    f"{count} nodes: {_range(values, 'ms a node')}, of which the program itself "
                    f"{1000 * statistics.median(run.processor_seconds for run in costs[count]) / count:.3f} ms, "
                    f"peak {max(run.peak_mib for run in costs[count]) * 1.048576:.0f} MB"
                    for count, values in per_node.items()
                ],
                load=load,
            )

    def _world(self, name: str, count: int) -> None:
        self.clusterbook.new(
            name,
            **{
                "provider": "memory",
                "network.subnet": "10.128.0.0/9",
                "groups[compute].nodes": str(count),
                "groups[compute].hosts": f'"c[1-{count}]"',
            },
        )

    def playbook(self, count: int) -> tuple[Ran, Ran]:
        """The yardstick on nodes of its own: its first run and, with nothing to change, its second."""
        if count in self.yardsticks:
            return self.yardsticks[count]
        ansible = self.ansible()
        name = f"bench-yardstick-{count}"
        self.say(f"yardstick, 1+{count} nodes: making them and installing Python")
        self.clusterbook.compute(name, count)
        self.clusterbook.boot_only(name)
        ansible.prepare(self.clusterbook, name)
        self.say(f"yardstick, 1+{count} nodes: first run")
        before = self.engine.processor_seconds(name)
        first = ansible.run()
        self.on_nodes[count] = self.engine.processor_seconds(name) - before
        ansible.idle(self.clusterbook, name, count)
        self.say(f"yardstick, 1+{count} nodes: second run")
        second = ansible.run()
        changed = ansible.changed(second)
        if changed:
            raise Failed(
                f"the playbook's second run made {changed} changes, so it is no measure of changing nothing"
            )
        self.clusterbook.destroy(name)
        self.yardsticks[count] = (first, second)
        return first, second


def _median(runs: list[Any], key: Callable[[Any], float]) -> Any:
    return sorted(runs, key=key)[len(runs) // 2]


def _range(values: list[float], unit: str) -> str:
    return f"{statistics.median(values):.3g} {unit} ({min(values):.3g}–{max(values):.3g})"
