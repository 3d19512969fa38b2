from __future__ import annotations

import builtins
import sys
from typing import Any

import clusterbook as cb
import pytest
from clusterbook._html import display_width

ROWS = [
    {"name": "計算ノード", "cpus": 4, "up": True, "tags": ["a", "b"]},
    {"name": "c1", "cpus": 128, "up": False, "tags": []},
    {"name": "c2", "cpus": None, "up": None, "load": 0.25},
]


def test_it_is_a_sequence_of_dictionaries() -> None:
    table = cb.Table(ROWS)
    assert len(table) == 3 and table[1]["cpus"] == 128
    assert [row["name"] for row in table] == ["計算ノード", "c1", "c2"]
    assert table.columns == ["name", "cpus", "up", "tags", "load"]
    assert table["cpus"] == table.column("cpus") == [4, 128, None]
    assert isinstance(table[1:], cb.Table) and len(table[1:]) == 2
    with pytest.raises(KeyError, match="cpus"):
        table.column("cpu")
    table[0]["cpus"] = 5
    assert ROWS[0]["cpus"] == 4


def test_columns_are_aligned_also_beside_wide_characters() -> None:
    lines = str(cb.Table(ROWS, ["name", "cpus"])).splitlines()
    ends = [display_width(line) for line in (lines[0], lines[1], lines[2], lines[3])]
    assert len(set(ends)) == 1


def test_text_stays_on_its_line() -> None:
    lines = str(cb.Table([{"out": "one\ntwo\n" + "x" * 200}])).splitlines()
    assert len(lines) == 3 and lines[2].endswith("…")


def test_html_is_escaped() -> None:
    html = cb.Table([{"<i>": "<script>alert('x')</script>"}], title="a & b")._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert "<i>" not in html and "a &amp; b" in html


def test_many_rows_are_cut_in_displays_only() -> None:
    table = cb.Table({"n": n} for n in range(1000))
    assert "800 more" in str(table) and "800 more" in table._repr_html_()
    assert len(table) == 1000


def test_no_rows() -> None:
    assert "(nothing)" in str(cb.Table([])) and "nothing" in cb.Table([])._repr_html_()


def test_to_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    frame = cb.Table(ROWS, ["name", "cpus"]).to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == ["name", "cpus"] and len(frame) == 3


def test_without_pandas_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return original(name, *arguments, **keywords)

    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(cb.ClusterbookError, match="pip install pandas"):
        cb.Table(ROWS).to_pandas()
