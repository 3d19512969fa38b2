"""Starts IPython kernels: one, or many by forking.

Run by the kernel's own interpreter: `python -c THIS one -f FILE` in place of `python -m ipykernel_launcher -f FILE`, or
`python -c THIS many DESCRIPTOR`. A kernel that comes out of here is what the launcher's would have been, apart from the
debugger, whose import takes a quarter of a kernel's start: `debug-one` and `debug-many` have it.
"""

import sys

# What a kernel sees of its interpreter must not tell how it was started.
if sys.path and sys.path[0] == "":
    del sys.path[0]


def without_debugger():
    # ipykernel looks for it once and does without; a cell that imports it later gets it.
    sys.modules["debugpy"] = None
    try:
        import ipykernel.debugger  # noqa: F401
    except ImportError:
        pass
    finally:
        del sys.modules["debugpy"]


def launch(arguments):
    """Becomes a kernel; never comes back otherwise."""
    from importlib.util import find_spec

    sys.argv[:] = [find_spec("ipykernel_launcher").origin, *arguments]
    if hasattr(sys, "orig_argv"):
        at = sys.orig_argv.index("-c")
        sys.orig_argv[at:] = ["-m", "ipykernel_launcher", *arguments]
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()


def many(descriptor, debugger):
    """Forks a kernel for every request; tells when each has ended."""
    import os
    import site

    # Before anything else is imported: whatever changes from now on is seen.
    watched = [*sys.path, os.path.join(sys.prefix, "pyvenv.cfg")]
    if site.ENABLE_USER_SITE:
        watched.append(site.getusersitepackages())
    for folder in list(watched):
        if os.path.isdir(folder):
            watched += [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".pth")]

    def state(path):
        try:
            found = os.stat(path)
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    known = {path: state(path) for path in watched}

    if not debugger:
        without_debugger()
    import ctypes
    import gc
    import importlib
    import json
    import select
    import signal
    import socket

    import ipykernel.kernelapp  # noqa: F401

    # What a kernel of its own would import while it starts. One that is missing here is imported there.
    for name in (
        "IPython.core.completerlib",
        "IPython.core.debugger",
        "IPython.core.oinspect",
        "IPython.extensions.storemagic",
        "faulthandler",
        "pdb",
        "resource",
        "sqlite3",
        "tornado.platform.asyncio",
        "unicodedata",
    ):
        try:
            importlib.import_module(name)
        except ImportError:
            pass
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str):
            known.setdefault(path, state(path))

    channel = socket.socket(fileno=descriptor)
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        # A lock that another thread holds would be held for ever in a child.
        channel.send(json.dumps({"refused": f"the interpreter has {threads} threads"}).encode())
        return None
    libc = ctypes.CDLL(None)
    server = os.getpid()
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    children = {}
    # The collector looks at everything several times when an interpreter ends. What was imported here stays as long as
    # a kernel lives, so children need not look at it: that alone is half of a kernel's end, and leaves memory shared.
    gc.collect()
    gc.freeze()
    channel.send(json.dumps({"ready": server}).encode())

    def say(message, *descriptors):
        socket.send_fds(channel, [json.dumps(message).encode()], descriptors)

    while True:
        for ready, _ in poll.poll():
            if ready in children:
                pid = children.pop(ready)
                poll.unregister(ready)
                os.close(ready)
                say({"ended": pid, "status": os.waitpid(pid, 0)[1]})
                continue
            packet, descriptors, _, _ = socket.recv_fds(channel, 1 << 18, 2)
            if not packet:
                return None
            request = json.loads(packet)
            changed = next((path for path, before in known.items() if state(path) != before), None)
            if changed is not None or request["start"] is None:
                for each in descriptors:
                    os.close(each)
                say({"answer": request["number"], "changed": changed})
                continue
            # A signal that arrives between the fork and the child's new session is the server's.
            pid = os.fork()
            if pid:
                watch = os.pidfd_open(pid)
                children[watch] = pid
                poll.register(watch, select.POLLIN)
                say({"answer": request["number"], "pid": pid}, watch)
                for each in descriptors:
                    os.close(each)
                continue
            # The child. What a new process has of its own it must get here.
            os.setsid()
            libc.prctl(1, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != server:
                os._exit(1)
            channel.close()
            for each in children:
                os.close(each)
            os.dup2(descriptors[0], 1)
            os.dup2(descriptors[1], 2)
            for each in descriptors:
                os.close(each)
            start = request["start"]
            os.chdir(start["folder"])
            os.environ.update(start["variables"])
            return start["arguments"]


if sys.argv[1].endswith("many"):
    _arguments = many(int(sys.argv[2]), sys.argv[1].startswith("debug"))
else:
    if not sys.argv[1].startswith("debug"):
        without_debugger()
    _arguments = sys.argv[2:]
if _arguments is not None:
    launch(_arguments)
