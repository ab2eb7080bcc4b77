"""What is passed on to the hub: both ways, in the order and to the end that the other side has given it."""

import asyncio
import json
import os
import signal
import socket
import time
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from http.client import HTTPConnection

import psutil
import pytest
from tornado.httpclient import HTTPClientError
from tornado.iostream import IOStream
from tornado.websocket import websocket_connect

import berrymq
from berrymq.bridge.protocol.connection import client_connection
from berrymq.bridge.protocol.handshake import node_id_of
from berrymq.bridge.runtime import runtime
from berrymq_jupyter.server.handlers import relay
from berrymq_jupyter.server.hub_socket import CHUNK_BYTES, HubSocket
from tests.support.access import insider
from tests.support.hubs import end_hubs, wait_for_hub
from tests.support.jupyter_server import JupyterServer
from tests.support.recorder import Recorder
from tests.support.visitor import Visitor
from tests.support.waiting import wait_until

PASSED_ON = 2 * 1024 * 1024
"""What lies in the buffers of the relay and of the sockets on both sides, at most."""


@pytest.fixture
def visitor(token_server):
    wait_for_hub(token_server.home)
    return insider(token_server)


def call(method, id=1, **params):
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params})


def interconnect(name):
    return call("interconnect", name=name, key=key_of(name))


def key_of(name):
    return f"the secret key of {name}"


def nodes(visitor):
    """Who is there, and in which state."""
    return {
        node["name"]: node["state"] for node in visitor.get("berrymq/state").json["nodes"] if not node["here"]
    }


async def state_of(visitor, name, state):
    """Wait until a node is in a state; None when it is not there."""
    await asyncio.to_thread(wait_until, lambda: nodes(visitor).get(name) == state, f"{name} to be {state}")


@contextmanager
def stopped(pid):
    """A process that lives and does not answer."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def connected(visitor, name):
    """A WebSocket that is a link."""
    connection = await websocket_connect(visitor.websocket_request(), subprotocols=["berrymq.v1"])
    try:
        await connection.write_message(interconnect(name))
        assert json.loads(await connection.read_message())["result"]["hub"] is True
        yield connection
    finally:
        connection.close(1000)
        await ended(connection)


async def ended(connection):
    """Wait until the other side has ended a connection, which is told once."""
    while not hasattr(connection, "has_ended"):
        if await connection.read_message() is None:
            connection.has_ended = True


async def test_a_client_that_closes_has_left(visitor):
    async with connected(visitor, "one that leaves"):
        await state_of(visitor, "one that leaves", "linked")
    await state_of(visitor, "one that leaves", None)


async def test_a_page_that_is_closed_has_left(visitor):
    async with connected(visitor, "one that goes away") as connection:
        connection.close(1001)
        await state_of(visitor, "one that goes away", None)


async def test_a_client_that_is_cut_off_may_resume(visitor):
    async with connected(visitor, "one that is cut") as connection:
        connection.protocol.stream.close()
        await state_of(visitor, "one that is cut", "cut")


async def test_last_words_arrive(visitor):
    """Many of them, behind which the connection is closed at once."""
    async with visitor.connect() as other:
        token = await ask(other, "connect_via_queue", identifier="last:word")
        async with connected(visitor, "last words") as connection:
            me = node_id_of(key_of("last words"))
            for number in range(1, 501):
                batch = ["last:word", me, "last words", number, 1, [[1.0, ["x" * 10_000], {}]]]
                frame = {"n": number, "ack": 0, "batches": [batch]}
                text = json.dumps({"jsonrpc": "2.0", "method": "messages", "params": frame})
                connection.write_message(text)
        got = [await ask(other, "get", token=token) for _ in range(500)]
        assert [one["n"] for one in got] == list(range(1, 501))
    await state_of(visitor, "last words", None)


async def ask(connection, method, **params):
    """Call a method and return its result."""
    await connection.write_message(call(method, **params))
    return json.loads(await connection.read_message())["result"]


async def test_what_is_against_the_protocol_ends_as_the_hub_ends_it(visitor):
    async with connected(visitor, "one that errs") as connection:
        await connection.write_message('{"jsonrpc":"2.0","method":"messages","params":{}}')
        await ended(connection)
        assert connection.close_code == 1002
        assert connection.close_reason


async def test_a_ping_is_answered_by_the_hub_itself(visitor, token_server):
    async with connected(visitor, "one that asks") as connection:
        pongs = asyncio.Queue()
        connection.on_pong = pongs.put_nowait
        reading = asyncio.ensure_future(ended(connection))
        connection.ping(b"one")
        assert await asyncio.wait_for(pongs.get(), 10) == b"one"
        with stopped(wait_for_hub(token_server.home)["pid"]):
            connection.ping(b"two")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(pongs.get(), 0.5)
        assert await asyncio.wait_for(pongs.get(), 10) == b"two"
        connection.close(1000)
        await reading


async def test_a_hub_that_does_not_answer_is_an_error_and_delays_no_other_request(visitor, token_server):
    with stopped(wait_for_hub(token_server.home)["pid"]):
        linking = asyncio.ensure_future(websocket_connect(visitor.websocket_request()))
        began = time.monotonic()
        assert (await asyncio.to_thread(visitor.get, "api/status")).status == 200
        assert time.monotonic() - began < 2
        with pytest.raises(HTTPClientError, match="503"):
            await linking


def test_a_hub_that_ends_says_so_and_one_that_is_killed_does_not(tmp_path):
    async def ends_with(visitor, pid, number):
        async with connected(visitor, "me") as connection:
            os.kill(pid, number)
            await ended(connection)
            return connection.close_code

    with JupyterServer(tmp_path) as server:
        visitor = insider(server)
        first = wait_for_hub(tmp_path)
        assert asyncio.run(ends_with(visitor, first["pid"], signal.SIGTERM)) == 1001
        wait_until(lambda: wait_for_hub(tmp_path) != first, "the next hub")
        second = wait_for_hub(tmp_path)
        assert asyncio.run(ends_with(visitor, second["pid"], signal.SIGKILL)) is None


def test_a_link_from_elsewhere_survives_the_death_of_the_hub_and_of_the_server(tmp_path, monkeypatch):
    """It comes back by itself, and what was said meanwhile arrives."""
    monkeypatch.setenv("BERRYMQ_RUNTIME_DIR", str(tmp_path / "elsewhere"))
    server = JupyterServer(tmp_path / "home")
    buses = [berrymq.Bus(), berrymq.Bus()]
    heard = Recorder(buses[1])
    with server:
        server_url, port = server.url, int(server.url.rsplit(":", 1)[1].strip("/"))
        links = [
            berrymq.link(f"{server_url}berrymq/", access_token=server.token, bus=bus, name=name)
            for bus, name in zip(buses, ("one", "two"), strict=True)
        ]
        wait_until(lambda: links[0].is_followed("test:run"), "the follower")
        buses[0].twitter("test:run", 1)
        heard.wait_for(1)
        end_hubs(server.home)
        buses[0].twitter("test:run", 2)
        heard.wait_for(2)
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: {link.state for link in links} == {"connecting"}, "the cut")
        buses[0].twitter("test:run", 3)
    again = JupyterServer(tmp_path / "home", port=port)
    with again:
        heard.wait_for(3)
        assert heard.sent == [("one", 1), ("one", 2), ("one", 3)]
        for link in links:
            link.close()
    for bus in buses:
        bus.close()
    assert runtime().end_if_idle()


def test_a_message_that_a_lost_client_waited_for_is_left_for_the_next(token_server, visitor):
    """Its HTTP request ends here, and so does its wait at the hub."""
    token = visitor.post(
        "berrymq/rpc", {"jsonrpc": "2.0", "id": 1, "method": "connect_via_queue", "params": ["w:*"]}
    )
    token = token.json["result"]
    body = call("get", token=token).encode()
    host, port = token_server.url.split("/")[2].split(":")
    head = (
        f"POST /user/me/berrymq/rpc HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token_server.token}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as lost:
        lost.sendall(head.encode() + body)
        pid = wait_for_hub(token_server.home)["pid"]
        wait_until(lambda: connections(token_server.pid, pid) == 2, "the call at the hub")
    wait_until(lambda: connections(token_server.pid, pid) == 1, "the end of the call")
    say = {"jsonrpc": "2.0", "id": 1, "method": "send_message", "params": [token, "w:x", [1]]}
    assert visitor.post("berrymq/rpc", say).json["result"] == "ok"
    got = visitor.post("berrymq/rpc", {"jsonrpc": "2.0", "id": 1, "method": "get_nowait", "params": [token]})
    assert got.json["result"]["args"] == [1]


def connections(pid, hub_pid):
    """How many connections one process has to the port of another."""
    (port,) = {
        one.laddr.port
        for one in psutil.Process(hub_pid).net_connections()
        if one.status == psutil.CONN_LISTEN
    }
    there = psutil.Process(pid).net_connections()
    return sum(
        one.status == psutil.CONN_ESTABLISHED and one.raddr and one.raddr.port == port for one in there
    )


def test_messages_of_this_machine_do_not_come_through_the_server(token_server, monkeypatch):
    """However many there are: the hub is another process, and the server has one connection to it."""
    told = wait_for_hub(token_server.home)
    monkeypatch.setenv("BERRYMQ_RUNTIME_DIR", token_server.environment["BERRYMQ_RUNTIME_DIR"])
    sender, follower = berrymq.Bus(), berrymq.Bus()
    heard = Recorder(follower)
    with berrymq.link(bus=sender, name="a") as link, berrymq.link(bus=follower, name="b"):
        wait_until(lambda: link.is_followed("test:run"), "the follower")
        before = [psutil.Process(pid).cpu_times().user for pid in (token_server.pid, told["pid"])]
        for number in range(100_000):
            sender.twitter("test:run", number)
            if number % 10_000 == 0:
                link.flush(20)
        heard.wait_for(100_000)
        server, hub = (
            psutil.Process(pid).cpu_times().user - former
            for pid, former in zip((token_server.pid, told["pid"]), before, strict=True)
        )
        assert connections(token_server.pid, told["pid"]) == 1
        assert server <= 0.05 + hub / 4
    sender.close()
    follower.close()
    assert runtime().end_if_idle()


class Relayed:
    """A relay between two sockets of this test, whose other ends are `client` and `hub`."""

    async def __aenter__(self):
        self.client, here = socket.socketpair()
        self.hub, there = socket.socketpair()
        for one in (self.client, self.hub):
            one.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=there, limit=CHUNK_BYTES)
        self._writer = writer
        upstream = HubSocket(reader, writer, client_connection("ws://127.0.0.1:1/ws"))
        self.passing = asyncio.ensure_future(relay(IOStream(here), upstream))
        return self

    async def __aexit__(self, *_):
        self.passing.cancel()
        await asyncio.wait([self.passing])
        self._writer.transport.abort()
        self.client.close()
        self.hub.close()
        await asyncio.sleep(0)


async def pour(sock):
    """Write until nothing more is taken for a while; return how much that was."""
    loop = asyncio.get_running_loop()
    sent = 0
    with suppress(TimeoutError):
        while True:
            await asyncio.wait_for(loop.sock_sendall(sock, b"x" * 4096), 0.5)
            sent += 4096
    return sent


async def drained(sock):
    """Read to the end; return how much that was."""
    loop = asyncio.get_running_loop()
    size = 0
    while data := await loop.sock_recv(sock, 1 << 20):
        size += len(data)
    return size


async def test_a_client_that_does_not_read_holds_the_hub_up_and_fills_no_memory():
    async with Relayed() as relayed:
        assert 0 < await pour(relayed.hub) < PASSED_ON
        assert not relayed.passing.done()


async def test_a_hub_that_does_not_read_holds_the_client_up():
    async with Relayed() as relayed:
        assert 0 < await pour(relayed.client) < PASSED_ON
        assert not relayed.passing.done()


@pytest.mark.parametrize("way", [("client", "hub"), ("hub", "client")])
async def test_all_that_was_said_before_the_end_is_passed_on(way):
    async with Relayed() as relayed:
        one, other = (getattr(relayed, side) for side in way)
        reading = asyncio.ensure_future(drained(other))
        await asyncio.get_running_loop().sock_sendall(one, b"x" * 5_000_000)
        one.close()
        assert await asyncio.wait_for(reading, 10) == 5_000_000
        await asyncio.wait_for(relayed.passing, 10)


@pytest.mark.parametrize("way", [("client", "hub"), ("hub", "client")])
async def test_the_end_of_a_connection_is_noticed_while_the_other_side_is_silent(way):
    async with Relayed() as relayed:
        one, other = (getattr(relayed, side) for side in way)
        one.close()
        assert await asyncio.wait_for(drained(other), 10) == 0
        await asyncio.wait_for(relayed.passing, 10)


def test_a_request_that_is_no_websocket_is_refused(token_server, visitor):
    assert visitor.get("berrymq/ws").status == 400
    asked = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "12"}
    host = token_server.url.split("/")[2]
    with closing(HTTPConnection(host)) as connection:
        headers = asked | {"Sec-WebSocket-Key": "x", "Authorization": f"Bearer {token_server.token}"}
        connection.request("GET", "/user/me/berrymq/ws", headers=headers)
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Sec-WebSocket-Version"]) == (426, "13")


def test_without_a_hub_calls_are_refused_in_one_line(tmp_path):
    server = JupyterServer(tmp_path)
    (tmp_path / "run").chmod(0o777)
    with server:
        answer = Visitor(server.url, server.token).post(
            "berrymq/rpc", {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        )
        assert answer.status == 503
        assert answer.json["reason"] == "the hub does not answer"
        (tmp_path / "run").chmod(0o700)
        wait_until(lambda: wait_for_hub(tmp_path), "the hub, once there is a place for it")
