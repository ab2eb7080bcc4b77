"""Hubs that are killed, stopped or gone, and their nodes."""

import json
import os
import random
import re
import signal
import socket
import threading
import time
from contextlib import suppress

import psutil
import pytest

import berrymq
from berrymq import Bus
from berrymq.bridge.discovery.connection_file import read_hub
from berrymq.bridge.discovery.starting import start_hub
from berrymq.bridge.errors import LinkError
from berrymq.bridge.protocol.frames import MESSAGES
from berrymq.bridge.protocol.reliable_stream import Stream
from tests.support.nodes import wait
from tests.support.recorder import Recorder
from tests.support.scripts import run_script, script
from tests.support.waiting import wait_until

KILLS = int(os.environ.get("BERRYMQ_TEST_KILLS", "3"))
"""How often the hub is killed under load; 8 for a full run."""


@pytest.fixture
def runtime_directory(runtime):
    yield runtime
    for link in berrymq.links():
        link.close(flush=0)
    from berrymq.bridge.runtime import runtime as here

    assert here().end_if_idle()


pytestmark = pytest.mark.usefixtures("runtime_directory")


def join(*names):
    """Buses that are linked to the hub of this test's user, each with a recorder."""
    buses = [Bus(name) for name in names]
    recorders = [Recorder(bus) for bus in buses]
    links = [berrymq.link(bus=bus, name=name) for bus, name in zip(buses, names, strict=True)]
    wait(lambda: see_each_other(links), "they see each other")
    return buses, recorders, links


def see_each_other(links, after=None):
    """Whether all are linked to one hub, which is not a certain former one, and see each other."""
    info = read_hub()
    return (
        info is not None
        and (after is None or info.pid != after.pid)
        and all(
            link.state == "linked" and link.url == info.url and len(link.nodes()) == len(links) + 1
            for link in links
        )
    )


def kill_hub():
    info = read_hub()
    os.kill(info.pid, signal.SIGKILL)
    return info


def first_held(stream):
    """The first number that the hub has not acknowledged; None if it has acknowledged all."""
    bodies = [sent.body for sent in stream._in_flight if sent.method is MESSAGES]
    bodies += [item.body for item in stream._buffer if item.method is MESSAGES]
    if not bodies:
        return None
    batches = json.loads(b"[%b]" % bodies[0])
    return batches[0][5][0][1][0]


class TestKilled:
    @pytest.mark.timeout(90)
    def test_its_nodes_start_another_and_meet_there(self, record_property):
        (first, _), (_, recorder), links = join("first", "second")
        first.twitter("test:run", 0)
        recorder.wait_for(1)
        took = []
        for number in range(1, 4):
            killed = kill_hub()
            begin = time.monotonic()
            wait(lambda killed=killed: see_each_other(links, after=killed), "they see each other again")
            took.append(time.monotonic() - begin)
            first.twitter("test:run", number)
            assert recorder.wait_for(number + 1) == list(range(number + 1))
        assert max(took) < 10
        record_property("seconds", took)
        print("met again after", *(f"{seconds:.2f} s" for seconds in took))

    @pytest.mark.timeout(60 + 20 * KILLS)
    def test_under_load_what_it_had_not_acknowledged_arrives_once_and_in_order(
        self, monkeypatch, record_property
    ):
        """What it had acknowledged and not passed on is lost with it: the last of those, and no others."""
        unacknowledged = {}
        restart = Stream.restart

        def note_and_restart(stream):
            unacknowledged.setdefault(id(stream), set()).add(first_held(stream))
            restart(stream)

        monkeypatch.setattr(Stream, "restart", note_and_restart)
        names = "abc"
        buses, recorders, links = join(*names)
        published = [0, 0]
        over = threading.Event()

        def publish(index):
            while not over.wait(0.001):
                for _ in range(random.randrange(1, 20)):
                    buses[index].twitter("test:run", published[index])
                    published[index] += 1

        threads = [threading.Thread(target=publish, args=(index,)) for index in range(2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(KILLS):
                time.sleep(0.2)
                killed = kill_hub()
                wait(lambda killed=killed: see_each_other(links, after=killed), "they see each other again")
        finally:
            over.set()
            for thread in threads:
                thread.join(20)
        assert berrymq.flush(20)
        for index in range(2):
            buses[index].twitter("test:run", "last")
        missing = []
        for recorder, own in zip(recorders, names, strict=True):
            for source in names[:2]:
                if source == own:
                    continue
                wait(
                    lambda recorder=recorder, source=source: "last" in recorder.of(source),
                    "the last one has come",
                )
                values = recorder.of(source)[:-1]
                number = names.index(source)
                lost = sorted(set(range(published[number])) - set(values))
                ends = {one + 1 for one in lost if one + 1 not in lost}
                boundaries = unacknowledged[id(links[number]._connector.peer.stream)]
                assert None in boundaries or ends <= boundaries, (
                    f"{ends} were not acknowledged, {boundaries} were the first that were not"
                )
                assert values == sorted(set(values)), "none is doubled or out of order"
                missing.append(published[names.index(source)] - len(values))
        record_property("missing", missing)
        record_property("messages", sum(published))
        print(f"{KILLS} kills, {sum(published)} messages, lost with a hub: {missing}")
        assert all(link.stats().dropped == 0 for link in links)
        assert sum(missing) <= KILLS * 4_000, "no more than what may be on its way through a hub"

    def test_a_question_that_was_on_its_way_is_not_waited_for_without_end(self):
        (one, two), _, links = join("one", "two")
        asked, released = threading.Event(), threading.Event()

        def answer(message):
            asked.set()
            released.wait(20)
            return 1

        two.follow("calc:slow", answer)
        wait(lambda: links[0].is_followed("calc:slow"), "it is followed")
        outcome = []

        def ask():
            try:
                outcome.append(one.ask("calc:slow", timeout=20))
            except (LinkError, TimeoutError) as error:
                outcome.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        assert asked.wait(10)
        kill_hub()
        thread.join(15)
        released.set()
        assert outcome


class TestStopped:
    @pytest.mark.timeout(60)
    def test_it_holds_up_no_sender_and_no_second_one_is_started(self):
        (one, _), (_, recorder), links = join("one", "two")
        info = read_hub()
        os.kill(info.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            for number in range(20_000):
                one.twitter("test:run", number)
            assert time.monotonic() - began < 5
            with pytest.raises(LinkError, match=r"answer|time"):
                berrymq.link(bus=Bus("third"), name="third", timeout=2.0)
            assert read_hub() == info
        finally:
            os.kill(info.pid, signal.SIGCONT)
        assert recorder.wait_for(20_000) == list(range(20_000))
        assert all(link.stats().dropped == link.stats().lost == 0 for link in links)

    @pytest.mark.timeout(60)
    async def test_a_thousand_silent_connections_keep_nobody_out_and_start_no_second_one(self):
        from tests.support.raw_http import RawConnection

        info = start_hub().info
        address = info.endpoint.host, info.endpoint.port
        silent = [await RawConnection.open(address) for _ in range(1_000)]
        try:
            with berrymq.link(bus=Bus("owner"), name="owner") as link:
                assert link.url == info.url
                assert read_hub() == info
            hubs = [
                process.pid
                for process in psutil.process_iter(["environ", "cmdline"])
                if "hub" in (process.info["cmdline"] or ())
                and (process.info["environ"] or {}).get("BERRYMQ_RUNTIME_DIR")
                == os.environ["BERRYMQ_RUNTIME_DIR"]
            ]
            assert hubs == [info.pid]
        finally:
            for connection in silent:
                connection.writer.close()


def listen_at(port):
    """Take the port; None as long as the system has not let it go."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError:
        return None


class Stranger:
    """Listens where a hub was, on a thread, and keeps what comes; relays it to another port when told to."""

    def __init__(self, port, relay_to=None):
        self.came = bytearray()
        self.connections = 0
        self._relay_to = relay_to
        self._listening = wait_until(lambda: listen_at(port), "the port is free", interval=0.005)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection):
        with connection:
            connection.settimeout(5)
            if self._relay_to is None:
                with suppress(OSError):
                    self._pretend(connection)
                return
            with socket.create_connection(("127.0.0.1", self._relay_to)) as onward:
                ways = [
                    threading.Thread(target=self._pass_on, args=way, daemon=True)
                    for way in ((connection, onward), (onward, connection))
                ]
                for way in ways:
                    way.start()
                for way in ways:
                    way.join()

    def _pretend(self, connection):
        import base64
        import hashlib

        while b"\r\n\r\n" not in self.came:
            data = connection.recv(4096)
            if not data:
                return
            self.came += data
        keys = re.findall(rb"Sec-WebSocket-Key: (\S+)", self.came)
        accept = base64.b64encode(hashlib.sha1(keys[-1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Protocol: berrymq.v1\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        for number in range(1, 10):
            data = connection.recv(65536)
            if not data:
                return
            self.came += unmasked(data)
            text = b'{"jsonrpc":"2.0","id":%d,"result":'
            text += b'{"nonce":"0123456789abcdef","proof":"%b","port":%d,"id":"x"}}'
            text %= number, b"0" * 64, self._listening.getsockname()[1]
            connection.sendall(bytes([0x81, 126]) + len(text).to_bytes(2, "big") + text)

    def _pass_on(self, one, other):
        try:
            while data := one.recv(65536):
                self.came += unmasked(data) + data
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)


def unmasked(data):
    """The text of short WebSocket frames, as far as they come whole."""
    text = b""
    while len(data) >= 6 and data[1] & 0x80:
        length, head = data[1] & 0x7F, 2
        if length == 126:
            length, head = int.from_bytes(data[2:4], "big"), 4
        mask, payload = data[head : head + 4], data[head + 4 : head + 4 + length]
        text += bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        data = data[head + 4 + length :]
    return text


def learned_nothing(stranger, token):
    """Whether it got neither the token nor a message, nor what lets it in elsewhere."""
    came = bytes(stranger.came)
    return token.encode() not in came and b"secret message" not in came and b"interconnect" not in came


@pytest.mark.timeout(60)
class TestStrangersOnAPort:
    """Who listens where a hub was gets neither the token nor messages, and makes no follower run."""

    @pytest.fixture
    def dead(self):
        """The connection file of a hub that was killed."""
        info = start_hub().info
        os.kill(info.pid, signal.SIGKILL)
        wait(lambda: read_hub() is None, "it is gone")
        return info

    @pytest.fixture
    def stranger(self, dead):
        stranger = Stranger(dead.endpoint.port)
        yield stranger
        stranger.close()

    def test_not_from_one_who_gives_url_and_token(self, dead, stranger):
        bus = Bus()
        with pytest.raises(LinkError):
            berrymq.link(dead.url, access_token=dead.access_token, bus=bus, timeout=5.0)
        bus.twitter("test:run", "secret message")
        assert stranger.connections
        assert learned_nothing(stranger, dead.access_token)

    @pytest.mark.parametrize("with_token", [True, False])
    def test_nor_from_one_with_the_url_in_its_environment(self, dead, stranger, with_token):
        environment = {"BERRYMQ_HUB_URL": dead.url}
        if with_token:
            environment["BERRYMQ_HUB_TOKEN"] = dead.access_token
        done = run_script(
            """
            ran = []
            berrymq.follow("*:*", ran.append)
            link = berrymq.link(name="script")
            berrymq.twitter("test:run", "secret message")
            link.flush(5)
            print(link.found_by, link.url == os.environ["BERRYMQ_HUB_URL"], len(ran))
            link.close()
            """,
            **environment,
        )
        assert done.stdout.split("\n")[0].endswith("False 1"), done.stderr
        assert learned_nothing(stranger, dead.access_token)

    def test_nor_from_one_whose_hub_dies_while_it_runs(self):
        (one, _), (_, recorder), links = join("one", "two")
        one.twitter("test:run", "before")
        recorder.wait_for(1)
        killed = kill_hub()
        stranger = Stranger(killed.endpoint.port)
        try:
            one.twitter("test:run", "secret message")
            wait(lambda: see_each_other(links, after=killed), "they meet at another hub")
            assert recorder.wait_for(2) == ["before", "secret message"]
            assert learned_nothing(stranger, killed.access_token)
        finally:
            stranger.close()

    def test_nor_from_one_who_keeps_the_url_of_a_hub_that_has_died(self, runtime):
        """It was linked by URL and token, so it comes back there alone."""
        info = start_hub().info
        bus = Bus()
        bus.follow("test:*", lambda message: None)
        link = berrymq.link(info.url, access_token=info.access_token, bus=bus, name="one")
        os.kill(info.pid, signal.SIGKILL)
        wait(lambda: link.state == "connecting", "the cut is seen")
        stranger = Stranger(info.endpoint.port)
        try:
            bus.twitter("test:run", "secret message")
            wait(lambda: stranger.connections >= 2, "it is dialled again")
            assert learned_nothing(stranger, info.access_token)
            assert link.state == "connecting"
        finally:
            stranger.close()

    def test_nor_one_that_relays_to_the_hub_that_runs_on_another_port(self, dead):
        """With the same token, as one that was given by hand: the proof is for the port that was dialled."""
        token = dead.access_token
        text = """
from pathlib import Path
from berrymq.bridge.hub.process import HubOptions, serve_hub
serve_hub(HubOptions(access_token=os.environ["TOKEN"]), lambda file: print(file.info.url, flush=True))
"""
        with script(text, TOKEN=token) as process:
            url = process.stdout.readline().strip()
            real = berrymq.bridge.discovery.endpoint.Endpoint.parse(url)
            stranger = Stranger(dead.endpoint.port, relay_to=real.port)
            try:
                with pytest.raises(LinkError, match="port"):
                    berrymq.link(dead.url, access_token=token, bus=Bus(), timeout=5.0)
                assert stranger.connections
                came = bytes(stranger.came)
                assert b"authenticate" not in came
                assert learned_nothing(stranger, token)
                assert berrymq.link(url, access_token=token, bus=Bus("direct")).state == "linked"
            finally:
                stranger.close()


class TestLosses:
    """What is lost when a hub is gone and its node ends is told, to the message."""

    @pytest.mark.parametrize("count", [1, 5_488])
    def test_at_exit_beside_a_dead_hub_the_count_is_exact(self, count):
        done = run_script(
            f"""
            import logging, signal
            from berrymq.bridge.discovery import starting
            from berrymq.bridge.discovery.connection_file import read_hub

            logging.basicConfig(format="%(message)s")
            other = berrymq.Bus("other")
            other.follow("test:*", lambda message: None)
            there = berrymq.link(bus=other, name="other")
            link = berrymq.link(name="script")
            while not link.is_followed("test:run"):
                time.sleep(0.01)
            for number in range(100):
                berrymq.twitter("test:run", number)
            assert link.flush(10)

            def start_hub(**options):
                raise berrymq.bridge.LinkError("not in this test")

            starting.start_hub = start_hub
            os.kill(read_hub().pid, signal.SIGKILL)
            while link.state == "linked":
                time.sleep(0.001)
            for number in range({count}):
                berrymq.twitter("test:run", number)
            """
        )
        told = re.findall(r"(\d+) messages? did not get through before this process ended", done.stderr)
        assert told == [str(count)], done.stderr
        assert "slow" not in done.stderr
        assert "faster" not in done.stderr

    def test_closing_tells_how_many_the_other_side_did_not_get(self, monkeypatch):
        (one, _), _, links = join("one", "two")

        def start_hub(**options):
            raise LinkError("not in this test")

        monkeypatch.setattr("berrymq.bridge.discovery.starting.start_hub", start_hub)
        kill_hub()
        wait(lambda: links[0].state == "connecting", "the cut is seen")
        for number in range(1_000):
            one.twitter("test:run", number)
        assert links[0].close() == 1_000
        assert links[0].stats().dropped == 1_000

    def test_what_overflows_while_it_is_down_is_not_blamed_on_its_speed(self, monkeypatch, caplog):
        (one, _), _, links = join("one", "two")

        def start_hub(**options):
            raise LinkError("not in this test")

        monkeypatch.setattr("berrymq.bridge.discovery.starting.start_hub", start_hub)
        kill_hub()
        wait(lambda: links[0].state == "connecting", "the cut is seen")
        stream = links[0]._connector.peer.stream
        total = 250_000
        for number in range(total):
            one.twitter("test:run", number)
            if number % 10_000 == 0:
                wait(lambda: not links[0].node.outbox, "the outbox is empty")
        wait(lambda: not links[0].node.outbox, "the outbox is empty")
        stats = links[0].stats()
        assert stats.dropped + stream.snapshot().buffered + stream.snapshot().in_flight == total
        assert stats.dropped > 100_000
        wait(lambda: "dropped" in caplog.text, "it is told")
        assert "were dropped: the link was cut" in caplog.text
        assert "slow" not in caplog.text
        assert "faster" not in caplog.text
