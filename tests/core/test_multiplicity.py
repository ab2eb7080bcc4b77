import subprocess
import sys
import threading

import pytest

from berrymq import Message, background
from tests.support.waiting import wait_until


def threads_of(bus):
    return [one for one in threading.enumerate() if one.name.startswith(f"berrymq {bus.name} ")]


def test_multiplicity_moves_followers_to_workers_and_back(bus):
    used = []
    bus.follow("a:b", lambda message: used.append(threading.current_thread()))
    bus.twitter("a:b")
    bus.set_multiplicity(2)
    assert bus.multiplicity == 2
    bus.follow("a:b", lambda message: used.append(threading.current_thread()))  # a later one
    bus.twitter("a:b")
    assert bus.drain(10)
    bus.set_multiplicity(0)
    assert bus.multiplicity == 0
    assert threads_of(bus) == []
    bus.twitter("a:b")
    main = threading.current_thread()
    assert [one is main for one in used] == [True, False, False, True, True]


def test_multiplicity_grows_and_shrinks(bus):
    bus.set_multiplicity(1)
    bus.set_multiplicity(4)
    assert len(threads_of(bus)) == 4
    bus.set_multiplicity(2)
    wait_until(lambda: len(threads_of(bus)) == 2, "two leave")
    with pytest.raises(ValueError, match="multiplicity is a number of threads, or 0 for none, not -1"):
        bus.set_multiplicity(-1)


def test_zero_finishes_what_is_queued(bus):
    got, gate = [], threading.Event()
    bus.set_multiplicity(1)
    bus.follow("a:b", lambda message: (gate.wait(10), got.append(message.args[0])))
    for number in range(5):
        bus.twitter("a:b", number)
    threading.Timer(0.05, gate.set).start()
    bus.set_multiplicity(0)
    assert got == [0, 1, 2, 3, 4]


def test_zero_again_is_nothing(bus):
    bus.set_multiplicity(0)
    assert bus.backlog == 0


def test_direct_followers_and_queues_stay_with_the_sender(bus):
    bus.set_multiplicity(1)
    used = []
    bus.follow("a:b", lambda message: used.append(threading.current_thread()), direct=True)
    bus.twitter("a:b")
    assert used == [threading.current_thread()]


def test_errors_of_workers_go_to_the_log(bus, caplog):
    bus.set_multiplicity(1)
    bus.follow("a:b", lambda message: 1 / 0)
    bus.twitter("a:b")
    assert bus.drain(10)
    assert "ZeroDivisionError" in caplog.text


def test_received_messages_are_delivered_on_the_workers(bus):
    bus.set_multiplicity(1)
    used = []
    bus.follow("a:b", lambda message: used.append(threading.current_thread().name))
    assert bus.gateway.deliverer is bus._background._pool
    bus.gateway.receive([Message.make("a:b")])
    assert bus.drain(10)
    assert used == ["berrymq test worker 1"]


def test_draining_waits_for_what_one_deliverer_submits_to_another(bus):
    got = []
    bus.follow("a:b", lambda message: bus.twitter("c:d"))
    bus.follow("c:d", got.append)
    bus.gateway.receive([Message.make("a:b")])  # on the delivery thread
    assert bus.drain(10)
    bus.set_multiplicity(1)
    bus._background._thread.submit_many([(bus.subscriptions()[0], Message.make("a:b"))])
    assert bus.drain(10)
    assert len(got) == 2


def test_draining_continues_while_one_deliverer_submits_to_another(bus):
    got, gate = [], threading.Event()
    bus.set_multiplicity(1)
    pool, thread = bus._background._pool, bus._background._make_thread()
    receiver = bus.follow("c:d", got.append)
    # The pool is found idle first; then the thread gives it something that takes its time.
    slow = bus.follow("x:y", lambda message: gate.wait(10))
    giver = bus.follow("a:b", lambda message: (pool.submit(slow, message), pool.submit(receiver, message)))
    go = threading.Event()
    first = bus.follow("z:z", lambda message: go.wait(10))
    thread.submit_many([(first, Message.make("z:z"))])
    thread.submit_many([(giver, Message.make("a:b"))])
    drain = pool.drain

    def drain_and_go(timeout=None):
        done = drain(timeout)
        go.set()
        wait_until(lambda: not thread.backlog, "the thread is done")
        threading.Timer(0.02, gate.set).start()
        return done

    pool.drain = drain_and_go
    assert bus.drain(10)
    assert len(got) == 1


def test_draining_gives_up(bus):
    gate, entered = threading.Event(), threading.Event()
    bus.follow("a:b", lambda message: (entered.set(), gate.wait(10)))
    bus.gateway.receive([Message.make("a:b")])
    assert entered.wait(10)
    assert bus.backlog == 1
    assert not bus.drain(0.01)
    gate.set()
    assert bus.drain(10)


def test_one_delivery_thread_however_many_ask_for_it(bus):
    made = []
    barrier = threading.Barrier(4)

    def ask():
        barrier.wait(10)
        made.append(bus.gateway.deliverer)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len(set(map(id, made))) == 1
    assert bus._background._make_thread() is made[0]


def test_deliveries_are_finished_at_exit():
    program = """
import time, berrymq

berrymq.set_multiplicity(1)

@berrymq.follow("a:b")
def slow(message):
    time.sleep(0.05)
    print(message.args[0], flush=True)

for number in range(4):
    berrymq.twitter("a:b", number)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=50
    )
    assert done.stdout.split() == ["0", "1", "2", "3"]


def test_but_not_for_ever(bus, monkeypatch, caplog):
    monkeypatch.setattr(background, "EXIT_SECONDS", 0.01)
    gate = threading.Event()
    bus.follow("a:b", lambda message: gate.wait(10))
    bus.gateway.receive([Message.make("a:b")])
    bus._background.finish()
    gate.set()
    assert "shutting down with 1 deliveries unfinished" in caplog.text


def test_after_a_fork_there_are_no_threads_of_the_parent(bus):
    bus.set_multiplicity(2)
    got = []
    bus.follow("a:b", got.append)
    former, thread = bus._background._pool, bus._background._make_thread()
    bus._after_fork()
    assert bus._background._pool is not former
    assert bus._background._thread is None
    assert bus.multiplicity == 2
    bus.twitter("a:b")
    assert bus.drain(10)
    assert len(got) == 1
    former.close()
    thread.close()
