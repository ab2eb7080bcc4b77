"""A channel in the turns of its loop, which here are a test's to run."""

import select
import selectors
import socket
import struct
import tracemalloc
from contextlib import ExitStack, suppress

import pytest

from berrymq.bridge.protocol.connection import client_connection, server_connection
from berrymq.bridge.protocol.events import Closed, Text
from berrymq.bridge.transport.budget import Budget
from berrymq.bridge.transport.channel import SLICE_BYTES, Channel


class FakeLoop:
    """As much of a loop as a channel needs; its clock goes on as a test says."""

    def __init__(self):
        self.now = 0.0
        self.calls = []

    def time(self):
        return self.now

    def call(self, function, *args):
        self.calls.append((function, args))

    def call_later(self, seconds, function, *args):
        pass

    def watch(self, sock, callback, *, writing=False):
        self.ready = callback

    def unwatch(self, sock):
        return True

    def suspend(self, sock):
        return True

    def run_guarded(self, function, args=()):
        function(*args)

    def turn(self):
        calls, self.calls = self.calls, []
        for function, args in calls:
            function(*args)
        return bool(calls)


def text_frame(data):
    length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xff" + struct.pack(">Q", len(data))
    return b"\x81" + length + bytes(4) + data


def upgraded():
    """A server's connection that is a WebSocket, and trusted."""
    connection = server_connection()
    client = client_connection("ws://localhost/ws")
    (request,) = connection.receive(b"".join(client.take()))
    connection.upgrade(request)
    connection.trust()
    connection.take()
    return connection


@pytest.fixture
def loop():
    return FakeLoop()


@pytest.fixture
def budget():
    return Budget()


@pytest.fixture
def texts():
    """The messages that have come, and at the end None."""
    return []


@pytest.fixture
def sockets():
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        there.settimeout(10)
        there.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        yield here, there


@pytest.fixture
def seconds_each(loop):
    """What it takes to deal with a message: a list of one number, for tests to change."""
    return [0.0]


@pytest.fixture
def channel(loop, sockets, budget, texts, seconds_each):
    """A server's, upgraded to a WebSocket and trusted."""

    def take(event):
        loop.now += seconds_each[0]
        if isinstance(event, Text):
            texts.append(event.data)
        elif isinstance(event, Closed):
            texts.append(None)

    channel = Channel(loop, sockets[0], upgraded(), take, None, budget)
    channel.start()
    yield channel
    channel.abort()
    loop.turn()


@pytest.fixture
def there(sockets):
    return sockets[1]


def read(loop):
    """Have the loop find that something has come."""
    loop.ready(1)


def test_a_flood_of_tiny_messages_gets_one_slice_of_a_turn(loop, channel, there, texts, seconds_each):
    seconds_each[0] = 0.001
    frame = text_frame(b"0")
    count = 60_000 // len(frame)
    there.sendall(frame * count)
    read(loop)
    turns, most, before = 1, len(texts), len(texts)
    while loop.turn():
        turns += 1
        most = max(most, len(texts) - before)
        before = len(texts)
    assert len(texts) == count
    assert most <= SLICE_BYTES // len(frame) + 1
    assert turns >= count * len(frame) // SLICE_BYTES


def test_what_came_before_the_end_is_taken_in_before_it(loop, channel, there, texts, seconds_each):
    seconds_each[0] = 0.001
    there.sendall(b"".join(text_frame(b"%d" % number) for number in range(3_000)))
    there.close()
    read(loop)
    while loop.turn():
        read(loop)  # the system says again and again that the end has come
    read(loop)
    while loop.turn():
        pass
    assert texts == [*(b"%d" % number for number in range(3_000)), None]


def test_what_goes_fast_is_taken_in_at_once(loop, channel, there, texts):
    large = bytes(60_000)
    there.sendall(text_frame(large) + text_frame(b"next"))
    read(loop)
    assert texts == [large, b"next"]
    assert not loop.calls


def test_what_waits_for_its_turn_is_in_the_budget(loop, channel, there, budget, seconds_each):
    seconds_each[0] = 0.001
    there.sendall(text_frame(b"0") * 8_000)
    read(loop)
    assert budget.held > 40_000
    while loop.turn():
        pass
    assert budget.held == 0


@pytest.mark.skipif(not hasattr(select, "poll"), reason="no thread reads there but the loop's")
def test_one_who_reads_itself_goes_on_at_once_and_leaves_the_rest_to_the_loop(
    loop, channel, there, texts, seconds_each
):
    seconds_each[0] = 0.001
    count = 5_000
    there.sendall(text_frame(b"0") * count)
    assert channel.pump(lambda: len(texts) >= 2_000, None)
    assert 2_000 <= len(texts) < count
    while loop.turn():
        pass
    assert len(texts) == count


def test_what_many_do_not_read_is_in_memory_once(loop, budget):
    large = bytes(20_000_000)
    message = (b"head", large, b"tail")
    with ExitStack() as stack:
        channels = []
        tracemalloc.start()
        for _ in range(20):
            here, there = socket.socketpair()
            stack.enter_context(here)
            stack.enter_context(there)
            here.setblocking(False)
            channels.append(Channel(loop, here, upgraded(), lambda event: None, None, budget))
            channels[-1].send_texts([message, b"small"])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 10_000_000
        assert len(large) < budget.held < len(large) + 100_000
        budget.relieve(0.0)
        for channel in channels[1:]:
            channel.abort()
        assert len(large) < budget.held < len(large) + 10_000
        channels[0].abort()
        assert (budget.held, budget._shared) == (0, {})
        loop.turn()


def test_a_large_message_in_parts_arrives_whole(loop, channel, there):
    parts = (b"head", b"x" * 300_000, b"tail")
    channel.send_texts([parts, b"small"])
    received = bytearray()
    whole = len(b"".join(parts))
    while len(received) < whole + 10 + 2 + 5:
        received += there.recv(100_000)
        loop.ready(2)
    assert bytes(received) == b"\x81\x7f" + struct.pack(">Q", whole) + b"".join(parts) + b"\x81\x05small"
    assert channel.held_bytes == 0


def test_one_that_was_cut_holds_nothing_any_more(loop, channel, there, budget):
    part = b"\x01\xff" + struct.pack(">Q", 5_000_000) + bytes(4) + bytes(100_000)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    there.sendall(part)
    for _ in range(2):
        read(loop)
        while loop.turn():
            pass
    assert budget.held > 100_000
    channel.abort()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert budget.held == 0
    assert after - before < 20_000


def test_what_is_sent_when_all_is_written_is_overtaken_and_takes_no_memory_before(loop, channel, there):
    there.setblocking(False)
    with suppress(BlockingIOError):  # whatever the socket accepts
        while True:
            channel._sock.send(bytes(65_536))
    calls = []

    def send():
        calls.append(len(calls))
        channel.send_text(b"later")

    channel.send_text(b"before")
    for _ in range(3):
        channel.when_written(send)
    channel.send_text(b"between")
    assert calls == []
    received = b""
    while received.count(b"later") < 3:
        with suppress(BlockingIOError):
            received += there.recv(1 << 20).replace(b"\0", b"")
        loop.ready(selectors.EVENT_WRITE)
        loop.turn()
    assert calls == [0, 1, 2]
    assert received.index(b"before") < received.index(b"between") < received.index(b"later")
    assert channel.held_bytes == 0


def test_one_who_asks_for_much_and_reads_nothing_is_cut(loop, channel, there, monkeypatch):
    monkeypatch.setattr("berrymq.bridge.transport.channel.MAX_UNREAD_BYTES", 2_000_000)
    with suppress(BlockingIOError):
        while True:
            channel._sock.send(bytes(65_536))
    channel.send_text(b"before")
    for _ in range(4_000):
        assert channel.closed is False
        channel.when_written(lambda: None)
    for _ in range(4_000):
        channel.when_written(lambda: None)
    assert channel.closed
    assert channel.held_bytes < 10_000
