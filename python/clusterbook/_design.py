"""Designs: what a cluster should be."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import _core
from ._errors import DesignError, NotFoundError, RefusedError, StateError
from ._gpus import short
from ._html import escape
from ._table import Table, _Judged

SUFFIX = ".cluster.yaml"
FIRST_UID = 2001
FIRST_GID = 3001


class Checks(_Judged):
    """What could be found out about a design before anything is made: ✔ is fine, • is worth knowing, ✘ would make an apply fail."""

    def __init__(self, name: str, rows: Iterable[Mapping[str, str]]) -> None:
        super().__init__(rows, ["what", "detail", "help"], f"Checks of {name}")
        self._name = name

    def raise_if_bad(self) -> Checks:
        """Raises a DesignError that holds every bad check; else gives the table back."""
        if bad := self._bad():
            faults = [{"path": row["what"], "message": row["detail"], "help": row["help"]} for row in bad]
            raise DesignError(
                f"{self._name} can't be applied", faults=faults, hint="correct these and check again"
            )
        return self


class Design:
    """What a cluster should be, checked. Making one changes nothing anywhere.

    Every parameter but `name` may be left out or be `None`, and then has its default. All faults are reported at once, as a
    DesignError.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        provider: str | None = None,
        image: str | None = None,
        architecture: str | None = None,
        power: str | None = None,
        network: Mapping[str, Any] | None = None,
        master: Mapping[str, Any] | None = None,
        groups: Iterable[Mapping[str, Any]] | None = None,
        disks: Iterable[Mapping[str, Any]] | None = None,
        mounts: Iterable[Mapping[str, Any]] | None = None,
        partitions: Iterable[Mapping[str, Any]] | None = None,
        accounting: Mapping[str, Any] | None = None,
        unix_groups: Iterable[Mapping[str, Any]] | None = None,
        users: Iterable[Mapping[str, Any]] | None = None,
        slurm_conf: Mapping[str, Any] | None = None,
        files: Iterable[Mapping[str, Any]] | None = None,
        containers: Iterable[str] | None = None,
        default_modules: Iterable[str] | None = None,
        **parameters: Any,
    ) -> None:
        raw = {
            "name": name,
            "provider": provider,
            "image": image,
            "architecture": architecture,
            "power": power,
            "network": network,
            "master": master,
            "groups": _listed(groups),
            "disks": _listed(disks),
            "mounts": _listed(mounts),
            "partitions": _listed(partitions),
            "accounting": accounting,
            "unix_groups": _listed(unix_groups),
            "users": _listed(users),
            "slurm_conf": slurm_conf,
            "files": _listed(files),
            "containers": _listed(containers),
            "default_modules": _listed(default_modules),
            **parameters,
        }
        given = {key: value for key, value in raw.items() if value is not None or key in parameters}
        self._core = _core.Design.from_parameters(given)
        self._path: Path | None = None
        # What the file held when it was read; it tells whether somebody else has written to it since.
        self._read: str | None = None

    @classmethod
    def _wrap(cls, core: _core.Design, path: Path | None = None, read: str | None = None) -> Design:
        design = cls.__new__(cls)
        design._core, design._path, design._read = core, path, read
        return design

    @classmethod
    def load(cls, name: str | os.PathLike[str]) -> Design:
        """The design of that name: from `NAME.cluster.yaml` in the current folder, else from the file that the cluster was last applied
        from, else as it was last applied. A path to a file is taken as it is."""
        text = os.fspath(name)
        if os.sep in text or text.endswith((".yaml", ".yml")):
            return cls._from_file(Path(text))
        path = Path(text + SUFFIX)
        if path.exists():
            design = cls._from_file(path)
            if design.name != text:
                raise DesignError(
                    f"{path} describes the cluster {design.name}, not {text}",
                    hint=f"rename the file to {design.name}{SUFFIX}, or correct its name",
                )
            return design
        known = {cluster["name"]: cluster for cluster in _core.clusters()}
        if text not in known:
            near = _core.nearest(text, list(known))
            raise NotFoundError(
                f"there is neither a file {path} in {Path.cwd()} nor a cluster {text}",
                hint=f"did you mean {near}?" if near else f'make one: cb.Design(name="{text}", …).save()',
            )
        stored = known[text].get("design_path")
        if stored and Path(stored).exists():
            design = cls._from_file(Path(stored))
            if design.name == text:
                return design
        return cls._wrap(_core.Design.stored(text))

    @classmethod
    def _from_file(cls, path: Path) -> Design:
        text = _read(path)
        return cls._wrap(_core.Design.parse(text, str(path)), path.absolute(), text)

    def save(self, path: str | os.PathLike[str] | None = None, replace: bool = False) -> Path:
        """Writes the design's file, by default `NAME.cluster.yaml`, and gives its path.

        A file that describes the same already is left as it is, comments included. One that describes something else is replaced only
        with `replace=True`, unless it is the file that this design was loaded from and nobody has changed it since.
        """
        target = Path(path) if path is not None else self._path or Path(self.name + SUFFIX)
        target = target.absolute()
        text = self.text
        if target.exists():
            old = _read(target)
            try:
                current = _core.Design.parse(old, str(target))
            except DesignError:
                current = None
            if old == text or (current is not None and current.same(self._core) and self._read is None):
                self._adopt(target, old, current)
                return target
            ours = self._read == old and self._path == target
            if not ours and not replace:
                meanwhile = self._read is not None and self._path == target
                raise RefusedError(
                    f"{target} {'was changed meanwhile' if meanwhile else 'describes something else'}:\n"
                    + _core.diff(old, text).rstrip(),
                    hint="pass replace=True to replace it, or load it and change that",
                )
            if self._read is None and current is not None:
                text = _transplanted(current, self._core)
        _write(target, text)
        self._adopt(target, text, _core.Design.parse(text, str(target)))
        return target

    def _adopt(self, path: Path, text: str, core: _core.Design | None) -> None:
        self._path, self._read = path, text
        if core is not None:
            self._core = core

    @property
    def path(self) -> Path | None:
        """The file that it was loaded from or saved to."""
        return self._path

    @property
    def text(self) -> str:
        """The text of its file."""
        return self._core.text

    def to_dict(self) -> dict[str, Any]:
        """Every parameter with its value, defaults included."""
        return self._core.values()

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.to_dict()["name"]

    @property
    def provider(self) -> str:
        """Where its nodes come from."""
        return self.to_dict()["provider"]

    @property
    def image(self) -> str:
        """The distribution on its nodes."""
        return self.to_dict()["image"]

    @property
    def architecture(self) -> str:
        """The instruction set of its nodes; `native` for that of their flavors."""
        return self.to_dict()["architecture"]

    @property
    def power(self) -> str:
        """`on` or `off`."""
        return self.to_dict()["power"]

    @property
    def network(self) -> dict[str, Any]:
        """Its network: `subnet`, `dns_forwarders`, `dns_domain`."""
        return self.to_dict()["network"]

    @property
    def master(self) -> dict[str, Any]:
        """Its master: `host`, `address`, `flavor`."""
        return self.to_dict()["master"]

    @property
    def groups(self) -> Table:
        """Its groups of compute nodes."""
        return _Groups(
            self.to_dict()["groups"], ["name", "nodes", "flavor", "hosts", "addresses", "features", "gpus"]
        )

    @property
    def disks(self) -> Table:
        """Its shared disks."""
        return Table(self.to_dict()["disks"], ["name", "size", "mount"])

    @property
    def mounts(self) -> Table:
        """Storage of others that its nodes mount."""
        return Table(self.to_dict()["mounts"], ["name", "source", "mount", "type", "options"])

    @property
    def partitions(self) -> Table:
        """Its Slurm partitions."""
        return Table(self.to_dict()["partitions"], ["name", "groups", "default", "max_time", "allow_groups"])

    @property
    def accounting(self) -> dict[str, Any]:
        """Its accounting: `enabled`, `accounts`, `fair_share`."""
        return self.to_dict()["accounting"]

    @property
    def unix_groups(self) -> Table:
        """Its groups that users share, each with its members."""
        values = self.to_dict()
        rows = [
            {
                **group,
                "members": [user["name"] for user in values["users"] if group["name"] in user["groups"]],
            }
            for group in values["unix_groups"]
        ]
        return Table(rows, ["name", "gid", "members"], empty="no shared groups")

    @property
    def users(self) -> Table:
        """Its users. Of a key only its comment is shown; the rows hold all of it."""
        return _Users(self.to_dict()["users"], ["name", "uid", "sudo", "groups", "accounts", "keys"])

    @property
    def slurm_conf(self) -> dict[str, str]:
        """Further keys of slurm.conf."""
        return self.to_dict()["slurm_conf"]

    @property
    def files(self) -> Table:
        """Its edited configuration files. The rows hold their `content`, too."""
        return Table(
            self.to_dict()["files"],
            ["path", "nodes", "mode", "owner", "reload", "restart"],
            empty="no edited files",
        )

    def file(self, path: str, nodes: str | Iterable[str] | None = None) -> dict[str, Any] | None:
        """One edited file; none if the design doesn't name it. `nodes` says which one where several have the path."""
        words = _words(nodes)
        found = [
            file
            for file in self.to_dict()["files"]
            if file["path"] == path and (words is None or file["nodes"] == words)
        ]
        if len(found) > 1:
            raise DesignError(
                f"the design has {len(found)} files {path}",
                hint="say which one by its nodes: " + "; ".join(", ".join(file["nodes"]) for file in found),
            )
        return found[0] if found else None

    @property
    def containers(self) -> list[str]:
        """What its nodes run containers with: `apptainer`, `podman`."""
        return self.to_dict()["containers"]

    @property
    def default_modules(self) -> list[str]:
        """Environment modules that every login shell loads by itself."""
        return self.to_dict()["default_modules"]

    @property
    def nodes(self) -> Table:
        """Every node that it describes."""
        return Table(self._core.nodes(), ["name", "role", "group", "address", "flavor"])

    def check(self) -> Checks:
        """Checks it against the provider and what exists. Changes nothing."""
        return Checks(self.name, _core.check(self._core))

    def set(self, path: str, value: Any) -> Design:
        """Changes one value, for example `set("groups[compute].nodes", 4)`. The file is written by `save`."""
        self._core.set(path, value)
        return self

    def add_user(
        self,
        name: str,
        keys: str | Iterable[str] | None = None,
        uid: int | None = None,
        sudo: bool | None = None,
        groups: str | Iterable[str] | None = None,
        accounts: str | Iterable[str] | None = None,
        fairshare: int | None = None,
        limits: Mapping[str, Any] | None = None,
    ) -> Design:
        """Adds a user with these public SSH keys. Without `uid`, the next number that is free from 2001 on. `groups` are Unix groups that
        the user shares with others; those that aren't in the design yet are added, see `add_unix_group`. `accounts` are the accounts that
        the user's jobs may belong to, the default first; `limits` are Slurm's, such as `{"MaxJobs": 4}`. Of a user who is there already
        what is given is set, so an empty list takes all of them away."""
        given: dict[str, Any] = {}
        for key, words in (("keys", keys), ("groups", groups), ("accounts", accounts)):
            if words is not None:
                given[key] = _words(words)
        if sudo is not None:
            given["sudo"] = sudo
        if fairshare is not None:
            given["fairshare"] = fairshare
        if limits is not None:
            given["limits"] = {key: str(value) for key, value in limits.items()}
        known = next((user for user in self.to_dict()["users"] if user["name"] == name), None)
        if known is not None and uid is not None and uid != known["uid"]:
            raise DesignError(
                f"the user {name} has the uid {known['uid']} already",
                hint="a changed uid would leave the files of the old one behind: remove the user first",
            )
        for group in given.get("groups", []):
            self.add_unix_group(group)
        if known is not None:
            for key, value in given.items():
                if value != known[key]:
                    self._core.set(f"users[{name}].{key}", value)
            return self
        if uid is None:
            uid = self._free_number(FIRST_UID)
        self._core.add_user({"name": name, "uid": uid, "keys": [], "sudo": False, **given})
        return self

    def _free_number(self, first: int) -> int:
        """The first number from here on that is neither a user's nor a group's."""
        values = self.to_dict()
        taken = {user["uid"] for user in values["users"]} | {group["gid"] for group in values["unix_groups"]}
        return next(number for number in range(first, first + len(taken) + 1) if number not in taken)

    def remove_user(self, name: str) -> Design:
        """Removes a user. Their home stays on its disk."""
        self._core.remove_user(name)
        return self

    def add_unix_group(self, name: str, gid: int | None = None) -> Design:
        """Adds a group that users share, for example a project's. Without `gid`, the next number that is free from 3001 on. One that is
        there already is left as it is."""
        known = {group["name"]: group for group in self.to_dict()["unix_groups"]}
        if name not in known:
            group = {"name": name, "gid": self._free_number(FIRST_GID) if gid is None else gid}
            self._core.set("unix_groups", [*known.values(), group])
        elif gid is not None and gid != known[name]["gid"]:
            raise DesignError(
                f"the group {name} has the gid {known[name]['gid']} already",
                hint="a changed gid would leave the files of the old one behind: remove the group first",
            )
        return self

    def remove_unix_group(self, name: str) -> Design:
        """Removes a group and takes it from its users. Files that belong to it stay, with its number."""
        values = self.to_dict()
        known = [group["name"] for group in values["unix_groups"]]
        if name not in known:
            near = _core.nearest(name, known)
            raise NotFoundError(
                f"there is no Unix group {name!r} in the design",
                hint=f"did you mean {near}?" if near else f"there are {', '.join(known) or 'none'}",
            )
        for user in values["users"]:
            if name in user["groups"]:
                left = [group for group in user["groups"] if group != name]
                self._core.set(f"users[{user['name']}].groups", left)
        self._core.set("unix_groups", [group for group in values["unix_groups"] if group["name"] != name])
        return self

    def set_file(
        self,
        path: str,
        content: str,
        *,
        nodes: str | Iterable[str] | None = None,
        mode: str | None = None,
        owner: str | None = None,
        reload: str | Iterable[str] | None = None,
        restart: str | Iterable[str] | None = None,
    ) -> Design:
        """Sets what a configuration file holds on nodes: `all`, `master`, or groups.

        When it changes, the services of `reload` read their configuration again, and those of `restart` are restarted. Of a file that is
        there already, what isn't given stays. Files that follow from other parameters are refused, with the name of the parameter.
        """
        known = self.file(path, nodes)
        file = {
            "path": path,
            "nodes": _words(nodes) or ["all"],
            "mode": "0644",
            "owner": "root:root",
            "reload": [],
            "restart": [],
            **(known or {}),
            "content": content,
        }
        given = {"mode": mode, "owner": owner, "reload": _words(reload), "restart": _words(restart)}
        file.update({key: value for key, value in given.items() if value is not None})
        self._core.set_file(file)
        return self

    def remove_file(self, path: str, nodes: str | Iterable[str] | None = None) -> Design:
        """Stops keeping a file: applying puts back what was there before its first edit."""
        self._core.remove_file(path, _words(nodes))
        return self

    def set_slurm_conf(self, settings: Mapping[str, Any]) -> Design:
        """Sets further keys of slurm.conf; `None` takes a key out. Others stay. Keys that follow from other parameters are refused, with
        the name of the parameter."""
        known = self.slurm_conf
        spelled = {key.lower(): key for key in known}
        changed = {spelled.get(key.lower(), key): value for key, value in settings.items()}
        kept = {key: value for key, value in known.items() if changed.get(key, value) is not None}
        if kept != known:
            self._core.set("slurm_conf", kept)
        for key, value in changed.items():
            if value is not None and known.get(key) != value:
                self._core.set(f"slurm_conf.{key}", value)
        return self

    def roll_back(self, part: str, apply: int, nodes: str | Iterable[str] | None = None) -> Design:
        """Gives a part back what it was with an earlier apply of this cluster: `"slurm_conf"`, or the path of an edited file.

        A negative number counts back over versions that were applied to their end: -1 is the one before the present.
        """
        if apply < 0:
            apply = self._before(part, apply, nodes)
        earlier = Design._wrap(_core.Design.stored(self.name, int(apply)))
        if part == "slurm_conf":
            then = earlier.slurm_conf
            return self.set_slurm_conf({**dict.fromkeys(self.slurm_conf), **then})
        if not part.startswith("/"):
            raise DesignError(
                f"{part} is no part of a design that can be rolled back",
                hint='give "slurm_conf", or the path of an edited file such as "/etc/motd"',
            )
        now, then = self.file(part, nodes), earlier.file(part, nodes)
        if then is not None:
            if now is not None and now["nodes"] != then["nodes"]:
                self._core.remove_file(part, now["nodes"])
            self._core.set_file(then)
        elif now is not None:
            self._core.remove_file(part, now["nodes"])
        return self

    def _before(self, part: str, back: int, nodes: str | Iterable[str] | None) -> int:
        """The apply that many versions before the present one."""
        versions = _core.versions(self.name, part, _words(nodes))
        done = [version["apply"] for version in versions if version["outcome"] == "done"]
        if len(done) > -back:
            return done[back - 1]
        # Before its first version it wasn't there.
        if len(done) == -back and done[0] > 1:
            return done[0] - 1
        raise NotFoundError(
            f"{part} has no version {-back} before the present one", hint=f"{len(done)} were applied in all"
        )

    def diff(self, other: Design | str | os.PathLike[str] | None = None) -> str:
        """What differs from another design, or from its own file as it is now; empty when nothing does."""
        if isinstance(other, Design):
            old = other.text
        else:
            path = Path(other) if other is not None else self._path or Path(self.name + SUFFIX)
            old = _read(path) if path.exists() else ""
        return _core.diff(old, self.text)

    def copy(self) -> Design:
        """One that can be changed without changing this."""
        return Design._wrap(self._core.copy(), self._path, self._read)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Design):
            return self._core.same(other._core)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        return _unpickle, (self.text, self._path, self._read)

    def __repr__(self) -> str:
        groups = ", ".join(f"{group['nodes']} × {group['name']}" for group in self.groups)
        return f"<Design {self.name} on {self.provider}: 1 master, {groups or 'no groups'}>"

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        values = self.to_dict()
        network = values["network"]
        names = " ".join([*network["dns_forwarders"], network["dns_domain"]]).strip()
        facts = {
            "provider": values["provider"],
            "image": values["image"],
            "architecture": values["architecture"],
            "power": values["power"],
            "network": network["subnet"],
            **({"DNS": names} if names else {}),
            "file": self._path or "not saved yet",
        }
        line = " · ".join(f"{escape(key)} <b>{escape(value)}</b>" for key, value in facts.items())
        tables = [self.nodes, self.groups, self.partitions, self.disks, self.mounts, self.users, self.files]
        titles = ["Nodes", "Groups", "Partitions", "Disks", "Mounts", "Users", "Files"]
        parts = [f"<div><b>Design of {escape(self.name)}</b><br>{line}</div>"]
        for title, table in zip(titles, tables, strict=True):
            if len(table):
                table.title = title
                parts.append(f'<div style="margin-top:.6em">{table._repr_html_()}</div>')
        return "".join(parts)


def _words(words: str | Iterable[str] | None) -> list[str] | None:
    """One word or several as a list."""
    return None if words is None else [words] if isinstance(words, str) else list(words)


class _Groups(Table):
    def _cells(self) -> list[list[str]]:
        rows = super()._cells()
        place = self.columns.index("gpus")
        for cells, row in zip(rows, self.rows, strict=False):
            cells[place] = short(row["gpus"])
        return rows


class _Users(Table):
    def _cells(self) -> list[list[str]]:
        rows = super()._cells()
        place = self.columns.index("keys")
        for cells, row in zip(rows, self.rows, strict=False):
            cells[place] = ", ".join(_key_name(key) for key in row["keys"])
        return rows


def _key_name(key: str) -> str:
    parts = key.split(None, 2)
    return parts[2] if len(parts) > 2 else (parts[0] if parts else "")


def _unpickle(text: str, path: Path | None, read: str | None) -> Design:
    return Design._wrap(_core.Design.parse(text, str(path or "the design")), path, read)


def _listed(items: Iterable[Any] | None) -> Any:
    """Generators as lists; anything that is no list of mappings stays as it is, for the checks to say so."""
    return list(items) if isinstance(items, Iterator) else items


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}", hint="give the path of a design file") from None
    except UnicodeDecodeError as error:
        raise DesignError(
            f"{path} is not a text file", causes=[str(error)], hint="give a design file"
        ) from None
    except OSError as error:
        raise StateError(
            f"{path} can't be read",
            kind="configuration",
            causes=[error.strerror or str(error)],
            hint="see to its permissions",
        ) from None


def _write(path: Path, text: str) -> None:
    """All or nothing: whoever reads meanwhile, or after a crash, finds the old text or the new one."""
    real = Path(os.path.realpath(path))
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{real.name}.", suffix=".tmp", dir=real.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            mode = stat.S_IMODE(real.stat().st_mode)
        except FileNotFoundError:
            mode = 0o644
        Path(temporary).chmod(mode)
        Path(temporary).replace(real)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise StateError(
            f"{path} can't be written; what was there before is untouched",
            kind="configuration",
            causes=[error.strerror or str(error)],
            hint="make room, or choose a folder that you may write to",
        ) from None


def _transplanted(old: _core.Design, new: _core.Design) -> str:
    """The old file's text with the new values, so that its comments stay; the new file's where the old can't be edited so."""
    edited = old.copy()
    try:
        _set_differences(edited, "", old.values(), new.values())
    except DesignError:
        return new.text
    return edited.text if edited.same(new) else new.text


def _set_differences(edited: _core.Design, path: str, old: Any, new: Any) -> None:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        for key, value in new.items():
            _set_differences(edited, f"{path}.{key}" if path else key, old[key], value)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and path.count("[") == 0:
        for index, value in enumerate(new):
            _set_differences(edited, f"{path}[{index}]", old[index], value)
    else:
        edited.set(path, new)


Design.__module__ = Checks.__module__ = "clusterbook"
