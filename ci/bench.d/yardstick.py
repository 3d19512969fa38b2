"""The same configuration by Ansible: the tool that such clusters are commonly configured with.

It works on nodes that are made by us from the same images and booted just as far. It gets what it is known to be fastest with:
32 forks, pipelining, connections that stay open, no facts gathered, no interpreter searched. Our images hold no
Python, which its modules need, so Python is installed before the clock starts.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
import tempfile
from pathlib import Path

from program import Clusterbook, Failed, Ran, ran

HERE = Path(__file__).parent

# On the master once; the other nodes take the files from the shared disk, which is far quicker than a package manager on each.
PYTHON_ON_MASTER = """set -eu
export DEBIAN_FRONTEND=noninteractive
dpkg-query -W -f '${Package}\\n' | sort >/tmp/before
apt-get -qq update
apt-get -qq install -y --no-install-recommends python3 >/dev/null
dpkg-query -W -f '${Package}\\n' | sort >/tmp/after
comm -13 /tmp/before /tmp/after | xargs dpkg-query -L | sort -u >/tmp/files
find /usr/lib/python3* >>/tmp/files
tar -C / --no-recursion -czf /home/python.tar.gz -T /tmp/files
"""
PYTHON_ON_COMPUTE = "tar -C / -xzf /home/python.tar.gz && python3 -c 'import json, ssl'"


class Ansible:
    """ansible-core in an environment of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "ansible"
        self._programs = self._folder / "venv" / "bin"
        self._install()

    def _install(self) -> None:
        requirements = HERE / "requirements.txt"
        wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
        mark = self._folder / "installed"
        if mark.exists() and mark.read_text() == wanted:
            return
        print("installing: ansible-core into out/bench")
        self._folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["python3", "-m", "venv", "--clear", str(self._folder / "venv")], check=True)
        pip = [str(self._programs / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "--require-hashes", "-r", str(requirements)], check=True)
        mark.write_text(wanted)

    def version(self) -> str:
        said = subprocess.run(
            [str(self._programs / "ansible"), "--version"], capture_output=True, text=True, check=True
        ).stdout
        return "ansible-core " + said.split("[core ", 1)[1].split("]", 1)[0]

    def prepare(self, clusterbook: Clusterbook, name: str) -> None:
        """Python, a key and an inventory: what it needs before it can begin."""
        clusterbook.on(name, "master", PYTHON_ON_MASTER)
        clusterbook.on(name, "compute", PYTHON_ON_COMPUTE)
        key = self._folder / "key"
        key.unlink(missing_ok=True)
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", str(key)], check=True
        )
        public = key.with_suffix(".pub").read_text().strip()
        hosts = clusterbook.on(
            name,
            "all",
            f"echo '{public}' >>/root/.ssh/authorized_keys; cat /etc/ssh/ssh_host_ed25519_key.pub",
        )
        nodes = clusterbook.nodes(name)
        known = [f"{address} {' '.join(hosts[node].split()[:2])}\n" for node, address in nodes.items()]
        (self._folder / "known_hosts").write_text("".join(known))
        (self._folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (self._folder / "munge.key").chmod(0o600)
        master, *compute = nodes
        lines = ["[controller]", f"{master} ansible_host={nodes[master]}", "", "[compute]"]
        lines += [f"{node} ansible_host={nodes[node]}" for node in compute]
        lines += [
            "",
            "[all:vars]",
            "ansible_user=root",
            "ansible_python_interpreter=/usr/bin/python3",
            f"cluster_name={name}",
            f"munge_key={self._folder / 'munge.key'}",
        ]
        (self._folder / "inventory").write_text("\n".join(lines) + "\n")

    def run(self) -> Ran:
        """Runs the playbook."""
        # Sockets' paths must be short.
        with tempfile.TemporaryDirectory(prefix="bench-") as sockets:
            environment = {
                **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
                "ANSIBLE_CONFIG": str(HERE / "ansible.cfg"),
                "ANSIBLE_HOME": str(self._folder / "home"),
                "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets,
                "ANSIBLE_SSH_COMMON_ARGS": f"-o UserKnownHostsFile={self._folder / 'known_hosts'}",
                "ANSIBLE_PRIVATE_KEY_FILE": str(self._folder / "key"),
                "LC_ALL": "C.UTF-8",
            }
            arguments = [str(self._programs / "ansible-playbook"), "-i", str(self._folder / "inventory")]
            try:
                return ran([*arguments, str(HERE / "playbook.yaml")], HERE, environment)
            finally:
                for socket in Path(sockets).iterdir():
                    subprocess.run(
                        ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "node"],
                        capture_output=True,
                        check=False,
                    )

    @staticmethod
    def changed(run: Ran) -> int:
        """How many changes the playbook says that it made."""
        return sum(
            int(word.removeprefix("changed="))
            for line in run.stdout.split("PLAY RECAP", 1)[-1].splitlines()
            for word in line.split()
            if word.startswith("changed=")
        )

    def idle(self, clusterbook: Clusterbook, name: str, count: int) -> None:
        """Checks that its cluster does what ours does, or the figures would not compare."""
        said = clusterbook.on(name, "master", f"srun -N{count} hostname | sort -u | wc -l")["master"].strip()
        if said != str(count):
            raise Failed(f"the playbook's cluster ran a job on {said} nodes of {count}")
