"""Shared queues over real processes and a real hub, which are killed."""

import os
import random
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from jupyter_client import KernelManager

import berrymq
from berrymq import Bus, Empty, Queue
from berrymq.bridge.discovery.connection_file import read_hub
from tests.faults.test_hubs import kill_hub, runtime_directory  # noqa: F401 - a fixture
from tests.support.nodes import wait
from tests.support.scripts import PREFACE, run_script, script

KILLS = int(os.environ.get("BERRYMQ_TEST_KILLED_WORKERS", "12"))
"""How many workers are killed, in the middle of a hundred times as many jobs; 100 for a full run."""
KERNEL_KILLS = int(os.environ.get("BERRYMQ_TEST_KILLED_KERNELS", "2"))
"""The same for workers that are kernels."""

pytestmark = pytest.mark.usefixtures("runtime_directory")

WORKER = """
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
seconds = float(sys.argv[2])
berrymq.link(name=f"worker {os.getpid()}")
jobs = berrymq.Queue("job:*", shared=True)
print("ready", flush=True)
for job in jobs:
    os.write(file, b"%d\\n" % job.args[0])
    time.sleep(seconds)
"""


class KernelProcess:
    """A kernel that runs a program as a cell, with the part of `Popen` that is needed here."""

    def __init__(self, stack, text, *arguments):
        self._manager = KernelManager(kernel_name="python3", transport="ipc")
        self._manager.start_kernel(env=os.environ | {"PYTHONPATH": str(Path.cwd())})
        stack.callback(self._manager.cleanup_resources)
        stack.callback(self.kill)
        self._client = self._manager.client()
        self._client.start_channels(hb=False)
        stack.callback(self._client.stop_channels)
        self._client.wait_for_ready(timeout=60)
        self._client.execute(f"{PREFACE}sys.argv[1:] = {arguments!r}\n{text}")

    def kill(self):
        process = self._manager.provisioner.process
        process.kill()
        process.wait()

    def wait_until_ready(self):
        while True:
            message = self._client.get_iopub_msg(timeout=60)
            assert message["msg_type"] != "error", message["content"]
            if message["content"].get("text") == "ready\n":
                return


class Workers:
    """Processes that take jobs, and write down which."""

    def __init__(self, directory, stack):
        self.directory = directory
        self.stack = stack
        self.count = 0

    def start(self, seconds=0.001):
        self.count += 1
        file = self.directory / f"taken-{self.count}"
        process = self.stack.enter_context(script(WORKER, str(file), str(seconds)))
        process.file = file
        return process

    def start_kernel(self, seconds=0.001):
        self.count += 1
        process = KernelProcess(self.stack, WORKER, str(self.directory / f"taken-{self.count}"), str(seconds))
        process.file = self.directory / f"taken-{self.count}"
        return process

    @staticmethod
    def taken_by(process):
        """The jobs that a worker has taken."""
        return [int(line) for line in process.file.read_text().split()] if process.file.exists() else []

    def wait_until_taken(self, count, *processes):
        """Wait until workers have noted that many jobs; an empty queue may be one that none has reached."""
        wait(lambda: sum(len(self.taken_by(process)) for process in processes) == count, "all are noted", 60)


@pytest.fixture
def workers(tmp_path):
    with ExitStack() as stack:
        yield Workers(tmp_path, stack)


@pytest.fixture
def sender():
    bus = Bus("sender")
    link = berrymq.link(bus=bus, name="sender")
    bus.watch = Queue("job:*", shared=True, bus=bus)
    yield bus
    link.close(flush=0)
    bus.close()


def wait_for_next(former):
    wait(lambda: (info := read_hub()) is not None and info.pid != former.pid, "the next hub", 30)


def ready(*processes):
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.stderr.read()


class TestFair:
    def test_equal_workers_get_equal_parts(self, workers, sender):
        processes = [workers.start(0.002) for _ in range(3)]
        ready(*processes)
        for number in range(1_500):
            sender.twitter("job:add", number)
        workers.wait_until_taken(1_500, *processes)
        assert sorted(job for process in processes for job in workers.taken_by(process)) == list(range(1_500))
        counts = [len(workers.taken_by(process)) for process in processes]
        assert min(counts) >= 450, counts
        assert max(counts) <= 550, counts

    def test_a_slow_worker_gets_what_it_can_do_and_holds_nothing_up(self, workers, sender):
        slow, *fast = [workers.start(seconds) for seconds in (0.3, 0.002, 0.002)]
        ready(slow, *fast)
        for number in range(500):
            sender.twitter("job:add", number)
        workers.wait_until_taken(500, slow, *fast)
        assert 1 <= len(workers.taken_by(slow)) <= 50


class TestKilled:
    @pytest.mark.timeout(max(120, 6 * KILLS))
    def test_what_a_killed_worker_had_not_taken_is_given_to_others(self, workers, sender, record_property):
        alive = [workers.start(0.004) for _ in range(3)]
        ready(*alive)
        numbers = kill_in_the_middle(KILLS, alive, workers.start, 0.004, sender)
        record_property("jobs", numbers)

    @pytest.mark.timeout(max(120, 20 * KERNEL_KILLS))
    def test_and_so_it_is_with_kernels(self, workers, sender, record_property):
        alive = [workers.start_kernel(0.02) for _ in range(2)]
        for kernel in alive:
            kernel.wait_until_ready()
        numbers = kill_in_the_middle(KERNEL_KILLS, alive, workers.start_kernel, 0.02, sender)
        record_property("jobs", numbers)


def kill_in_the_middle(kills, alive, start, seconds, sender):
    """Kill workers while they take jobs, and start others; return what became of the jobs.

    A job is lost only with a worker that had taken it: at most one for each that was killed. It is taken
    twice only if the report of the first had not reached the hub.
    """
    chance, count, killed = random.Random(7), 100 * kills, []
    for number in range(count):
        sender.twitter("job:add", number)
    for turn in range(kills):
        alive.append(start(seconds))
        # A kill falls into the middle of the work wherever it has got to, however fast the machine is.
        left = count - (turn + 1) * count // (kills + 1)
        wait(lambda left=left: sender.watch.qsize() <= left, "some more are taken", 60)
        time.sleep(chance.random() * 0.02)
        victim = alive.pop(chance.randrange(len(alive)))
        victim.kill()
        killed.append(victim)
    wait(sender.watch.empty, "all are taken", 120)

    def taken_by(processes):
        return [job for process in processes for job in Workers.taken_by(process)]

    wait(lambda: len({*taken_by(killed), *taken_by(alive)}) >= count - kills, "all are noted")
    by_killed, by_alive = taken_by(killed), taken_by(alive)
    together = {*by_killed, *by_alive}
    numbers = {
        "jobs": count,
        "killed workers": kills,
        "taken by workers that lived": len(by_alive),
        "taken by killed workers": len(by_killed),
        "lost": count - len(together),
        "taken twice": len(by_killed) + len(by_alive) - len(together),
    }
    assert len(by_alive) == len(set(by_alive)), numbers
    assert numbers["lost"] <= kills, numbers
    assert numbers["taken twice"] <= 10 * kills, numbers
    print(numbers)
    return numbers


class TestHubKilled:
    def test_the_next_hub_has_the_group_and_what_waited_is_said_to_be_lost(self, sender, caplog):
        other = Bus("other")
        link = berrymq.link(bus=other, name="other")
        theirs = Queue("job:*", shared=True, bus=other)
        for number in range(100):
            sender.twitter("job:add", number)
        berrymq.flush(10)
        assert theirs.get(timeout=5).args == (0,)
        wait(lambda: sender.watch.stats().size == 99, "the depth is told")
        former = kill_hub()
        wait_for_next(former)
        wait(
            lambda: "about 99 jobs waited in 'job:*' at the hub that has ended, and are lost" in caplog.text,
            "it is said",
        )
        sender.twitter("job:add", 1_000)
        assert theirs.get(timeout=20).args == (1_000,)
        wait(sender.watch.empty, "the hub knows")
        link.close()
        other.close()

    def test_no_job_is_taken_twice_while_the_hub_is_killed_under_load(self, sender):
        """What was acknowledged and not handed over may be lost; every other is taken once."""
        buses = [Bus(f"worker {number}") for number in range(2)]
        links = [berrymq.link(bus=bus, name=bus.name) for bus in buses]
        queues = [Queue("job:*", shared=True, bus=bus) for bus in buses]
        taken, over = [], threading.Event()

        def take(queue):
            while not over.is_set():
                with suppress(Empty):
                    taken.append(queue.get(timeout=0.1).args[0])

        threads = [threading.Thread(target=take, args=(queue,)) for queue in queues]
        for thread in threads:
            thread.start()
        number = 0
        for _ in range(2):
            for _ in range(20):
                for _ in range(50):
                    sender.twitter("job:add", number)
                    number += 1
                time.sleep(0.01)
            former = kill_hub()
            for _ in range(100):
                sender.twitter("job:add", number)
                number += 1
            wait_for_next(former)
            wait(lambda: all(link.state == "linked" for link in links), "all are back", 30)
        sender.twitter("job:end", number)
        wait(lambda: number in taken, "the last one", 30)
        over.set()
        for thread in threads:
            thread.join(20)
        assert len(taken) == len(set(taken))
        assert len(taken) > number // 2
        for link, bus in zip(links, buses, strict=True):
            link.close()
            bus.close()


class TestProcesses:
    def test_a_forked_child_has_a_queue_of_its_own_and_its_parent_goes_on(self, sender):
        done = run_script(
            """
berrymq.link(name="parent")
jobs = berrymq.Queue("job:*", shared=True)
berrymq.twitter("job:add", 1)
if not os.fork():
    berrymq.twitter("job:add", 2)
    print(jobs.get(timeout=10).args, jobs.qsize(), flush=True)
    berrymq.link(name="child")
    print(jobs.qsize(), flush=True)
    os._exit(0)
os.wait()
print(jobs.get(timeout=10).args, jobs.qsize(), flush=True)
"""
        )
        assert done.stdout.splitlines() == ["(2,) 0", "1", "(1,) 0"], done.stderr

    def test_a_process_that_ends_gives_back_at_once(self, sender):
        for number in range(10):
            sender.twitter("job:add", number)
        done = run_script(
            """
berrymq.link(name="worker")
jobs = berrymq.Queue("job:*", shared=True)
print(jobs.get(timeout=10).args)
jobs._store.membership._ask(now=5)
print(len(jobs._store.items))
"""
        )
        assert done.stdout.splitlines() == ["(0,)", "5"], done.stderr
        assert [sender.watch.get(timeout=5).args[0] for _ in range(9)] == list(range(1, 10))

    def test_arrays_outlive_their_sender_and_a_worker_that_had_them(self, sender):
        sent = run_script(
            """
import numpy as np
with berrymq.link(name="gone") as link:
    for number in range(10):
        berrymq.twitter("job:add", np.full((100, 200), number, np.float64))
    link.flush(10)
print("sent")
"""
        )
        assert sent.stdout.splitlines() == ["sent"], sent.stderr
        done = run_script(
            """
berrymq.link(name="worker")
jobs = berrymq.Queue("job:*", shared=True)
print(jobs.get(timeout=10).args[0].sum())
jobs._store.membership._ask(now=5)
print(len(jobs._store.items), flush=True)
os._exit(0)
"""
        )
        assert done.stdout.splitlines() == ["0.0", "5"], done.stderr
        left = [sender.watch.get(timeout=5).args[0] for _ in range(9)]
        assert [array.shape for array in left] == [(100, 200)] * 9
        assert [float(array.min()) for array in left] == [float(array.max()) for array in left]
        assert sorted(float(array.max()) for array in left) == list(map(float, range(1, 10)))
