"""Jobs with large arrays: they come out of a shared queue equal, whichever member takes them."""

import numpy as np
import pytest

from berrymq import Queue
from berrymq.bridge.buffers import is_available
from berrymq.bridge.payload import Opaque
from berrymq.bridge.protocol.offers import Offers
from berrymq.bridge.remote_queue import RemoteQueue
from tests.support.nodes import Nodes, wait

ARRAYS = [np.arange(100_000, dtype=np.float64).reshape(100, 1_000) + number for number in range(4)]


@pytest.fixture
def nodes(tmp_path, monkeypatch):
    monkeypatch.setenv("BERRYMQ_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    with Nodes() as nodes:
        yield nodes


@pytest.fixture
def hub(nodes):
    return nodes.hub()


def node_on(nodes, hub, name):
    node = nodes.add(name, listening=False)
    node.connector = nodes.link(node, hub)
    return node


def group_of(hub):
    return hub.groups._known[None, "job:*"].group


def taken_from(queue, count):
    return {message.args[0]: message.args[1] for message in (queue.get(timeout=5) for _ in range(count))}


def assert_equal(taken):
    assert sorted(taken) == list(range(len(ARRAYS)))
    for number, array in taken.items():
        np.testing.assert_array_equal(array, ARRAYS[number])
        assert array.dtype == ARRAYS[number].dtype


def test_arrays_arrive_equal(nodes, hub):
    sender, worker = [node_on(nodes, hub, name) for name in ("sender", "worker")]
    queue = Queue("job:*", shared=True, bus=worker.bus)
    nodes.settle()
    for number, array in enumerate(ARRAYS):
        sender.bus.twitter("job:add", number, array)
        sender.bus.twitter("job:note", 10 + number, None)
    taken = taken_from(queue, 2 * len(ARRAYS))
    assert list(taken) == [0, 10, 1, 11, 2, 12, 3, 13]
    assert_equal({number: array for number, array in taken.items() if number < 10})


def test_a_worker_changes_its_own_copy(nodes, hub):
    worker = node_on(nodes, hub, "worker")
    queue = Queue("job:*", shared=True, bus=worker.bus)
    copy = Queue("job:*", bus=node_on(nodes, hub, "other").bus)
    nodes.settle()
    worker.bus.twitter("job:add", ARRAYS[0])
    taken = queue.get(timeout=5).args[0]
    taken[:] = 0
    np.testing.assert_array_equal(copy.get(timeout=5).args[0], ARRAYS[0])


def test_what_a_closed_worker_had_goes_to_another(nodes, hub):
    sender, one, other = [node_on(nodes, hub, name) for name in ("sender", "one", "other")]
    first, second = [Queue("job:*", shared=True, bus=node.bus) for node in (one, other)]
    nodes.settle()
    for number, array in enumerate(ARRAYS):
        sender.bus.twitter("job:add", number, array)
    wait(lambda: group_of(hub).depth == len(ARRAYS), "they are there")
    assert first.qsize() == len(ARRAYS)
    assert one.shared._members["job:*"].fetch(3)
    assert group_of(hub).held == 3
    sender.connector.close(5)
    first.close()
    assert_equal(taken_from(second, len(ARRAYS)))


def test_the_next_jobs_are_shown_with_their_arrays(nodes, hub):
    worker = node_on(nodes, hub, "worker")
    queue = Queue("job:*", shared=True, bus=worker.bus)
    for number, array in enumerate(ARRAYS):
        worker.bus.twitter("job:add", number, array)
        worker.bus.twitter("job:add", "small", None)
    wait(lambda: group_of(hub).depth == 2 * len(ARRAYS), "they are there")
    np.testing.assert_array_equal(queue.peek().args[1], ARRAYS[0])
    shown = [message.args for message in queue.waiting(100)]
    assert [args[0] for args in shown] == [0, "small", 1, "small", 2, "small", 3, "small"]
    assert_equal({args[0]: args[1] for args in shown if args[0] != "small"})


def test_a_backlog_goes_to_the_group_and_back(nodes, hub):
    one = nodes.add("one", listening=False)
    queue = Queue("job:*", shared=True, bus=one.bus)
    for number, array in enumerate(ARRAYS):
        one.bus.twitter("job:add", number, array)
    nodes.link(one, hub)
    wait(lambda: group_of(hub).depth == len(ARRAYS), "they wait at the hub")
    assert_equal(taken_from(queue, len(ARRAYS)))


def test_a_client_without_a_link_takes_them(nodes, hub):
    sender = node_on(nodes, hub, "sender")
    queue = RemoteQueue(nodes.place(hub), "job:*", ttl=10, name="client", shared=True)
    nodes.settle()
    sender.bus.twitter("job:add", ARRAYS[0])
    np.testing.assert_array_equal(queue.get(timeout=5).args[0], ARRAYS[0])
    queue.close()


@pytest.mark.parametrize("pulls", [True, False])
def test_they_cross_without_shared_memory(nodes, hub, monkeypatch, pulls):
    if not pulls:
        monkeypatch.setattr(
            Offers, "pulls", property(lambda self: False, lambda self, value: None), raising=False
        )
    monkeypatch.setattr("berrymq.bridge.node.memories.Memories.can_open", staticmethod(lambda _: False))
    sender, worker = [node_on(nodes, hub, name) for name in ("sender", "worker")]
    queue = Queue("job:*", shared=True, bus=worker.bus)
    nodes.settle()
    for number, array in enumerate(ARRAYS):
        sender.bus.twitter("job:add", number, array)
    wait(lambda: group_of(hub).depth == len(ARRAYS), "they are there")
    shown = queue.peek().args[1]
    assert isinstance(shown, Opaque)
    assert "waits at the hub" in repr(shown)
    held = hub.memories.pool.held_bytes if pulls and is_available() else hub.budget.held
    assert held > sum(array.nbytes for array in ARRAYS)
    assert_equal(taken_from(queue, len(ARRAYS)))
    wait(lambda: hub.budget.held < ARRAYS[0].nbytes, "they are released")
