from __future__ import annotations

from pathlib import Path

import clusterbook as cb
import pytest
from clusterbook import hpl

OUTPUT = (Path(__file__).parent / "data" / "hpccoutf.txt").read_text()
GIB = 2**30


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [(1, (1, 1)), (2, (1, 2)), (4, (2, 2)), (6, (2, 3)), (7, (1, 7)), (64, (8, 8)), (96, (8, 12))],
)
def test_grids_are_as_square_as_they_can_be(ranks: int, expected: tuple[int, int]) -> None:
    assert hpl.grid(ranks) == expected


def test_time_limits_a_large_machine() -> None:
    size = hpl.choose(256 * GIB, 4, 16, seconds=60, gflops_estimate=20)
    assert size.limit == "time"
    assert 40 <= size.seconds <= 60
    assert size.n % size.nb == 0 and (size.p, size.q) == (4, 4)
    assert size.operations == pytest.approx(2 / 3 * size.n**3, rel=0.01)


def test_memory_limits_a_small_one() -> None:
    size = hpl.choose(1 * GIB, 2, 4, seconds=36_000, gflops_estimate=20)
    assert size.limit == "memory"
    assert 0.75 * 2 * GIB <= size.memory <= 0.8 * 2 * GIB


@pytest.mark.parametrize("memory", [200_000, 2**20, 2**24, 2**30, 2**36])
@pytest.mark.parametrize("nodes", [1, 2, 16])
@pytest.mark.parametrize("ranks", [1, 3, 4, 64])
@pytest.mark.parametrize("seconds", [0.01, 60, 86_400])
def test_it_always_fits(memory: int, nodes: int, ranks: int, seconds: float) -> None:
    size = hpl.choose(memory, nodes, ranks, seconds)
    assert size.memory <= 0.8 * memory * nodes
    assert size.n % size.nb == 0 and size.n > 0
    assert size.ranks == ranks


@pytest.mark.parametrize("wrong", [{"nodes": 0}, {"ranks": 0}, {"seconds": 0}, {"gflops_estimate": 0}])
def test_nonsense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"ranks|above 0"):
        hpl.choose(**{"memory_per_node_bytes": GIB, "nodes": 1, "ranks": 1, **wrong})


def test_the_input_has_the_benchmark_s_form() -> None:
    lines = hpl.hpccinf(8064, 192, 2, 3).splitlines()
    value = {number: line.split()[0] for number, line in enumerate(lines, 1)}
    assert len(lines) == 36
    assert (value[6], value[8], value[11], value[12]) == ("8064", "192", "2", "3")
    assert [value[number] for number in (5, 7, 9, 10, 13)] == ["1", "1", "0", "1", "16.0"]
    assert lines[31].startswith("#####")
    assert (value[33], value[35]) == ("0", "0")


def test_figures_of_a_real_run() -> None:
    figures = hpl.parse(OUTPUT)
    assert figures["gflops"] == pytest.approx(7.98304)
    assert (figures["n"], figures["nb"], figures["p"], figures["q"], figures["ranks"]) == (1000, 80, 2, 2, 4)
    assert figures["residual"] == pytest.approx(0.0072510) and figures["passed"] and figures["success"]
    assert figures["star_stream_triad_gbs"] == pytest.approx(49.2597)
    assert figures["ptrans_gbs"] == pytest.approx(2.17034)
    assert figures["latency_microseconds"] == pytest.approx(8.91548)
    assert all(value is not None for value in figures.values())


def test_of_several_runs_the_last_counts() -> None:
    second = OUTPUT.replace("HPL_N=1000", "HPL_N=2000").replace(
        "0.0072510 ...... PASSED", "1.7e+02 ...... FAILED"
    )
    figures = hpl.parse(OUTPUT + second)
    assert figures["n"] == 2000 and figures["passed"] is False
    assert hpl.parse(second + OUTPUT)["passed"] is True


@pytest.mark.parametrize("text", ["", OUTPUT[: len(OUTPUT) // 2], OUTPUT[: OUTPUT.index("End of Summary")]])
def test_a_run_that_broke_off(text: str) -> None:
    with pytest.raises(cb.ClusterbookError, match="didn't come to its end"):
        hpl.parse(text)


def test_shared_cores_are_yielded() -> None:
    assert "OMPI_MCA_mpi_yield_when_idle" in hpl.environment(4, 2)
    assert "OMPI_MCA_mpi_yield_when_idle" not in hpl.environment(4, 4)
    assert hpl.environment(4, 4)["OPENBLAS_NUM_THREADS"] == "1"
