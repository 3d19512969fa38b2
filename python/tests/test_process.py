"""Time, signals, threads and forks."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import clusterbook as cb
import pytest
from clusterbook import _core

from conftest import Script, World

Starter = Callable[[str], Script]

SAVE = """
    import clusterbook as cb, time, sys
    design = cb.Design(name="demo", provider="memory", groups=[{"name": "compute", "nodes": 3}])
    design.save()
    cluster = cb.open("demo")
"""


def test_the_first_press_stops_at_a_safe_point(make_world: Callable[..., World], script: Starter) -> None:
    make_world(latency=0.4)
    running = script(
        SAVE
        + """
    try:
        cluster.apply()
    except cb.Interrupted as error:
        print("INTERRUPTED", error.message, "|", error.hint)
    cluster.apply()
    print("LEFT", len(cluster.plan()))
    """
    )
    running.await_line("✔")
    running.press()
    rest = running.end(60)
    assert "stopping at the next safe point" in rest
    assert "INTERRUPTED stopped at a safe point | apply again" in rest
    assert "LEFT 0" in rest


def test_the_second_press_stops_now(world: World, script: Starter) -> None:
    running = script(
        SAVE
        + """
    cluster.check()
    print("READY")
    input()
    print("CALLING")
    try:
        cluster.apply()
    except KeyboardInterrupt as error:
        print("INTERRUPTED", error.message)
    """
    )
    running.await_frozen_call(world)
    running.press()
    running.await_line("safe point")
    running.press()
    rest = running.end()
    assert "stopping now" in rest and "INTERRUPTED stopped at once" in rest


def test_what_changes_nothing_stops_at_once(world: World, script: Starter) -> None:
    running = script(
        SAVE
        + """
    cluster.plan()
    print("READY")
    input()
    print("CALLING")
    try:
        cluster.plan()
    except cb.Interrupted as error:
        print("INTERRUPTED", error.message, error.kind)
    """
    )
    running.await_frozen_call(world)
    running.press()
    assert "INTERRUPTED stopped interrupted" in running.end()


def test_another_signal_s_exception_ends_the_call_too(world: World, script: Starter) -> None:
    running = script(
        SAVE
        + """
    import signal
    class Enough(Exception): pass
    def handler(*_): raise Enough("enough")
    signal.signal(signal.SIGALRM, handler)
    cluster.check()
    print("READY")
    input()
    print("CALLING")
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        cluster.plan()
    except Enough as error:
        print("ENDED", error)
    """
    )
    running.await_frozen_call(world)
    assert "ENDED enough" in running.end()


def _cluster() -> cb.Cluster:
    return cb.open(cb.Design(name="demo", provider="memory", groups=[{"name": "compute", "nodes": 3}]))


def test_the_interpreter_is_free_meanwhile(world: World) -> None:
    cluster = _cluster()
    plans: list[int] = []
    thread = threading.Thread(target=lambda: plans.append(len(cluster.plan())))
    world.freeze()
    # A call that held the interpreter would let no turn end before another process thaws the world, and then be over.
    with subprocess.Popen(
        ["sh", "-c", f"sleep 30; kill -CONT {world.process.pid}"], start_new_session=True
    ) as other:
        thread.start()
        for _ in range(20):
            time.sleep(0.005)
        free = thread.is_alive()
        world.thaw()
        thread.join()
        os.killpg(other.pid, signal.SIGKILL)
    assert free
    assert len(plans) == 1


def test_another_thread_than_the_first(make_world: Callable[..., World]) -> None:
    make_world(latency=0.3)
    cluster = _cluster()
    caught: list[BaseException] = []

    def work() -> None:
        try:
            cluster.apply()
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.5)
    # Threads get no signals; this is how notebooks stop them.
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(KeyboardInterrupt)
    )
    thread.join(30)
    assert [type(error) for error in caught] == [cb.Interrupted]
    cluster.apply(progress=False)
    assert not cluster.plan()


def test_several_threads_at_once(world: World) -> None:
    cluster = _cluster()
    cluster.apply(progress=False)
    plans: list[int] = []
    threads = [threading.Thread(target=lambda: plans.append(len(cluster.plan()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert plans == [0] * 8


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_starts_anew(world: World) -> None:
    cluster = _cluster()
    cluster.apply(progress=False)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            cluster.scale("compute", 4)
            code = 0 if len(cb.clusters()) == 1 and not cluster.plan() else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(cb.open("demo").nodes) == 5
    assert not cb.open("demo").plan()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_in_the_middle_of_a_call(make_world: Callable[..., World]) -> None:
    make_world(latency=0.2)
    cluster = _cluster()
    thread = threading.Thread(target=cluster.apply, kwargs={"progress": False})
    thread.start()
    time.sleep(0.3)
    children = []
    for _ in range(5):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if len(cb.clusters()) <= 1 else 2
            finally:
                os._exit(code)
        children.append(child)
        time.sleep(0.1)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 5
    thread.join()
    assert not cluster.plan()


def test_a_broken_display_stops_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    design = cb.Design(name="demo", provider="memory")
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    calls: list[int] = []

    def sink(_: object) -> None:
        calls.append(1)
        raise ValueError("no paper left")

    _core.apply(design._core, None, None, sink)
    assert len(calls) == 1 and str(told[0].exc_value) == "no paper left"
    assert not cb.open("demo").plan()


def test_another_home_is_another_engine(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    _cluster().apply(progress=False)
    assert len(cb.clusters()) == 1
    monkeypatch.setenv("CLUSTERBOOK_HOME", str(tmp_path_factory.mktemp("other")))
    assert len(cb.clusters()) == 0
    with pytest.raises(cb.NameInUseError):
        _cluster().plan()
