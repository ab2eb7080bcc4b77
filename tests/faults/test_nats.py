"""Links over NATS while servers are killed, messages go missing, and receivers stop."""

import json
import os
import random
import signal
import threading
import urllib.request
from contextlib import ExitStack, suppress

import pytest

import berrymq
from berrymq import Bus, Empty, Queue
from berrymq.bridge.nats.client import NatsClient
from tests.support.nats_server import NatsServer, unused_port
from tests.support.nodes import wait
from tests.support.recorder import Recorder, read_past
from tests.support.scripts import script

KILLS = int(os.environ.get("BERRYMQ_TEST_CUTS", "6"))

pytestmark = pytest.mark.timeout(60 + 3 * KILLS)


class Group:
    """Some buses on one NATS system, each of which publishes on a thread of its own until told to stop."""

    def __init__(self, *urls):
        self.buses = [Bus(f"node{number}") for number in range(len(urls))]
        self.links = [
            berrymq.link(url, bus=bus, name=bus.name, timeout=20)
            for url, bus in zip(urls, self.buses, strict=True)
        ]
        self.recorders = [Recorder(bus) for bus in self.buses]
        self.sent = [0 for _ in urls]
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._publish, args=(number,)) for number in range(len(urls))
        ]
        for number, link in enumerate(self.links):
            wait(lambda n=number, one=link: len(one.followers_of("test:run")) >= len(urls) - 1, "all follow")

    def _publish(self, number):
        while not self._over.wait(0.002):
            for _ in range(10):
                self.buses[number].twitter("test:run", self.sent[number])
                self.sent[number] += 1

    def start(self):
        for thread in self._threads:
            thread.start()

    def check(self):
        """Stop, and check that each got what each other one has sent, once and in order."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        total = sum(self.sent)
        for link in self.links:
            assert link.flush(30)
        for number, recorder in enumerate(self.recorders):
            recorder.wait_for(total)
            for other, bus in enumerate(self.buses):
                expected = list(range(self.sent[other]))
                assert recorder.of(None if other == number else bus.name) == expected
        assert all(link.stats().dropped == link.stats().lost == 0 for link in self.links)


class Jobs:
    """Shared and durable queues, each with a worker on the first and one on the last node of a group."""

    def __init__(self, group):
        self._bus = group.buses[-1]
        buses = group.buses[0], group.buses[-1]
        self._queues = [
            [Queue("job:*", bus=bus, **options) for bus in buses]
            for options in ({"shared": True}, {"durable": "log"})
        ]
        self._published = 0
        self._taken = [[] for _ in self._queues]

    def publish(self, count):
        for number in range(self._published, self._published + count):
            self._bus.twitter("job:add", number)
        self._published += count

    def check_taken(self, count):
        """Take so many jobs of each queue, at both nodes: none twice, and in the end all."""
        for workers, taken in zip(self._queues, self._taken, strict=True):
            for number in range(count):
                taken.append(take_from(workers, number))
            assert len(set(taken)) == len(taken)
            assert len(taken) < self._published or sorted(taken) == list(range(self._published))


def take_from(workers, number):
    """Take a job at one of the workers in turn, or at the other if that gets none."""
    for turn in range(40):
        with suppress(Empty):
            return workers[(number + turn) % len(workers)].get(timeout=0.5).args[0]
    raise AssertionError("a job is missing")


@pytest.fixture(autouse=True)
def closed():
    yield
    for link in berrymq.links():
        link.close(flush=0)


def wait_until_linked(group):
    for link in group.links:
        wait(lambda one=link: len(one.nodes()) == len(group.links), "all are linked", 30)


def test_a_server_that_is_killed_under_load_loses_doubles_and_reorders_nothing():
    chance = random.Random(1)
    with NatsServer() as server:
        group = Group(*[server.url] * 3)
        group.start()
        for _ in range(KILLS):
            threading.Event().wait(chance.uniform(0.05, 0.4))
            server.kill()
            threading.Event().wait(chance.uniform(0, 0.3))
            server.start()
        wait_until_linked(group)
        group.check()
        assert all(link.stats().cuts for link in group.links)


def check_kept(group, server):
    """Check that a new node gets all that the others have sent, once and in the order of each."""
    late = Bus("late")
    berrymq.link(server.url, bus=late, timeout=20)
    messages = read_past(late, "test:run")
    for number, bus in enumerate(group.buses):
        mine = [message.args[0] for message in messages if message.source == bus.name]
        assert mine == list(range(group.sent[number]))


def test_what_is_kept_outlives_a_server_that_is_killed_under_load():
    chance = random.Random(2)
    with NatsServer("-js") as server:
        group = Group(*[server.url] * 2)
        berrymq.keep("test:*", last=1_000_000, bus=group.buses[0])
        late = Bus("late one")
        berrymq.link(server.url, bus=late, timeout=20)
        found = []
        group.start()
        for number in range(KILLS):
            threading.Event().wait(chance.uniform(0.05, 0.4))
            server.kill()
            if number == KILLS // 2:  # the answer comes when there is a server again
                late.follow("test:run", found.append, past=True, direct=True)
            threading.Event().wait(chance.uniform(0, 0.3))
            server.start()
        wait_until_linked(group)
        group.check()
        check_kept(group, server)
        wait(lambda: len(found) >= sum(group.sent), "all messages")
        for number, bus in enumerate(group.buses):
            mine = [message.args[0] for message in found if message.source == bus.name]
            assert mine == list(range(group.sent[number]))


def test_a_cluster_goes_on_without_one_of_its_servers():
    ports = [unused_port() for _ in range(3)]
    routes = ",".join(f"nats://127.0.0.1:{port}" for port in ports)
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                NatsServer(
                    *("-js", "--name", f"server{port}", "--cluster_name", "test"),
                    *("--cluster", f"nats://127.0.0.1:{port}", "--routes", routes),
                )
            )
            for port in ports
        ]
        group = Group(*[server.url for server in servers])  # each server names the others
        berrymq.keep("test:*", last=1_000_000, bus=group.buses[0])
        jobs = Jobs(group)
        jobs.publish(20)
        jobs.check_taken(5)
        group.start()
        threading.Event().wait(0.3)
        servers[2].kill()
        jobs.publish(20)
        wait(lambda: group.links[2].stats().cuts, "the cut is seen")
        wait_until_linked(group)
        group.check()
        check_kept(group, servers[0])
        jobs.check_taken(35)


def test_a_leaf_node_passes_everything(tmp_path):
    port = unused_port()
    center, leaf = tmp_path / "center.conf", tmp_path / "leaf.conf"
    center.write_text(f'leafnodes {{ host: "127.0.0.1", port: {port} }}\njetstream {{ domain: center }}\n')
    leaf.write_text(
        f'leafnodes {{ remotes: [{{ url: "nats-leaf://127.0.0.1:{port}" }}] }}\n'
        'mappings { "$JS.API.>": "$JS.center.API.>" }\n'
    )
    with NatsServer("-js", "--config", str(center)) as first, NatsServer("--config", str(leaf)) as second:
        wait(lambda: second.leads_to(first), "the leaf is linked")
        group = Group(first.url, second.url)
        jobs = Jobs(group)
        jobs.publish(20)
        group.start()
        threading.Event().wait(0.3)
        group.check()
        jobs.check_taken(20)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_nats_does_not_deliver_is_sent_again(monkeypatch, seed):
    """Core NATS promises nothing: each message may go missing, those that open connections too."""
    chance = random.Random(seed)
    publish = NatsClient.publish

    def lossy(self, *args):
        if chance.random() > 0.05:
            publish(self, *args)

    monkeypatch.setattr("berrymq.bridge.nats.recorder.ACK_SECONDS", 0.5)
    with NatsServer("-js") as server:
        group = Group(*[server.url] * 3)
        is_kept = seed == 3
        if is_kept:
            berrymq.keep("test:*", last=1_000_000, bus=group.buses[0])
        group.start()
        monkeypatch.setattr(NatsClient, "publish", lossy)
        threading.Event().wait(2.0)
        monkeypatch.undo()
        wait_until_linked(group)
        group.check()
        if is_kept:
            check_kept(group, server)


RECEIVER = """
link = berrymq.link(os.environ['URL'], name='script')
last = threading.Event()
received = []
def take(message):
    received.append(message.args[0])
    if message.args[0] == 'last':
        last.set()
berrymq.follow('test:*', take)
print('ready', flush=True)
for _ in range(2):
    assert last.wait(40)
    last.clear()
    got, received[:] = received[:], []  # before the sender goes on
    print(got == sorted(got[:-1]) + ['last'], len(got) - 1, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system has no such signal")
def test_a_process_that_stops_holds_up_nobody_and_gets_everything_or_the_newest_when_it_goes_on(tmp_path):
    config, port = tmp_path / "server.conf", unused_port()
    config.write_text(f'http: "127.0.0.1:{port}", max_pending: 1MB, write_deadline: "1s"')

    def slow_consumers():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/varz") as answer:
            return json.load(answer)["slow_consumers"]

    with (
        NatsServer("--config", str(config)) as server,
        script(RECEIVER, URL=server.url) as process,
    ):
        assert process.stdout.readline() == "ready\n"
        bus = Bus("sender")
        link = berrymq.link(server.url, bus=bus, name="sender")
        wait(lambda: link.is_followed("test:run"), "the script follows")

        def flood(messages):
            """Send while the script is stopped; return how many it has got, in order, when it goes on."""
            process.send_signal(signal.SIGSTOP)
            for number in range(messages):
                bus.twitter("test:run", number, "x" * 50)
            wait(slow_consumers, "the server has dropped the connection")
            process.send_signal(signal.SIGCONT)
            bus.twitter("test:run", "last")
            assert link.flush(40)
            in_order, received = process.stdout.readline().split()
            assert in_order == "True"
            return int(received)

        assert flood(80_000) == 80_000  # as many as the link buffers
        assert link.stats().dropped == 0
        assert flood(300_000) + link.stats().dropped == 300_000
        assert link.stats().dropped
