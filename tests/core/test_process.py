import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import warnings

import pytest

from berrymq import process as module
from berrymq.process import ForkSafeLock, Process, Step


@pytest.fixture
def run_file(tmp_path):
    """Run a program from a file, as spawned children need."""

    def run(program, *args):
        file = tmp_path / "program.py"
        file.write_text(textwrap.dedent(program))
        return subprocess.run(
            [sys.executable, str(file), *args], capture_output=True, text=True, check=True, timeout=50
        )

    return run


class Thing:
    def __init__(self):
        self.forked = 0

    def after_fork(self):
        self.forked += 1


def test_what_is_tracked_is_told_while_it_lives(collect):
    thing, other = Thing(), Thing()
    track(thing)
    track(other)
    forking.begin_child()
    assert (thing.forked, other.forked) == (1, 1)
    del other
    collect()
    forking.begin_child()
    assert thing.forked == 2


def test_the_lock_is_reentrant_and_free_after_a_fork():
    lock = ForkSafeLock()
    with lock, lock:
        holder = threading.Thread(target=lock.__enter__)
        lock.reset()
        holder.start()
        holder.join(10)
        assert not holder.is_alive()
        lock.reset()
        lock.__enter__()
        lock.__enter__()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_can_do_everything():
    program = """
        import os, sys, threading, warnings
        from berrymq import Bus, Queue, default_bus, Message

        warnings.simplefilter("ignore", DeprecationWarning)  # threads and a fork: that is the point
        bus = Bus("parent")
        got = []
        bus.follow("a:b", lambda message: got.append(os.getpid()))
        bounded = Queue("a:b", maxsize=10, bus=bus)
        bus.set_multiplicity(2)
        bus.gateway.receive([Message.make("a:b")])
        bus.drain()
        held, forked = threading.Event(), threading.Event()

        def hold():
            with bus._registry.lock, bounded._store._lock, bus._background._pool._lock:
                held.set()
                forked.wait()

        threading.Thread(target=hold, daemon=True).start()
        held.wait()
        child = os.fork()
        if child == 0:
            got.clear()
            bounded.drain()
            bus.follow("c:d", print)
            bus.twitter("a:b")
            bus.drain(10)
            assert got == [os.getpid()], got
            assert bounded.get(timeout=1)
            bus.set_multiplicity(0)
            bus.gateway.receive([Message.make("a:b")])
            assert bus.drain(10)
            assert len(got) == 2
            os._exit(0)
        forked.set()
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], timeout=50, check=False)
    assert done.returncode == 0


def test_where_there_is_no_fork(monkeypatch):
    # In the browser and on Windows there is nothing to register with.
    import importlib.util

    monkeypatch.delattr(os, "register_at_fork", raising=False)
    spec = importlib.util.spec_from_file_location("process_elsewhere", module.__file__)
    elsewhere = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        spec.loader.exec_module(elsewhere)
    assert elsewhere.process
