"""The hub as a whole has one memory budget, whatever its clients do with the access token."""

import json
import os
import struct
from contextlib import ExitStack

import psutil
import pytest
from websockets.sync.client import connect

from tests.support.nodes import wait
from tests.support.scripts import script
from tests.support.websockets import Socket

MOST = 400 * 1024 * 1024
"""What the process of a hub may take: its budget of 256 MiB, the interpreter, and what is being worked on."""

TOKEN = "the-access-token-of-the-tests-0123456789"

HUB = """
from berrymq.bridge.hub.process import HubOptions, serve_hub
serve_hub(HubOptions(access_token=os.environ["TOKEN"]), lambda file: print(file.info.url, flush=True))
"""


class HubProcess:
    def __init__(self, process):
        self.url = process.stdout.readline().strip()
        self.process = psutil.Process(process.pid)
        self.most = 0
        self._stack = ExitStack()

    def connect(self, **options):
        """A connection that ends with the test; one that was closed already takes no harm."""
        return self._stack.enter_context(self.visit(**options))

    def visit(self, **options):
        """A connection, for ``with``."""
        return connect(
            self.url.replace("http", "ws", 1) + "ws",
            subprotocols=["berrymq.v1"],
            additional_headers={"Authorization": f"Bearer {TOKEN}"},
            compression=None,
            proxy=None,
            max_size=None,
            ping_interval=None,
            close_timeout=0.1,
            **options,
        )

    def rss(self):
        size = self.process.memory_info().rss
        self.most = max(self.most, size)
        return size

    def answers(self):
        with self.visit() as connection:
            assert Socket(connection).answer("ping")["result"] == "pong"


@pytest.fixture
def hub(runtime):
    with script(HUB, TOKEN=TOKEN) as process:
        hub = HubProcess(process)
        with hub._stack:
            yield hub
        hub.answers()
        assert hub.process.is_running()
        print(f"at most {hub.most >> 20} MiB")


def link(connection, name):
    return Socket(connection).answer("interconnect", {"name": name, "key": f"the secret key of {name}"})


def publish(socket, hub, count, size, identifier="test:run"):
    token = socket.answer("connect_oneway", {"name": "sender"})["result"]
    text = "x" * size
    for number in range(count):
        answer = socket.answer("send_message", [token, identifier, [text]], id=number)
        assert "result" in answer, answer
        hub.rss()


@pytest.mark.timeout(120)
def test_slow_readers(hub):
    """Fifteen that follow and do not read."""
    connections = []
    for number in range(15):
        connection = hub.connect(max_queue=1)
        link(connection, f"slow reader {number}")
        Socket(connection).notify("interest", n=1, ack=0, add=["test:*"], reset=True)
        connections.append(connection)
    with hub.visit() as connection:
        publish(Socket(connection), hub, 120, 1_000_000)
    assert hub.most < MOST
    for connection in connections:
        connection.socket.close()


@pytest.mark.timeout(120)
def test_queues_that_nobody_empties(hub):
    with hub.visit() as connection:
        socket = Socket(connection)
        for _ in range(12):
            assert "result" in socket.answer("connect_via_queue", ["test:*"])
        publish(socket, hub, 120, 1_000_000)
    assert hub.most < MOST


@pytest.mark.timeout(120)
def test_fragments_that_are_never_finished(hub):
    connections = [hub.connect() for _ in range(30)]
    mask = bytes(4)
    part = b"x" * 1_000_000
    for turn in range(23):
        for connection in connections:
            first = 0x01 if turn == 0 else 0x00  # text, then continuations; never the last
            head = bytes([first, 0xFF]) + struct.pack(">Q", len(part)) + mask
            try:
                connection.socket.settimeout(10)
                connection.socket.sendall(head + part)
            except OSError:
                pass  # it was cut
        hub.rss()
    assert hub.most < MOST
    for connection in connections:
        connection.socket.close()


@pytest.mark.timeout(120)
def test_a_great_many_identifiers_that_are_followed(hub):
    connections = []
    for number in range(30):
        connection = hub.connect(max_queue=1)
        link(connection, f"follower {number}")
        socket = Socket(connection)
        for part in range(10):
            add = [f"n{number}x{part}x{one}:" + "a" * 40 for one in range(1_000)]
            socket.notify("interest", n=part + 1, ack=0, add=add)
        connections.append(connection)
        hub.rss()
    hub.answers()
    hub.rss()
    assert hub.most < MOST
    for connection in connections:
        connection.socket.close()


def nodes_of(socket):
    return socket.answer("status")["result"]["nodes"]


@pytest.mark.timeout(120)
def test_two_hundred_nodes_leave_nothing_behind(hub):
    def visit():
        connections = []
        for number in range(200):
            connection = hub.connect(max_queue=None)
            link(connection, f"visitor {number}")
            add = [f"v{number}:{one}" for one in range(20)]
            Socket(connection).notify("interest", n=1, ack=0, add=add, reset=True)
            connections.append(connection)
        with hub.visit() as connection:
            publish(Socket(connection), hub, 200, 10_000, "v1:1")
        for connection in connections:
            connection.close()
        with hub.visit() as connection:
            socket = Socket(connection)
            wait(lambda: not nodes_of(socket), "all have left")

    visit()  # what the interpreter keeps for itself after the first time is no leak
    first = hub.rss()
    for _ in range(3):
        visit()
    last = hub.rss()
    print(f"{first >> 20} MiB after the first 200 nodes, {last >> 20} MiB after 600 more")
    assert last - first < 5 * 1024 * 1024
    assert last < 64 * 1024 * 1024


@pytest.mark.timeout(60)
def test_a_large_answer_to_one_who_does_not_read_is_not_held_for_long(hub):
    with hub.visit() as connection:
        socket = Socket(connection)
        token = socket.answer("connect_via_queue", ["test:*"])["result"]
        publish(socket, hub, 1, 8_000_000)
        params = json.dumps({"token": token, "received": 0, "block": True})
        call = f'{{"jsonrpc":"2.0","id":1,"method":"get","params":{params}}}'
        others = [hub.connect(max_queue=1) for _ in range(20)]
        for other in others:
            for _ in range(6):
                try:
                    other.socket.sendall(text_frame(call))
                except OSError:
                    break
            hub.rss()
        wait(hub.rss, "it works")
        hub.answers()
        hub.rss()
        assert hub.most < MOST
        for other in others:
            other.socket.close()


def text_frame(text):
    data = text.encode()
    return bytes([0x81, 0xFE]) + struct.pack(">H", len(data)) + bytes(4) + data


def test_it_is_small_when_nobody_is_there(hub):
    size = hub.rss()
    print(f"{size >> 20} MiB")
    assert size < 48 * 1024 * 1024, os.getpid()
