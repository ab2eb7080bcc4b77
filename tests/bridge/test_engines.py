"""What users rely on over any link: the same tests over the hub, over NATS, and over hubs on NATS."""

import asyncio
import itertools
import threading
from contextlib import suppress

import numpy as np
import pytest

import berrymq
from berrymq import AskTimeout, Bus, Empty, LinkError, Queue
from berrymq.bridge import RemoteError
from berrymq.bridge.nats.address import NatsAddress
from berrymq.bridge.nats.upstream import Upstream
from berrymq.bridge.node.memories import Memories
from tests.support.nats_server import NatsServer, leave
from tests.support.nodes import Nodes, wait
from tests.support.recorder import Recorder, read_past

ODD = [
    "日本語" * 80 + ":" + "語" * 255,
    "with.dots:and.more",
    "with space:and  two",
    ">:$SYS",
    "100%:%2A",
    "name@na.me sp>ace:action",
]


@pytest.fixture(scope="module")
def server():
    with NatsServer("-js") as server:
        yield server


class Recording(Recorder):
    """Records messages, except those of `Engine.settle`."""

    def _take(self, message):
        if not message.name.startswith("settled"):
            super()._take(message)


class Engine:
    """Links buses over one kind of network."""

    rooms = itertools.count(1)

    def __init__(self, urls):
        self._urls = urls
        self._room = f"room {next(self.rooms)}"  # what a test stores on NATS is not there for the next one
        self._buses = []
        self._settled = 0

    def join(self, name, room=None):
        """Return a bus of its own and its link."""
        bus = Bus(name)
        return bus, self.link(bus, name, room)

    def link(self, bus, name, room=None):
        """Link a bus; on another hub each time, if there are several."""
        self._buses.append(bus)
        url, access_token = self._urls[len(self._buses) % len(self._urls)]
        room = room or self._room
        return berrymq.link(url, access_token=access_token, name=name, room=room, bus=bus, timeout=20)

    def settle(self, *buses):
        """Wait until what these buses follow is known to all of them."""
        self._settled += 1
        identifier = f"settled{self._settled}:ask"
        for bus in buses:
            bus.follow(identifier, lambda _: True)
        for bus in buses:
            wait(lambda bus=bus: len(bus.ask(identifier, timeout=5)) >= len(buses), "all answer", 20)


@pytest.fixture(params=["a hub", "NATS", "hubs on NATS"])
def engine(request, server):
    with Nodes() as nodes:
        upstreams = []
        if request.param == "NATS":
            yield Engine([(server.url, None)])
        else:
            hubs = [nodes.hub() for _ in range(1 if request.param == "a hub" else 2)]
            if request.param == "hubs on NATS":
                for hub in hubs:
                    upstream = Upstream(hub, NatsAddress.parse(server.url))
                    hub.on_peers_changed = upstream.update
                    upstreams.append(upstream)
            servers = [nodes.servers[hub] for hub in hubs]
            yield Engine([(one.url, one.access_token) for one in servers])
        for link in berrymq.links():
            link.close(flush=0)
        for upstream in upstreams:
            leave(nodes, upstream)


def test_messages_of_all_identifiers_arrive_once_and_in_order(engine):
    (one, link), (two, _), (three, _) = (engine.join(name) for name in ("one", "two", "three"))
    recorders = [Recording(bus, "*:*") for bus in (two, three)]
    engine.settle(one, two, three)
    for number in range(3000):
        one.twitter(f"test{number % 7}:run{number % 3}", number)
    for recorder in recorders:
        assert recorder.wait_for(3000) == list(range(3000))
    assert link.flush(5)
    assert link.stats().dropped == 0


def test_many_senders_and_receivers_each_in_order(engine):
    joined = [engine.join(f"node{number}") for number in range(4)]
    recorders = [Recording(bus) for bus, _ in joined]
    engine.settle(*[bus for bus, _ in joined])
    for number in range(500):
        for bus, _ in joined:
            bus.twitter("test:run", number)
    for recorder in recorders:
        recorder.wait_for(2000)
        sources = {message.source for message in recorder.messages}
        assert len(sources) == 4
        assert all(recorder.of(source) == list(range(500)) for source in sources)


@pytest.mark.parametrize("identifier", ODD)
def test_identifiers_arrive_as_they_are(engine, identifier):
    (one, _), (two, _) = engine.join("one"), engine.join("two")
    exact, all_of_it = (
        Recording(two, identifier),
        Recording(two, "*@na.me sp>ace:*" if "@" in identifier else "*:*"),
    )
    engine.settle(one, two)
    one.twitter(identifier, 1)
    exact.wait_for(1)
    all_of_it.wait_for(1)
    assert exact.messages[0].id == all_of_it.messages[0].id == str(berrymq.Identifier.parse(identifier))


def test_wildcards_on_either_side_and_namespaces(engine):
    (one, _), (two, _) = engine.join("one"), engine.join("two")
    names = ["motor:stop", "motor:*", "*:stop", "*:*", "motor:go", "motor@lab:stop"]
    recorders = {name: Recording(two, name) for name in names}
    engine.settle(one, two)
    one.twitter("*:stop", "all")
    one.twitter("motor@lab:stop", "lab")
    one.twitter("motor:stop", "motor")
    recorders["motor:stop"].wait_for(2)
    got = {name: recorder.values for name, recorder in recorders.items()}
    assert got == {
        "motor:stop": ["all", "motor"],
        "motor:*": ["all", "motor"],
        "*:stop": ["all", "motor"],
        "*:*": ["all", "motor"],
        "motor:go": [],
        "motor@lab:stop": ["lab"],
    }


def test_local_names_stay_and_rooms_are_apart(engine):
    (one, _), (two, _), (other, _) = engine.join("one"), engine.join("two"), engine.join("x", room="lab")
    here, there = Recording(two, "*:*"), Recording(other, "*:*")
    engine.settle(one, two)
    one.twitter("_test:run", "local")
    other.twitter("test:run", "other room")
    one.twitter("test:run", "crosses")
    assert here.wait_for(1) == ["crosses"]
    assert there.values == ["other room"]


def test_a_late_node_gets_what_is_kept_and_then_what_is_live(engine):
    (one, first), (two, second) = engine.join("one"), engine.join("two")
    berrymq.keep("train:*", last=50_000, bus=one)
    over = threading.Event()
    sent = []

    def publish(bus):
        number = 0
        while not over.wait(0.001):
            for _ in range(5):
                bus.twitter(f"train:{bus.name}", number)
                number += 1
        sent.append((bus.name, number))

    threads = [threading.Thread(target=publish, args=(bus,)) for bus in (one, two)]
    for thread in threads:
        thread.start()
    found = []
    for number in range(6):
        late, _ = engine.join(f"late{number}")
        found.append([])
        late.follow("train:*", found[-1].append, past=True)
    over.set()
    for thread in threads:
        thread.join()
    assert first.flush(10)
    assert second.flush(10)
    for messages in found:
        wait(lambda messages=messages: len(messages) >= sum(number for _, number in sent), "all messages")
        for name, number in sent:
            mine = [message for message in messages if message.action == name]
            assert [message.args[0] for message in mine] == list(range(number))
            past = [message.past for message in mine]
            assert past == sorted(past, reverse=True)
            assert {message.source for message in mine} == {name}
    assert any(message.past for message in found[-1])
    assert berrymq.latest("train:one", bus=two).args == (dict(sent)["one"] - 1,)
    berrymq.keep("train:*", last=0, bus=one)
    assert berrymq.latest("train:one", bus=two) is None


def test_so_many_of_each_identifier_are_kept_and_listed(engine):
    (one, link), (two, _) = engine.join("one"), engine.join("two")
    berrymq.keep("test:*", last=3, bus=one)
    berrymq.keep("test:*", last=2, bus=two)  # the larger number counts
    berrymq.keep("*:run", bus=two)  # both match some messages, which come once all the same
    for number in range(10):
        for identifier in ("test:run", "test:stop", "other:stop", "*:stop", "test@lab:run", *ODD[:2]):
            one.twitter(identifier, number)
    assert link.flush(10)
    late, _ = engine.join("late")
    found = {
        text: [(message.id, message.args[0]) for message in read_past(late, text)]
        for text in ("test:stop", "*:run", "test:*", "other:stop")
    }
    of_test = [(text, number) for number in (7, 8, 9) for text in ("test:run", "test:stop", "*:stop")]
    runs = [("test:run", number) for number in range(10)]
    assert found == {
        "test:stop": [one for one in of_test if one[0] != "test:run"],
        "*:run": runs,
        "test:*": [*runs[:7], *of_test],
        "other:stop": [one for one in of_test if one[0] == "*:stop"],
    }
    assert berrymq.latest("test:stop", bus=late).args == (9,)
    assert berrymq.latest("test:stop", bus=late).past
    kept = {one.identifier: one for one in berrymq.keep(bus=late).keeps}
    assert (kept["test:*"].last, kept["test:*"].by, kept["*:run"].by) == (3, "one", "two")
    for identifier in ("test:*", "*:run"):
        berrymq.keep(identifier, last=0, bus=two)
    assert berrymq.keep(bus=one).keeps == []
    with pytest.raises(LinkError, match=r"test:\* is not kept here"):
        berrymq.keep("test:*", last=0, bus=one)


def test_kept_arrays_arrive_whole(engine):
    (one, link), (two, _) = engine.join("one"), engine.join("two")
    berrymq.keep("array:*", bus=one)
    values = [np.arange(200_000.0), np.arange(20_000), "x" * 3_000_000, "last"]
    for value in values:
        one.twitter("array:run", value)
    assert link.flush(10)
    assert link.close() == 0
    received = [message.args[0] for message in read_past(two, "array:run")]
    for value, other in zip(values, received, strict=True):
        assert np.array_equal(value, other)
    received[0][0] = 1.0  # it is the receiver's own
    one.twitter("array:run", 1)
    assert berrymq.latest("array:*", bus=two).args == ("last",)
    berrymq.keep("array:*", last=0, bus=two)


def test_what_is_not_followed_does_not_cross(engine):
    (one, link), (two, _) = engine.join("one"), engine.join("two")
    subscription = two.follow("test:*", lambda _: None)
    engine.settle(one, two)
    subscription.cancel()
    wait(lambda: not link.is_followed("test:run"), "it is not followed any more")
    before = link.stats().sent
    one.twitter("test:run", 1)
    assert link.flush(5)
    assert link.stats().sent == before


def test_all_answers_come_back_and_errors_are_raised(engine):
    (one, _), (two, _), (three, _) = (engine.join(name) for name in ("one", "two", "three"))
    for bus in (two, three):
        bus.follow("calc:add", lambda message: sum(message.args))

    def fail(message):
        raise ValueError("it fails there")

    two.follow("calc:fail", fail)
    engine.settle(one, two, three)
    assert one.ask("calc:add", 1, 2, timeout=10) == [3, 3]
    assert asyncio.run(one.aask("calc:add", 3, 4, timeout=10)) == [7, 7]
    assert one.ask("calc:nothing", timeout=10) == []
    with pytest.raises(RemoteError, match="it fails there"):
        one.ask("calc:fail", timeout=10)


def test_a_follower_that_does_not_answer_in_time_is_named(engine):
    (one, _), (two, _) = engine.join("one"), engine.join("two")
    over = threading.Event()
    two.follow("calc:slow", lambda _: over.wait(30))
    engine.settle(one, two)
    with pytest.raises(AskTimeout, match="two"):
        one.ask("calc:slow", timeout=0.3)
    over.set()


def test_talk_brings_what_is_returned_to_its_callback(engine):
    (one, _), (two, _) = engine.join("one"), engine.join("two")
    recorder = Recording(one, "calc:done")
    two.follow("calc:add", lambda message: sum(message.args))
    engine.settle(one, two)
    one.talk("calc:add", "calc:done", 2, 3)
    assert recorder.wait_for(1) == [5]


def test_what_is_followed_before_a_message_is_known_to_those_who_react_to_it(engine):
    (one, _), (two, _) = engine.join("one"), engine.join("two")

    def react(message):
        (number,) = message.args
        two.twitter(f"job{number}:run", two.ask(f"job{number}:ask"))

    two.follow("ready:*", react)
    engine.settle(one, two)
    seen = []
    for number in range(20):
        one.follow(f"job{number}:ask", lambda _, number=number: number)
        one.follow(f"job{number}:run", lambda message: seen.append(message.args[0]))
        one.twitter("ready:now", number)
        wait(lambda number=number: len(seen) > number, "it is reacted to", 10)
    assert seen == [[number] for number in range(20)]


def test_large_messages_and_arrays_arrive_whole(engine):
    (one, _), (two, _) = engine.join("one"), engine.join("two")
    recorder = Recording(two)
    engine.settle(one, two)
    text, array = "x" * 5_000_000, np.arange(1_000_000).reshape(1000, 1000)
    one.twitter("test:run", text)
    one.twitter("test:run", array)
    one.twitter("test:run", "last")
    received = recorder.wait_for(3)
    assert received[0] == text
    assert received[1].dtype == array.dtype
    assert np.array_equal(received[1], array)
    assert received[2] == "last"


def test_arrays_are_pulled_where_memory_is_not_shared(engine, monkeypatch):
    """Without shared memory, as between machines, and larger than a frame or a message of NATS."""
    monkeypatch.setattr(Memories, "can_open", staticmethod(lambda _: False))
    (one, _), (two, _) = engine.join("one"), engine.join("two")
    recorder = Recording(two)
    engine.settle(one, two)
    array = np.arange(4_000_000)
    one.twitter("test:run", array)
    one.twitter("test:run", "last")
    received = recorder.wait_for(2)
    assert np.array_equal(received[0], array)
    assert received[1] == "last"


def test_a_node_that_comes_later_is_found_and_one_that_leaves_is_not_there_any_more(engine):
    one, link = engine.join("one")
    two, second = engine.join("two")
    recorder = Recording(two)
    engine.settle(one, two)
    one.twitter("test:run", 1)
    recorder.wait_for(1)
    assert second.close() == 0
    wait(lambda: not link.is_followed("test:run"), "it has left")
    one.twitter("test:run", 2)
    assert link.flush(5)
    assert recorder.values == [1]


# -- shared queues -------------------------------------------------------------------------------------------


def shared(bus, **options):
    return Queue("job:*", shared=True, bus=bus, **options)


def values(messages):
    return [message.args[0] for message in messages]


def test_each_job_goes_to_one_queue_of_all_machines(engine):
    buses = [engine.join(name)[0] for name in ("one", "two", "three")]
    queues = [shared(bus) for bus in buses[:2]]
    engine.settle(*buses)
    taken = [[], []]

    def work(number):
        with suppress(Empty):
            while True:
                taken[number].append(queues[number].get(timeout=1).args[0])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for number in range(300):
        buses[number % 3].twitter("job:add", number)
    for thread in threads:
        thread.join(30)
    assert sorted(taken[0] + taken[1]) == list(range(300))
    assert all(taken)
    for some in taken:
        assert [number for number in some if number % 3 == 2] == sorted(
            [number for number in some if number % 3 == 2]
        )
    assert [queue.qsize() for queue in queues] == [0, 0]


def test_the_size_of_a_shared_queue_is_the_groups(engine):
    (one, link), (two, _) = engine.join("one"), engine.join("two")
    mine, theirs = shared(one), shared(two)
    for number in range(10):
        one.twitter("job:add", number)
    link.flush(5)
    wait(lambda: mine.qsize() == theirs.qsize() == 10, "all have come")
    assert theirs.peek().args == (0,)
    assert values(theirs.waiting(3)) == [0, 1, 2]
    assert theirs.get_nowait().args == (0,)
    wait(lambda: mine.qsize() == 9, "the others know")
    assert values(mine.drain()) == list(range(1, 10))
    wait(theirs.empty, "none is left")
    with pytest.raises(Empty):
        theirs.get_nowait()


def test_a_job_goes_to_one_that_waits(engine):
    buses = [engine.join(name)[0] for name in ("one", "two", "three")]
    busy, queue = shared(buses[0]), shared(buses[1])
    with pytest.raises(Empty):
        busy.get(timeout=0.05)  # it has waited, and does no more
    got = []
    thread = threading.Thread(target=lambda: got.append(queue.get(timeout=10)))
    thread.start()
    wait(lambda: queue.stats().waiting, "it is known that it waits")
    buses[2].twitter("job:add", 1)
    thread.join(10)
    assert values(got) == [1]
    wait(busy.empty, "it is known everywhere that it was taken")


def test_jobs_that_were_not_taken_go_back_in_order(engine):
    (one, link), (two, second) = engine.join("one"), engine.join("two")
    mine, theirs = shared(one), shared(two)
    for number in range(10):
        one.twitter("job:add", number)
    link.flush(5)
    assert theirs.get(timeout=5).args == (0,)
    assert theirs._store.fetch(5)  # they are there, and not taken
    second.close()
    assert values([mine.get(timeout=5) for _ in range(9)]) == list(range(1, 10))
    wait(mine.empty, "none is left")


def test_jobs_wait_while_there_is_no_worker(engine):
    (one, _), (two, link) = engine.join("one"), engine.join("two")
    with shared(one) as queue:
        wait(queue.empty, "none is left")
    del queue
    for number in range(3):
        two.twitter("job:add", number)
    link.flush(5)
    queue = shared(one)
    assert values([queue.get(timeout=5) for _ in range(3)]) == [0, 1, 2]


def test_what_a_shared_queue_has_collected_goes_to_all_with_the_link(engine):
    bus, other = Bus("one"), engine.join("other")[0]
    queue, theirs = shared(bus), shared(other)
    for number in range(6):
        bus.twitter("job:add", number)
    link = engine.link(bus, "one")
    assert values([theirs.get(timeout=5) for _ in range(2)]) == [0, 1]
    assert queue.get(timeout=5).args == (2,)
    link.close()
    bus.twitter("job:add", 6)
    assert queue.get_nowait().args == (6,)
    assert values([theirs.get(timeout=5) for _ in range(3)]) == [3, 4, 5]


def test_the_capacity_of_a_shared_queue_is_the_groups(engine):
    (one, link), (two, _) = engine.join("one"), engine.join("two")
    oldest, newest = shared(one, maxsize=3), Queue("task:*", True, maxsize=3, overflow="drop_newest", bus=one)
    engine.settle(one, two)
    with pytest.raises(ValueError, match="has maxsize=3 and overflow='drop_oldest' in other processes"):
        shared(two)
    for number in range(8):
        two.twitter("job:add", number)
        two.twitter("task:add", number)
    wait(lambda: oldest.qsize() == newest.qsize() == 3, "all have come")
    assert values(oldest.drain()) == [5, 6, 7]
    assert values(newest.drain()) == [0, 1, 2]
    assert link.flush(5)


def test_large_jobs_arrive_whole(engine):
    (one, _), (two, _) = engine.join("one"), engine.join("two")
    queue = shared(two)
    engine.settle(one, two)  # else the first may be published before its sender knows of the queue
    array = np.arange(500_000)
    for value in ("x" * 3_000_000, array, "last"):
        one.twitter("job:add", value)
    received = values([queue.get(timeout=10) for _ in range(3)])
    assert len(received[0]) == 3_000_000
    assert np.array_equal(received[1], array)
    assert received[2] == "last"
