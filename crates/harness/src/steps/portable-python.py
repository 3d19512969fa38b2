"""Packs this interpreter with ipykernel, and the libraries that both need, into the tar archive that is named.

Unpacked anywhere, `py/bin/python` runs on every machine with the same or a newer C library: nodes have no Python. HOME is
the folder that it will be unpacked in.
"""

import importlib.metadata
import io
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile

target, home = sys.argv[1:]
version = f"python{sys.version_info.major}.{sys.version_info.minor}"
program = os.path.realpath(sys._base_executable)
standard = os.path.realpath(sysconfig.get_path("stdlib"))
unneeded = {"test", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "pydoc_data"}
unneeded |= {"dist-packages", "site-packages"}
# The C library is the node's.
own = re.compile(r"(ld-linux|libc|libm|libdl|librt|libpthread|linux-vdso)\b")


def libraries(paths):
    found = {}
    for path in paths:
        told = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
        for name, place in re.findall(r"(\S+) => (/\S+)", told):
            if not own.match(name):
                found[name] = os.path.realpath(place)
    return found


def needed(name, known):
    """The packages that one needs, by whatever marker."""
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return
    if name in known:
        return
    known[name] = found
    for requirement in found.requires or []:
        if "extra" not in requirement:
            needed(re.match(r"[\w.-]+", requirement).group().lower(), known)


with tarfile.open(target, "w", dereference=True) as archive:

    def text(name, content, mode=0o644):
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content.encode()), mode
        archive.addfile(entry, io.BytesIO(content.encode()))

    extensions = [program]
    for folder, folders, files in os.walk(standard):
        folders[:] = [each for each in folders if each not in unneeded and not each.startswith("config-")]
        for name in files:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not name.startswith("_tkinter"):
                archive.add(path, f"py/lib/{version}/{os.path.relpath(path, standard)}")
                extensions += [path] * name.endswith(".so")
    packages = {}
    needed("ipykernel", packages)
    packages.pop("debugpy", None)
    for package in packages.values():
        for each in package.files or []:
            path = os.path.realpath(each.locate())
            # What is outside of the packages' folder is programs, which nobody starts there.
            if not str(each).startswith("..") and os.path.isfile(path):
                archive.add(path, f"py/lib/{version}/site-packages/{each}")
                extensions += [path] * (".so" in path)
    for name, path in libraries(extensions).items():
        archive.add(path, f"py/libraries/{name}")
    archive.add(program, f"py/bin/{version}")
    start = f'#!/bin/sh\nLD_LIBRARY_PATH={home}/py/libraries exec {home}/py/bin/{version} "$@"\n'
    text("py/bin/python", start, 0o755)
    spec = {
        "argv": [f"{home}/py/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
    }
    text("py/share/jupyter/kernels/python3/kernel.json", json.dumps(spec))
