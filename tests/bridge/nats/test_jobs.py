"""Shared and durable queues on NATS: killed workers, hubs and servers, and the jobs that return."""

import asyncio
import threading
from contextlib import suppress
from types import SimpleNamespace

import pytest

import berrymq
from berrymq import Bus, Empty, Queue
from berrymq.bridge.nats import job_queue
from berrymq.bridge.nats.jobs import JobQueues
from berrymq.bridge.remote_queue import RemoteQueue
from tests.bridge.nats.test_history import Machine
from tests.support.nats_server import NatsServer
from tests.support.nodes import Nodes, wait
from tests.support.scripts import script

WORKER = """
    from berrymq.bridge.nats import job_queue
    job_queue.ACK_SECONDS = 2.0
    bus = berrymq.Bus("worker")
    link = berrymq.link(sys.argv[1], bus=bus, name="worker")
    queue = berrymq.Queue("job:*", shared=True, bus=bus)
    for _ in range(20):
        print(queue.get().args[0], flush=True)
    assert queue._store.fetch(5)  # they are here, and not taken
    print(len(queue._items), flush=True)
    input()
"""


@pytest.fixture(scope="module")
def server():
    with NatsServer("-js") as server:
        yield server


@pytest.fixture(autouse=True)
def closed():
    yield
    for link in berrymq.links():
        link.close(flush=0)


def join(server, name):
    bus = Bus(name)
    return bus, berrymq.link(server.url, bus=bus, name=name)


def take(queue, count):
    return [queue.get(timeout=20).args[0] for _ in range(count)]


def test_what_a_killed_worker_had_not_taken_goes_to_others_in_order(server, monkeypatch):
    monkeypatch.setattr(job_queue, "ACK_SECONDS", 2.0)
    bus, _ = join(server, "here")
    queue = Queue("job:*", shared=True, bus=bus)
    for number in range(40):
        bus.twitter("job:add", number)
    with script(WORKER, server.url) as worker:
        taken = [int(worker.stdout.readline()) for _ in range(20)]
        assert int(worker.stdout.readline()) >= 5
        wait(lambda: queue.qsize() == 20, "what was taken is acknowledged")
        worker.kill()
    assert taken == list(range(20))
    rest = take(queue, 20)
    assert sorted(rest) == list(range(20, 40))
    assert [one for one in rest if one < 25] == list(range(20, 25))
    wait(queue.empty, "none is left")


def test_a_server_that_is_killed_and_comes_back_costs_no_job_and_doubles_none():
    with NatsServer("-js") as server:
        (bus, link), (other, _) = join(server, "one"), join(server, "two")
        queue = Queue("job:*", shared=True, bus=other)
        taken = []

        def work():
            with suppress(Empty):
                while len(taken) < 600:
                    taken.append(queue.get(timeout=30).args[0])

        worker = threading.Thread(target=work)
        worker.start()
        for number in range(600):
            bus.twitter("job:add", number)
            if number % 200 == 100:
                wait(lambda number=number: len(taken) > number - 100, "some jobs are taken")
                server.kill()
                server.start()
        worker.join(60)
        assert sorted(taken) == list(range(600))
        assert link.flush(5)
        wait(queue.empty, "none is left")


def test_jobs_that_a_node_holds_while_the_server_is_killed_are_done_once(caplog):
    with NatsServer("-js") as server:
        bus, link = join(server, "one")
        queue = Queue("job:*", shared=True, bus=bus)
        for number in range(5):
            bus.twitter("job:add", number)
        assert queue._store.fetch(3)
        wait(lambda: len(queue._items) == 3, "they are here")
        server.kill()
        wait(lambda: link.state == "connecting", "the cut is seen")
        wait(lambda: not queue._items, "they are discarded: others may get them")
        server.start()
        assert sorted(take(queue, 5)) == list(range(5))
        wait(queue.empty, "none is left")
        queue.close()
        following = Queue("job:*", shared=True, bus=bus)  # over the same link
        bus.twitter("job:add", 5)
        assert take(following, 1) == [5]
        assert following.empty()
    assert not [record for record in caplog.records if record.exc_info]


def test_jobs_of_nodes_on_hubs_and_of_those_on_nats_are_shared(server):
    with Machine(server, "on a hub") as machine:
        bus, _ = join(server, "on NATS")
        queues = [Queue("task:*", shared=True, bus=one) for one in (bus, machine.bus)]
        for number in range(10):
            (bus, machine.bus)[number % 2].twitter("task:add", number)
        wait(lambda: queues[0].qsize() == queues[1].qsize() == 10, "all are stored")
        assert sorted(take(queues[0], 5) + take(queues[1], 5)) == list(range(10))
        durable = Queue("task:*", durable="night", bus=machine.bus)
        bus.twitter("task:add", 10)
        assert take(durable, 1) == [10]
        assert take(queues[0], 1) == [10]
        found = machine._nodes.place(machine.hub)
        with RemoteQueue(found, "task:*", ttl=100.0, name="client", shared=True) as client:
            for number in range(2):
                bus.twitter("task:add", number)
            wait(lambda: queues[0].qsize() == 2, "they are stored")
            first = client.get_nowait().args[0]
            assert {first, client.get(timeout=5).args[0]} == {0, 1}  # which acknowledges the one before
        wait(queues[0].empty, "both are acknowledged")


def duplicate_window(link, queue):
    """The seconds for which the server recognises a job that is stored again."""
    jobs = link._connector._mesh.jobs
    found, done = [], threading.Event()

    async def read():
        (stream,) = [name for name, one in jobs._queues.items() if one.record.identifier.text == queue]
        info = await jobs.records.jetstream.call(f"STREAM.INFO.{stream}")
        found.append(info["config"]["duplicate_window"] / 1e9)
        done.set()

    link.node.loop.call(jobs.client.run, read())
    assert done.wait(10)
    return found[0]


def test_a_job_is_recognised_for_as_long_as_a_node_is_remembered(server):
    bus, link = join(server, "one")
    queue = Queue("long:*", shared=True, bus=bus)
    bus.twitter("long:add", 1)
    assert take(queue, 1) == [1]
    assert duplicate_window(link, "long:*") == 1000


def test_a_server_that_recognises_jobs_for_a_shorter_time_has_queues(tmp_path):
    config = tmp_path / "server.conf"
    config.write_text(f'jetstream {{ store_dir: "{tmp_path}", limits: {{ duplicate_window: "1m" }} }}')
    with NatsServer("--config", str(config)) as server:
        bus, link = join(server, "one")
        queue = Queue("short:*", shared=True, bus=bus)
        bus.twitter("short:add", 1)
        assert take(queue, 1) == [1]
        assert duplicate_window(link, "short:*") == 60


@pytest.fixture
def published():
    return []


@pytest.fixture
def queues(published):
    router = SimpleNamespace(loop=SimpleNamespace(time=lambda: 100.0))
    client = SimpleNamespace(publish=lambda subject, *rest: published.append((subject, *rest)))
    queues = JobQueues(router, client, SimpleNamespace(), "queues", None)
    queues.inbox = "_INBOX.one"
    return queues


def test_whether_a_queue_is_used_is_not_answered_by_a_call_of_the_server(queues, published):
    queues._queues["bmq_queue"] = SimpleNamespace(is_used=True)
    for reply in ("", "$JS.API.STREAM.DELETE.bmq_queue", "_INBOX.two.1"):
        asyncio.run(queues._answer(SimpleNamespace(reply=reply, data=b"bmq_queue")))
    assert published == [("_INBOX.two.1", b"")]


def test_an_acknowledgement_for_which_there_was_no_leader_is_repeated(queues, published):
    queues.acknowledge("bmq_queue", "$JS.ACK.bmq_queue.members.1.7.1.0.0")
    answer = SimpleNamespace(reply="", subject=published[0][2], data=b"", headers={"Status": "503"})
    asyncio.run(queues._receive(answer))
    assert not queues.is_idle
    queues._send_acks(float("inf"))
    assert published[1][:2] == ("$JS.API.STREAM.MSG.DELETE.bmq_queue", b'{"seq":7,"no_erase":true}')
    answer = SimpleNamespace(reply="", subject=published[1][2], data=b'{"success":true}', headers=None)
    asyncio.run(queues._receive(answer))
    assert queues.is_idle


class TestDurable:
    def test_one_that_comes_back_goes_on_where_it_was(self, server):
        (bus, link), (sender, _) = join(server, "one"), join(server, "sender")
        queue = Queue("note:*", durable="log", bus=bus)
        assert queue.shared
        for number in range(4):
            sender.twitter("note:add", number)
        assert take(queue, 2) == [0, 1]
        link.close()
        for number in range(4, 6):
            sender.twitter("note:add", number)
        bus, _ = join(server, "another")
        queue = Queue("note:*", durable="log", bus=bus)
        assert take(queue, 4) == [2, 3, 4, 5]

    def test_two_of_a_name_take_turns_and_those_of_other_names_get_all(self, server):
        (one, _), (two, _) = join(server, "one"), join(server, "two")
        same = [Queue("mail:*", durable="a", bus=bus) for bus in (one, two)]
        other = Queue("mail:*", durable="b", bus=one)
        for number in range(6):
            two.twitter("mail:add", number)
        assert sorted(take(same[0], 3) + take(same[1], 3)) == list(range(6))
        assert take(other, 6) == list(range(6))

    def test_it_waits_while_its_link_is_closed(self, server):
        bus, link = join(server, "one")
        queue = Queue("memo:*", durable="log", bus=bus)
        link.close()
        bus.twitter("memo:add", 1)  # to nothing that would store it
        assert queue.qsize() == 0
        other, _ = join(server, "other")
        other.twitter("memo:add", 2)
        berrymq.link(server.url, bus=bus, name="one")
        assert take(queue, 1) == [2]

    @pytest.mark.parametrize("options", [{"durable": "a b"}, {"durable": ""}, {"overflow": "block"}])
    def test_what_it_can_not_be_is_refused(self, server, options):
        bus, _ = join(server, "one")
        with pytest.raises(ValueError, match=r"durable"):
            Queue("mail:*", bus=bus, **{"durable": "a", **options})
        with pytest.raises(ValueError, match="never leave the process"):
            Queue("_mail:*", durable="a", bus=bus)

    def test_without_nats_it_is_refused_in_one_line(self, nodes):
        with pytest.raises(ValueError, match=r"needs a link to NATS with JetStream: .*berrymq.link"):
            Queue("mail:*", durable="a", bus=Bus("one"))
        hub = nodes.hub()
        node = nodes.add("one", listening=False)
        nodes.link(node, hub)
        with pytest.raises(ValueError, match=r"needs NATS with JetStream: .*--upstream"):
            Queue("mail:*", durable="a", bus=node.bus)


@pytest.fixture
def nodes():
    with Nodes() as nodes:
        yield nodes
