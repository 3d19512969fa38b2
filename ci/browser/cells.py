"""Whether session.py's names of cells are still in the notebooks: each is the beginning of a line of a code cell.

It needs no browser, so it runs with every commit; the session itself runs each night.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

# What takes a notebook's cell by its beginning, and the position of the first such argument.
TAKERS = {"code": 0, "step": 1, "whole": 1}


def texts(node: ast.AST, tuples: dict[str, ast.expr]) -> Iterator[str]:
    """The constant texts that an argument holds; a name stands for the tuple that it was given."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.Starred(value=value):
            yield from texts(value, tuples)
        case ast.Tuple(elts=elements):
            for element in elements:
                yield from texts(element, tuples)
        case ast.Name(id=name) if name in tuples:
            yield from texts(tuples[name], tuples)


def names(function: ast.FunctionDef) -> Iterator[tuple[int, str]]:
    """Line and beginning of each cell that a step of the session takes."""
    tuples = {
        target.id: node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(function):
        if not isinstance(node, ast.Call):
            continue
        called = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
        for argument in node.args[TAKERS[called] :] if called in TAKERS else []:
            for text in texts(argument, tuples):
                yield node.lineno, text


def lines(notebook: Path) -> set[str]:
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return {
        line for cell in cells if cell["cell_type"] == "code" for line in "".join(cell["source"]).split("\n")
    }


def main() -> int:
    here = Path(__file__).resolve().parent
    notebooks = {path.name: lines(path) for path in (here.parents[1] / "notebooks/hpc").glob("*.ipynb")}
    tree = ast.parse((here / "session.py").read_text("utf-8"))
    found = 0
    missing = []
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        constants = (node.value for node in ast.walk(function) if isinstance(node, ast.Constant))
        opened = [name for name in constants if isinstance(name, str) and name in notebooks]
        # Helpers are given the notebook of whichever step calls them.
        there = set().union(*(notebooks[name] for name in opened or notebooks))
        for number, text in names(function):
            found += 1
            if not any(line.startswith(text) for line in there):
                missing.append(
                    f"session.py:{number}: no cell of {', '.join(opened) or 'a notebook'} begins a line with {text!r}"
                )
    print("\n".join(missing), end="\n" if missing else "", file=sys.stderr)
    if not found:
        print("session.py names no cell: this check doesn't understand it any more", file=sys.stderr)
    return 1 if missing or not found else 0


if __name__ == "__main__":
    sys.exit(main())
