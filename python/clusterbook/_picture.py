"""The picture of a cluster, and what all pictures share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ._html import BAD, BUSY, GOOD, IDLE, NOTE, clip, escape

FONT = "ui-sans-serif,system-ui,-apple-system,'Noto Sans','Noto Sans CJK JP',sans-serif"
# What a state looks like: a colour and, for those who don't tell colours apart, a mark.
STATES: dict[str, tuple[str, str]] = {
    "running": (GOOD, "●"),
    "starting": (BUSY, "◐"),
    "stopping": (NOTE, "◑"),
    "off": (IDLE, "○"),
    "missing": (IDLE, "·"),
    "deleting": (NOTE, "◌"),
    "failed": (BAD, "✘"),
    "unknown": (IDLE, "?"),
}
TILE, TALL, GAP, PER_ROW = 128, 46, 8, 5
WIDTH = PER_ROW * (TILE + GAP) + GAP
# A group shows as many nodes; the others are counted.
MOST = 40


def svg(width: float, height: float, alt: str, body: Sequence[str], alone: bool) -> str:
    """An image from its parts. Text takes the page's colour; as a file of its own it asks for the reader's scheme."""
    style = ""
    if alone:
        style = "<style>svg{color:#1f2328}@media(prefers-color-scheme:dark){svg{color:#e6edf3}}</style>"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'style="max-width:100%;height:auto" role="img" aria-label="{escape(alt)}" font-family="{FONT}" fill="currentColor">'
        f"<title>{escape(alt)}</title>{style}{''.join(body)}</svg>"
    )


def label(x: float, y: float, content: Any, size: float = 12, **attributes: Any) -> str:
    """A piece of text."""
    more = "".join(f' {key.replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return f'<text x="{x:g}" y="{y:g}" font-size="{size:g}"{more}>{escape(content)}</text>'


class View:
    """A cluster as it is designed and as it is, ready to be drawn."""

    def __init__(
        self, design: Mapping[str, Any] | None, nodes: Sequence[Mapping[str, Any]], note: str = ""
    ) -> None:
        self.values = design or {}
        self.nodes = nodes
        self.note = note
        self.name = self.values.get("name", "")
        self.groups: dict[str, list[Mapping[str, Any]]] = {}
        for node in nodes:
            self.groups.setdefault(node["group"] or "not in the design", []).append(node)

    def head(self) -> str:
        running = sum(node["state"] == "running" for node in self.nodes)
        provider = self.values.get("provider", "")
        if self.nodes and all(node["state"] == "missing" for node in self.nodes):
            state = f"{len(self.nodes)} nodes designed, none made yet"
        elif any(node["state"] == "unknown" for node in self.nodes):
            state = f"{len(self.nodes)} nodes designed"
        else:
            state = f"{running} of {len(self.nodes)} nodes run"
        return f"{self.name} on {provider}: {state}"

    def group_text(self, name: str) -> str:
        nodes = self.groups[name]
        flavors = sorted({node["flavor"] for node in nodes})
        text = f"{name} · {len(nodes)} × {', '.join(flavors)}"
        partitions = [one["name"] for one in self.values.get("partitions", []) if name in one["groups"]]
        if partitions:
            text += f" · partition {', '.join(partitions)}"
        features: list[str] = next(
            (g["features"] for g in self.values.get("groups", []) if g["name"] == name), []
        )
        if features:
            text += f" · {', '.join(features)}"
        return text

    def foot(self) -> list[tuple[str, str]]:
        lines = []
        if subnet := self.values.get("network", {}).get("subnet"):
            lines.append(("network", subnet))
        for disk in self.values.get("disks", []):
            lines.append(("disk", f"{disk['name']} · {disk['size']} · {disk['mount']} on every node"))
        for partition in self.values.get("partitions", []):
            most = partition["max_time"]
            time = "no time limit" if most.lower() in ("infinite", "unlimited") else f"at most {most}"
            default = " · default" if partition["default"] else ""
            groups = ", ".join(partition["groups"])
            lines.append(("partition", f"{partition['name']} · {groups} · {time}{default}"))
        if users := self.values.get("users", []):
            names = ", ".join(user["name"] for user in users[:12])
            lines.append(("users", names + (f" and {len(users) - 12} more" if len(users) > 12 else "")))
        if self.note:
            lines.append(("note", self.note))
        return lines

    def text(self) -> str:
        lines = [self.head()]
        for name, nodes in self.groups.items():
            lines.append(f"  {self.group_text(name)}")
            for node in nodes[:MOST]:
                mark = STATES.get(node["state"], STATES["unknown"])[1]
                detail = f"  {node['detail']}" if node.get("detail") else ""
                lines.append(f"    {mark} {node['name']}  {node['address']}  {node['state']}{detail}")
            if len(nodes) > MOST:
                lines.append(f"    … and {len(nodes) - MOST} more")
        lines += [f"  {key}: {value}" for key, value in self.foot()]
        return "\n".join(lines)

    def svg(self, alone: bool = False) -> str:
        body = [label(GAP, 20, self.head(), 15, font_weight="600")]
        y = 32.0
        for name, nodes in self.groups.items():
            shown = nodes[:MOST]
            rows = -(-len(shown) // PER_ROW)
            height = 26 + rows * (TALL + GAP) + (16 if len(nodes) > MOST else 0)
            body.append(
                f'<rect x="2" y="{y:g}" width="{WIDTH - 4}" height="{height:g}" rx="8" fill="currentColor" fill-opacity=".04" '
                'stroke="currentColor" stroke-opacity=".25"/>'
            )
            body.append(label(GAP + 4, y + 18, self.group_text(name), 12, fill_opacity=".8"))
            for index, node in enumerate(shown):
                body.append(
                    _tile(
                        node, GAP + index % PER_ROW * (TILE + GAP), y + 26 + index // PER_ROW * (TALL + GAP)
                    )
                )
            if len(nodes) > MOST:
                body.append(label(GAP + 4, y + height - 6, f"… and {len(nodes) - MOST} more", 11))
            y += height + GAP
        for key, value in self.foot():
            y += 17
            body.append(label(GAP, y - 3, key, 12, fill_opacity=".6"))
            body.append(label(GAP + 72, y - 3, clip(value, 92), 12))
        states: dict[str, int] = {}
        for node in self.nodes:
            states[node["state"]] = states.get(node["state"], 0) + 1
        alt = self.head() + ". " + ", ".join(f"{count} {state}" for state, count in states.items())
        return svg(WIDTH, y + 8, alt, body, alone)

    def bundle(self) -> dict[str, str]:
        return {"text/html": self.svg(), "image/svg+xml": self.svg(alone=True), "text/plain": self.text()}


def _tile(node: Mapping[str, Any], x: float, y: float) -> str:
    colour, mark = STATES.get(node["state"], STATES["unknown"])
    dashed = ' stroke-dasharray="4 3"' if node["state"] in ("missing", "deleting", "unknown") else ""
    title = f"{node['name']}: {node['state']}" + (f", {node['detail']}" if node.get("detail") else "")
    return (
        f"<g><title>{escape(title)}</title>"
        f'<rect x="{x:g}" y="{y:g}" width="{TILE}" height="{TALL}" rx="6" fill="{colour}" fill-opacity=".14" '
        f'stroke="{colour}"{dashed}/>'
        + label(x + 8, y + 19, f"{mark}", 13, fill=colour)
        + label(x + 25, y + 19, clip(node["name"], 14), 13, font_weight="600")
        + label(x + 8, y + 36, clip(str(node["address"]), 19), 11, fill_opacity=".75")
        + "</g>"
    )
