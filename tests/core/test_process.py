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


@pytest.fixture
def process():
    """A process of its own, as far as callbacks go."""
    return Process()


class Thing:
    def __init__(self, done):
        self.done = done

    def note(self):
        self.done.append(self)


def test_a_forked_child_calls_live_callbacks_in_order(process, collect):
    called = []
    thing, other = Thing(called), Thing(called)
    process.on_fork(thing.note)
    process.on_fork(other.note)
    process.on_fork(lambda: called.append("function"))
    process.after_fork()
    assert called == [thing, other, "function"]
    called.clear()
    del other
    collect()
    process.after_fork()
    assert called == [thing, "function"]


def test_exit_steps_run_in_their_order(process):
    done = []
    process.at_exit(Step.LINKS, lambda: done.append("links"))
    process.at_exit(Step.DELIVERIES, lambda: done.append("deliveries"))
    process.exit()
    assert done == ["deliveries", "links"]


def test_an_exit_handler_counts_once_and_while_its_object_lives(process, collect):
    done = []
    thing, other = Thing(done), Thing(done)
    for one in (thing, other, thing):
        process.at_exit(Step.LINKS, one.note)
    process.exit()
    assert done == [other, thing]
    done.clear()
    del one, other
    collect()
    process.exit()
    assert done == [thing]
    process.after_fork()
    process.exit()
    assert done == [thing, thing]


def test_weak_callbacks_are_collected_silently_at_exit(run_file):
    program = """
from berrymq.process import Step, process

class Thing:
    def note(self): pass

thing = Thing()
thing.thing = thing
process.on_fork(thing.note)
process.at_exit(Step.LINKS, thing.note)
"""
    assert run_file(program).stderr == ""


def test_an_exit_handler_that_fails_does_not_stop_the_others(process, caplog):
    done = []
    process.at_exit(Step.DELIVERIES, lambda: 1 / 0)
    process.at_exit(Step.LINKS, lambda: done.append("links"))
    process.exit()
    assert done == ["links"]
    assert "an exit handler failed" in caplog.text


def test_a_child_of_multiprocessing_runs_the_exit_steps(run_file):
    program = """
import multiprocessing, sys, berrymq

def work():
    berrymq.set_multiplicity(1)
    berrymq.follow("a:b", lambda message: print("delivered", message.args[0], flush=True))
    for number in range(3):
        berrymq.twitter("a:b", number)

if __name__ == "__main__":
    child = multiprocessing.get_context(sys.argv[1]).Process(target=work)
    child.start()
    child.join()
"""
    for method in multiprocessing.get_all_start_methods():
        done = run_file(program, method)
        assert done.stdout.split() == ["delivered", "0", "delivered", "1", "delivered", "2"], method


def test_the_lock_is_reentrant_and_free_after_a_fork():
    lock = ForkSafeLock()
    with lock, lock:
        holder = threading.Thread(target=lock.__enter__)
        lock.after_fork()
        holder.start()
        holder.join(10)
        assert not holder.is_alive()
        lock.after_fork()
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
