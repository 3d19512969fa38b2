"""Results: values that a notebook hands on to later ones."""

from __future__ import annotations

import json
from typing import Any

from . import _core
from ._errors import ClusterbookError
from ._html import in_notebook
from ._table import Table

TYPE = "application/vnd.tmplrun.result+json"


def result(**values: Any) -> None:
    """Hands values on: in a flow they become parameters of later notebooks, and the run's record keeps them. They are text, numbers,
    True and False, lists and dictionaries; never secrets."""
    plain = {name: _plain(name, value) for name, value in values.items()}
    text = "Results: " + ", ".join(
        f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in plain.items()
    )
    if in_notebook():
        from IPython.display import display

        table = Table(
            [{"result": name, "value": value} for name, value in plain.items()], ["result", "value"]
        )
        display({TYPE: plain, "text/plain": text, "text/html": table._repr_html_()}, raw=True)
    else:
        print(text)


def _plain(path: str, value: Any) -> Any:
    if isinstance(value, _core.Secret):
        raise ClusterbookError(
            f"{path} is a secret, and results are written into notebooks",
            hint="hand its reference on instead",
        )
    if isinstance(value, dict):
        return {str(key): _plain(f"{path}.{key}", item) for key, item in value.items()}
    if isinstance(value, list | tuple | Table):
        return [_plain(f"{path}[{index}]", item) for index, item in enumerate(value)]
    if hasattr(value, "item") and callable(value.item) and getattr(value, "shape", None) == ():
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
            raise ClusterbookError(
                f"{path} is {value}, which can't be handed on", hint="hand on a number or None"
            )
        return value
    raise ClusterbookError(
        f"{path} is of the Python type {type(value).__name__}, which can't be handed on",
        hint="hand on text, numbers, True or False, lists or dictionaries",
    )


result.__module__ = "clusterbook"
