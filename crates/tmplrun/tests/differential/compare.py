"""What two executed notebooks differ in, once what differs between any two runs is put aside."""

from __future__ import annotations

import json
import re
from typing import Any

MISSING = "<missing>"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?")
ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
KERNEL_FILE = re.compile(r"ipykernel_\d+/\d+\.py")
MODEL = re.compile(r"[0-9a-f]{32}")
MARKER = "papermill-error-cell-tag"
WIDGETS = "application/vnd.jupyter.widget-state+json"
#: Differences that every notebook may show; what stands for them is put aside here and reasoned for in the documentation.
EVERYWHERE = {"marker", "streams", "version"}


def normal(notebook: dict[str, Any], given: set[str], folders: list[str], program: str) -> dict[str, Any]:
    """The notebook without times, addresses, folders, fresh ids and the cutting of lines; papermill's with streams put together."""
    notebook = _texts(notebook, folders)
    papermill = notebook.get("metadata", {}).get("papermill", {})
    _blank(papermill, "version")
    _times(papermill)
    widgets = notebook.get("metadata", {}).get("widgets", {}).get(WIDGETS, {})
    if "state" in widgets:
        widgets["state"] = sorted(
            widgets["state"].values(), key=lambda model: json.dumps(model, sort_keys=True)
        )
    for cell in notebook.get("cells", []):
        if "id" in cell and cell["id"] not in given:
            cell["id"] = "<id>"
        metadata = cell.get("metadata", {})
        _times(metadata.get("papermill", {}))
        execution = metadata.get("execution", {})
        for key in execution:
            _blank(execution, key)
        if "outputs" in cell and program == "papermill":
            cell["outputs"] = joined(cell["outputs"])
    _set_markers_aside(notebook)
    return notebook


def outputs_only(notebook: dict[str, Any]) -> dict[str, Any]:
    """What cells put out: nbclient knows nothing of papermill's keys."""
    kept = ("cell_type", "execution_count", "outputs")
    return {"cells": [{key: cell.get(key) for key in kept} for cell in notebook["cells"]]}


def _set_markers_aside(notebook: dict[str, Any]) -> None:
    """Error markers apart, each with the number of cells before it, so that cells are compared with their likes."""
    cells: list[dict[str, Any]] = []
    notebook["markers"] = []
    for cell in notebook.get("cells", []):
        if MARKER in cell.get("metadata", {}).get("tags", []):
            source = re.sub(
                "Execution using [a-z]+ encountered", "Execution using <program> encountered", cell["source"]
            )
            notebook["markers"].append({"after": len(cells), "source": source})
        else:
            cells.append(cell)
    notebook["cells"] = cells


def joined(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Streams that came in pieces, put together: between two other outputs, all that went to one stream is one output."""
    result: list[dict[str, Any]] = []
    group: dict[str, dict[str, Any]] = {}
    for output in [*outputs, {}]:
        if output.get("output_type") == "stream":
            known = group.setdefault(output["name"], {**output, "text": ""})
            known["text"] += output["text"]
            continue
        for name in sorted(group, key=lambda name: name == "stderr"):
            group[name]["text"] = overwritten(group[name]["text"])
            result.append(group[name])
        group = {}
        if output:
            result.append(output)
    return result


def overwritten(text: str) -> str:
    """What nbclient's `.*\\r(?=[^\\n])` leaves, without its quadratic time: a return takes away what stands before it on its line."""
    if "\r" not in text:
        return text
    kept = []
    for line in text.split("\n"):
        end = "\r" if line.endswith("\r") else ""
        kept.append(line.removesuffix("\r").rpartition("\r")[2] + end)
    return "\n".join(kept)


def differences(left: Any, right: Any, at: str = "") -> list[dict[str, Any]]:
    """Every place where the two are not the same."""
    if isinstance(left, dict) and isinstance(right, dict):
        found = []
        for key in sorted({*left, *right}):
            place = f"{at}.{key}" if at else key
            found += differences(left.get(key, MISSING), right.get(key, MISSING), place)
        return found
    if isinstance(left, list) and isinstance(right, list) and not _plain(left + right):
        found = []
        for index in range(max(len(left), len(right))):
            one = left[index] if index < len(left) else MISSING
            other = right[index] if index < len(right) else MISSING
            found += differences(one, other, f"{at}[{index}]")
        return found
    # As text, so that NaN equals NaN and 1.0 is not 1.
    if json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True):
        return []
    return [{"at": at, "papermill": left, "tmplrun": right}]


def _plain(items: list[Any]) -> bool:
    return not any(isinstance(item, dict | list) for item in items)


def _texts(value: Any, folders: list[str]) -> Any:
    if isinstance(value, dict):
        result = {key: _texts(item, folders) for key, item in value.items()}
        for key, item in result.items():
            if key in ("source", "text") and isinstance(item, list):
                result[key] = "".join(item)
            elif key == "data" and isinstance(item, dict):
                result[key] = {
                    mime: "".join(part) if isinstance(part, list) and part and _lines(part) else part
                    for mime, part in item.items()
                }
        return result
    if isinstance(value, list):
        return [_texts(item, folders) for item in value]
    if isinstance(value, str):
        for folder in folders:
            value = value.replace(folder, "<folder>")
        value = KERNEL_FILE.sub("<cell>", ADDRESS.sub("<address>", value))
        return MODEL.sub("<model>", value)
    return value


def _lines(part: list[Any]) -> bool:
    return all(isinstance(line, str) for line in part)


def _times(entry: dict[str, Any]) -> None:
    for key, value in entry.items():
        if isinstance(value, str) and TIME.fullmatch(value):
            entry[key] = "<time>"
    if isinstance(entry.get("duration"), int | float):
        entry["duration"] = "<seconds>"


def _blank(entry: dict[str, Any], key: str) -> None:
    if isinstance(entry.get(key), str):
        entry[key] = f"<{key}>"
