"""The smallest client that a kernel can have: what no runner can be faster than."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import zmq

DELIMITER = b"<IDS|MSG>"


class BareKernel:
    """An IPython kernel, started by its own launcher, on Unix sockets."""

    def __init__(self, folder: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(dir=folder, prefix="k")
        home = Path(self._folder.name)
        self._key = uuid.uuid4().hex.encode()
        connection = home / "c.json"
        connection.write_text(
            json.dumps(
                {
                    "transport": "ipc",
                    "ip": str(home / "s"),
                    "shell_port": 1,
                    "iopub_port": 2,
                    "stdin_port": 3,
                    "control_port": 4,
                    "hb_port": 5,
                    "key": self._key.decode(),
                    "signature_scheme": "hmac-sha256",
                }
            )
        )
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", str(connection)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._context = zmq.Context()
        self._shell = self._socket(zmq.DEALER, home / "s-1")
        self._control = self._socket(zmq.DEALER, home / "s-4")
        self._iopub = self._socket(zmq.SUB, home / "s-2")
        self._iopub.subscribe(b"")
        # What the kernel published before the subscription reached it never comes, so this may have to be asked again.
        while not self.ask("kernel_info_request", {}, patience=0.2):
            pass

    def _socket(self, kind: int, path: Path) -> zmq.Socket[Any]:
        # Connecting before the kernel listens would cost a wait of a tenth of a second.
        while not path.exists():
            if self._process.poll() is not None:
                raise RuntimeError(f"the kernel ended with {self._process.returncode}")
            time.sleep(0.0005)
        socket = self._context.socket(kind)
        socket.linger = 0
        socket.connect(f"ipc://{path}")
        return socket

    def _send(self, socket: zmq.Socket[Any], kind: str, content: dict[str, Any]) -> str:
        number = uuid.uuid4().hex
        header = {"msg_id": number, "session": "floor", "username": "", "msg_type": kind, "version": "5.3"}
        parts = [json.dumps(part).encode() for part in (header, {}, {}, content)]
        sign = hmac.new(self._key, digestmod=hashlib.sha256)
        for part in parts:
            sign.update(part)
        socket.send_multipart([DELIMITER, sign.hexdigest().encode(), *parts])
        return number

    def ask(self, kind: str, content: dict[str, Any], patience: float | None = None) -> bool:
        """Sends a request and waits for its reply, and for the kernel to be idle again; says whether both came."""
        number = self._send(self._shell, kind, content)
        replied = idle = False
        while not (replied and idle):
            ready = zmq.select([self._shell, self._iopub], [], [], patience)[0]
            if not ready:
                return False
            for socket in ready:
                parts = socket.recv_multipart()
                at = parts.index(DELIMITER)
                header, parent, content_read = (json.loads(parts[at + index]) for index in (2, 3, 5))
                if parent.get("msg_id") != number:
                    continue
                if socket is self._shell:
                    replied = True
                elif header["msg_type"] == "status":
                    idle = content_read["execution_state"] == "idle"
        return True

    def execute(self, code: str) -> None:
        self.ask(
            "execute_request",
            {
                "code": code,
                "silent": False,
                "store_history": True,
                "allow_stdin": False,
                "user_expressions": {},
            },
        )

    def end(self) -> None:
        self._send(self._control, "shutdown_request", {"restart": False})
        self._process.wait(30)
        self._context.destroy(linger=0)
        self._folder.cleanup()
