"""The machine that a figure was taken on: without it a figure says nothing."""

from __future__ import annotations

import http.client
import json
import os
import platform
import socket
import time
from pathlib import Path
from typing import Any


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class ContainerEngine:
    """The container engine behind a socket, asked only about itself."""

    def __init__(self, path: str) -> None:
        self._path = path

    def get(self, what: str) -> bytes:
        connection = _UnixConnection(self._path)
        try:
            connection.request("GET", f"/v1.41/{what}")
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"the container engine answers {answer.status} to {what}")
        return body

    def seconds(self, what: str) -> float:
        """How long the engine takes to answer."""
        begun = time.perf_counter()
        self.get(what)
        return time.perf_counter() - begun

    def processor_seconds(self, cluster: str) -> float:
        """What a cluster's nodes have used so far, as their control groups count it: independent of who else is running."""
        used = 0
        for container in json.loads(self.get("containers/json")):
            if container.get("Labels", {}).get("org.clusterbook.cluster") == cluster:
                stats = json.loads(self.get(f"containers/{container['Id']}/stats?stream=false&one-shot=true"))
                used += stats["cpu_stats"]["cpu_usage"]["total_usage"]
        return used / 1e9

    def name(self) -> str:
        version = json.loads(self.get("version"))
        component = (version.get("Components") or [{}])[0]
        return f"{component.get('Name', 'engine')} {version.get('Version', '')}"


def load() -> float:
    """How many processes wanted a core, over the last minute."""
    return os.getloadavg()[0]


def facts(engine: ContainerEngine) -> dict[str, Any]:
    """What the machine is, and how busy it is now."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": model,
        "memory_gib": round(memory / 2**30, 1),
        "kernel": platform.release(),
        "engine": engine.name(),
        "load": load(),
    }
