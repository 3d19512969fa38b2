from __future__ import annotations

from xml.etree import ElementTree

import pytest
from clusterbook import charts


def test_a_chart_is_an_image_with_its_text() -> None:
    chart = charts.bars(
        {"Linpack <HPL>": 7.98, "行列積": 11.5},
        title="One & two",
        unit="Gflop/s",
        reference={"peak": 20},
        note="Two cores are shared.",
    )
    bundle = chart._repr_mimebundle_()
    root = ElementTree.fromstring(bundle["image/svg+xml"])
    assert root.attrib["role"] == "img"
    assert "Linpack <HPL> 7.98 Gflop/s" in root.attrib["aria-label"]
    assert "prefers-color-scheme" in bundle["image/svg+xml"]
    assert "prefers-color-scheme" not in bundle["text/html"] and "currentColor" in bundle["text/html"]
    assert "<HPL>" not in bundle["text/html"]
    assert "行列積" in repr(chart) and "11.5 Gflop/s" in repr(chart) and "peak" in repr(chart)


@pytest.mark.parametrize("values", [{}, {"nothing": 0.0}, [("a", 1e-9), ("b", 1e12)]])
def test_unusual_values(values: object) -> None:
    ElementTree.fromstring(charts.bars(values).svg)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_what_a_bar_cannot_show(value: float) -> None:
    with pytest.raises(ValueError, match="from 0 on"):
        charts.bars({"a": value})


def test_a_spread_is_drawn_and_said() -> None:
    chart = charts.bars({"a": 10.0, "b": 4.0}, unit="MiB/s", spread={"a": (8.0, 12.0)})
    root = ElementTree.fromstring(chart.svg)
    assert "a 10 (8–12) MiB/s, b 4 MiB/s" in root.attrib["aria-label"]
    assert len(root.findall("{http://www.w3.org/2000/svg}path")) == 1
    assert "10 (8–12) MiB/s" in repr(chart)


@pytest.mark.parametrize("spread", [{"c": (1.0, 2.0)}, {"a": (-1.0, 2.0)}])
def test_a_spread_of_nothing(spread: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match=r"spread of c|from 0 on"):
        charts.bars({"a": 1.0}, spread=spread)
