"""A kernel that misbehaves in the way its first argument says; the second is the connection file."""

import hashlib
import hmac
import json
import signal
import sys
import time
import uuid

import zmq

how, path = sys.argv[1:3]
with open(path) as file:
    connection = json.load(file)
context = zmq.Context()
key = connection["key"].encode()


def bind(kind, name):
    socket = context.socket(kind)
    socket.linger = 500
    socket.bind(f"tcp://{connection['ip']}:{connection[name]}")
    return socket


iopub = bind(zmq.PUB, "iopub_port")
iopub.sndhwm = 0
control = bind(zmq.ROUTER, "control_port")
shell = bind(zmq.ROUTER, "shell_port")


def send(socket, kind, content, parent, identities=(), signed=key, session="fake"):
    header = {
        "msg_id": uuid.uuid4().hex,
        "session": session,
        "username": "",
        "msg_type": kind,
        "version": "5.3",
    }
    parts = [json.dumps(part).encode() for part in (header, parent, {}, content)]
    sign = hmac.new(signed, digestmod=hashlib.sha256)
    for part in parts:
        sign.update(part)
    socket.send_multipart([*identities, b"<IDS|MSG>", sign.hexdigest().encode(), *parts])


def say(kind, content, parent, **more):
    send(iopub, kind, content, parent, **more)


def receive(socket):
    frames = socket.recv_multipart()
    at = frames.index(b"<IDS|MSG>")
    return frames[:at], json.loads(frames[at + 2]), json.loads(frames[at + 5])


def execute(identities, request, code):
    say("status", {"execution_state": "busy"}, request)
    say("execute_input", {"code": code, "execution_count": 1}, request)
    reply = {"status": "ok", "execution_count": 1, "user_expressions": {}, "payload": []}
    if how == "deaf":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        time.sleep(1000)
    elif how == "dies":
        say("stream", {"name": "stdout", "text": "before\n"}, request)
        time.sleep(0.1)
        sys.stderr.write("the last line\n")
        sys.stderr.flush()
        sys.exit(7)
    elif how == "forges":
        send(shell, "execute_reply", reply, request, identities, signed=b"another key")
        return
    elif how.startswith("closes-"):
        {"closes-iopub": iopub, "closes-shell": shell}[how].close(linger=0)
        time.sleep(1000)
    elif how == "mixes":
        # As if somebody else had a cell running in this kernel, and as if somebody without the key spoke in between.
        other = {"msg_id": "other", "session": "other", "msg_type": "execute_request"}
        say("stream", {"name": "stdout", "text": "not yours\n"}, other, session="other")
        say("status", {"execution_state": "idle"}, other, session="other")
        send(shell, "execute_reply", {"status": "error", "ename": "NotYours"}, other, identities)
        say("stream", {"name": "stdout", "text": "forged\n"}, request, signed=b"another key")
        iopub.send_multipart([b"no message"])
        iopub.send_multipart([b"<IDS|MSG>", b"short"])
        say("stream", {"name": "stdout", "text": "yours\n"}, request)
    elif how == "floods":
        for number in range(10):
            say(
                "stream",
                {"name": "stdout", "text": f"{number} secret-word " + "x" * 1_000_000 + "\n"},
                request,
            )
    send(shell, "execute_reply", reply, request, identities)
    say("status", {"execution_state": "idle"}, request)


if how == "mute":
    time.sleep(1000)
while True:
    for socket in zmq.select([control, shell], [], [])[0]:
        identities, request, content = receive(socket)
        kind = request["msg_type"]
        if kind == "shutdown_request":
            sys.exit(0)
        elif kind == "execute_request" and socket is shell:
            execute(identities, request, content["code"])
        elif kind == "kernel_info_request":
            say("status", {"execution_state": "busy"}, request)
            info = {
                "status": "ok",
                "protocol_version": "5.3",
                "language_info": {"name": "fake"},
                "banner": "",
            }
            if how == "imposes":
                send(socket, "kernel_info_reply", info, request, identities, signed=b"another key")
            else:
                send(socket, "kernel_info_reply", info, request, identities)
            say("status", {"execution_state": "idle"}, request)
