"""The exceptions, each with what to catch it for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

HERE = Path(__file__).parent


def _public(cls: type) -> type:
    cls.__module__ = "clusterbook"
    return cls


class _Told:
    """What every error of ours knows: the story, told once, and what to do next."""

    message: str
    causes: list[str]
    kind: str
    hint: str | None
    failures: list[dict[str, Any]]

    def _fill(
        self,
        message: str,
        kind: str,
        hint: str | None,
        causes: Sequence[str],
        failures: Sequence[Mapping[str, Any]],
    ) -> None:
        self.message = message
        self.causes = list(causes)
        self.kind = kind
        self.hint = hint
        self.failures = [dict(failure) for failure in failures]

    def _details(self) -> list[str]:
        return _failure_lines(self.failures)

    def __str__(self) -> str:
        text = ": ".join([self.message, *self.causes])
        lines = [text, *self._details()]
        if self.hint:
            lines.append(f"help: {self.hint}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from ._html import escape

        return f"<pre>{escape(str(self))}</pre>"

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the lines of the notebook, and not those in here, which tell a notebook's author nothing. All of them are
        in `__traceback__`; `%xmode Verbose` shows them, and a bug always does."""
        from ._html import shell

        formatter = shell().InteractiveTB
        everything = self.kind == "bug" or formatter.mode == "Verbose"
        trace = self.__traceback__ if everything else _without_ours(self.__traceback__)
        return formatter.structured_traceback(type(self), self, trace)


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    """The same traceback without the frames of this package."""
    if trace is None:
        return None
    rest = _without_ours(trace.tb_next)
    if Path(trace.tb_frame.f_code.co_filename).parent == HERE:
        return rest
    return TracebackType(rest, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)


def _failure_lines(failures: Sequence[Mapping[str, Any]], most: int = 12) -> list[str]:
    lines = []
    for failure in failures[:most]:
        doing = failure.get("doing")
        where = f"{failure.get('what', '')} ({doing})" if doing else str(failure.get("what", ""))
        lines.append(f"  ✘ {where}: {failure.get('message', '')}")
    if len(failures) > most:
        lines.append(f"  … and {len(failures) - most} more; all of them are in .failures")
    return lines


@_public
class ClusterbookError(_Told, Exception):
    """Anything that clusterbook reports. Catch it to catch all of them.

    `kind` says whose it is: `yours`, `configuration`, `provider`, `node` or `bug`. `hint` says what to do next. `failures` lists what
    failed, by node or resource, each with `what`, `doing`, `message` and `hint`.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str = "yours",
        hint: str | None = None,
        causes: Sequence[str] = (),
        failures: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(message)
        self._fill(message, kind, hint, causes, failures)


@_public
class DesignError(ClusterbookError):
    """The design is not sound, or can't be edited so. Catch it to correct parameters: `faults` holds all of them, each with `path`,
    `message` and `help`."""

    faults: list[dict[str, str]]

    def __init__(
        self,
        message: str,
        *,
        kind: str = "yours",
        hint: str | None = None,
        causes: Sequence[str] = (),
        failures: Sequence[Mapping[str, Any]] = (),
        faults: Sequence[Mapping[str, str]] = (),
    ) -> None:
        super().__init__(message, kind=kind, hint=hint, causes=causes, failures=failures)
        self.faults = [dict(fault) for fault in faults]

    def _details(self) -> list[str]:
        lines = []
        for fault in self.faults:
            line = ": ".join(part for part in (fault.get("path"), fault.get("message")) if part)
            if fault.get("help"):
                line += f" ({fault['help']})"
            lines.append(f"  ✘ {line}")
        return lines + super()._details()


@_public
class NotFoundError(ClusterbookError, LookupError):
    """A cluster, node, group or job of that name isn't there. Catch it to make one or to correct the name."""


@_public
class NameInUseError(ClusterbookError):
    """The cluster's name is already used by something that isn't this cluster. Catch it to choose another name."""


@_public
class StateError(ClusterbookError):
    """The state folder or a design file can't be read or written. Catch it to point `CLUSTERBOOK_HOME` elsewhere or to make room."""


@_public
class LockedError(ClusterbookError):
    """Somebody else is changing the cluster at the moment; the text says who, where and since when. Catch it to try again later."""


@_public
class ProviderError(ClusterbookError):
    """The provider can't be used, or can't do what the design needs. Catch it to try later or with another provider."""


@_public
class RefusedError(ClusterbookError):
    """What was asked for would destroy what it must not, or isn't confirmed. Nothing was changed."""


@_public
class NodeError(ClusterbookError):
    """Something failed on nodes or single resources while the others went on: `failures` lists them. Catch it to mend the cause and
    apply again, which goes on from there."""


@_public
class CommandError(ClusterbookError):
    """A command ran on a node and ended with another status than 0. `results` has what every node answered; `result` is the first that
    failed. Pass `check=False` to get the results instead."""

    def __init__(
        self,
        message: str,
        *,
        kind: str = "node",
        hint: str | None = None,
        causes: Sequence[str] = (),
        failures: Sequence[Mapping[str, Any]] = (),
        results: Any = None,
        result: Any = None,
    ) -> None:
        super().__init__(message, kind=kind, hint=hint, causes=causes, failures=failures)
        self.results = results
        self.result = result


@_public
class SlurmError(ClusterbookError):
    """Slurm refused, or didn't answer. Catch it to correct a job, or to look at the controller."""


@_public
class JobError(ClusterbookError):
    """A job that was waited for ended otherwise than well; `job` is its last state. Pass `check=False` to get the job instead."""

    def __init__(
        self,
        message: str,
        *,
        kind: str = "yours",
        hint: str | None = None,
        causes: Sequence[str] = (),
        failures: Sequence[Mapping[str, Any]] = (),
        job: Any = None,
    ) -> None:
        super().__init__(message, kind=kind, hint=hint, causes=causes, failures=failures)
        self.job = job


@_public
class SecretError(ClusterbookError):
    """A secret can't be read, or can't be masked and therefore isn't revealed."""


@_public
class BugError(ClusterbookError):
    """Something that can't happen did. Report it with its text."""


@_public
class Interrupted(_Told, KeyboardInterrupt):
    """The stop button or Ctrl-C was pressed. It is a `KeyboardInterrupt`, so `except Exception` doesn't swallow it. What was done is
    kept; applying again goes on from there."""

    def __init__(
        self,
        message: str = "stopped",
        *,
        kind: str = "interrupted",
        hint: str | None = None,
        causes: Sequence[str] = (),
        failures: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(message)
        self._fill(message, kind, hint, causes, failures)
