"""The hub is found or started, held, and found again; who does not know its access token learns nothing."""

import asyncio
import json
import logging
import os
import signal
import socket
from contextlib import asynccontextmanager, suppress

import msgspec
import psutil
import pytest

from berrymq.bridge.discovery.connection_file import read_hub
from berrymq.bridge.discovery.endpoint import Endpoint
from berrymq.bridge.discovery.finding import Found
from berrymq.bridge.discovery.starting import start_hub
from berrymq.bridge.errors import LinkError
from berrymq.bridge.protocol import handshake
from berrymq.bridge.protocol.connection import server_connection
from berrymq.bridge.protocol.events import Opened, Request, Text
from berrymq_jupyter.server import hub_socket, hub_supervisor
from berrymq_jupyter.server.hub_socket import connect, post
from berrymq_jupyter.server.hub_supervisor import HeldHub, find_hub
from tests.support.hubs import end_hubs, has_ended
from tests.support.waiting import wait_until

TOKEN = "the-access-token-of-the-hub"
STATUS = {"jsonrpc": "2.0", "id": 1, "method": "status"}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A user's home, whose hubs end with the test."""
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("BERRYMQ_RUNTIME_DIR", str(tmp_path / "run"))
    yield tmp_path
    end_hubs(tmp_path)


@asynccontextmanager
async def held():
    hub = HeldHub(logging.getLogger("test"))
    hub.start()
    try:
        yield hub
    finally:
        await hub.close()


async def gone(pid):
    await asyncio.to_thread(wait_until, lambda: has_ended(pid), "end of the hub")


async def test_the_holder_starts_the_hub_and_gets_its_status():
    async with held() as hub:
        place = await hub.address()
        assert place.found_by == "started a hub"
        assert msgspec.json.decode(await hub.call("status"))["name"] == "hub"


async def test_the_holder_keeps_the_hub_running_until_it_is_closed():
    pid = start_hub(idle=0.5).info.pid
    async with held() as hub:
        assert (await hub.address()).info.pid == pid
        with pytest.raises(psutil.TimeoutExpired):
            await asyncio.to_thread(psutil.Process(pid).wait, 1.5)
    await gone(pid)


async def test_the_holder_is_no_node_and_no_client():
    async with held() as hub:
        status = msgspec.json.decode(await hub.call("status"))
        assert (status["nodes"], status["clients"]) == ([], [])


async def test_a_hub_that_has_died_is_started_again():
    async with held() as hub:
        former = (await hub.address()).info.pid
        os.kill(former, signal.SIGKILL)
        await gone(former)
        place = await hub.address()
        while place.info.pid == former:  # it was not noticed yet
            await asyncio.sleep(0.01)
            place = await hub.address()
        assert msgspec.json.decode(await hub.call("status"))["name"] == "hub"


async def test_many_questions_at_once():
    async with held() as hub:
        await hub.address()
        answers = await asyncio.gather(*[hub.call("status") for _ in range(20)])
        assert len(answers) == 20


async def test_a_hub_that_does_not_answer_is_no_reason_for_another(monkeypatch, caplog):
    caplog.set_level(logging.WARNING, logger="test")
    async with held() as hub:
        pid = (await hub.address()).info.pid
        for module, name in (
            (hub_supervisor, "CALL_SECONDS"),
            (hub_supervisor, "START_SECONDS"),
            (hub_supervisor, "LONGEST_BACKOFF_SECONDS"),
            (hub_socket, "CONNECT_SECONDS"),
        ):
            monkeypatch.setattr(module, name, 0.3)
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(LinkError, match="does not answer"):
                await hub.call("status")
            await asyncio.to_thread(wait_until, lambda: len(caplog.messages) == 1, "the warning")
            for _ in range(2):
                with pytest.raises(LinkError, match="can't be reached"):
                    await hub.address()
            assert read_hub().pid == pid
            assert len(caplog.messages) == 1  # it is logged once
        finally:
            os.kill(pid, signal.SIGCONT)
        while True:
            try:
                assert (await hub.address()).info.pid == pid
                break
            except LinkError:
                continue


async def test_a_close_in_the_middle_of_a_start_waits_for_nothing():
    hub = HeldHub(logging.getLogger("test"))
    hub.start()
    await asyncio.sleep(0)
    async with asyncio.timeout(0.2):
        await hub.close()
    await asyncio.to_thread(wait_until, read_hub, "the hub that was being started")


class TestWhichHub:
    def test_is_the_one_that_the_environment_names(self, monkeypatch):
        monkeypatch.setenv("BERRYMQ_HUB_URL", "https://hub.example/")
        monkeypatch.setenv("BERRYMQ_HUB_TOKEN", TOKEN)
        found = find_hub()
        assert (found.endpoint.url, found.access_token) == ("https://hub.example/", TOKEN)

    @pytest.mark.parametrize(
        "url",
        [
            "http://hub.example/",  # its token would be shown on the network
            "http://127.0.0.1:8888/berrymq/",  # it may be this very server
        ],
    )
    def test_is_the_user_s_own_otherwise(self, monkeypatch, url):
        monkeypatch.setenv("BERRYMQ_HUB_URL", url)
        monkeypatch.setenv("BERRYMQ_HUB_TOKEN", TOKEN)
        assert find_hub().found_by == "started a hub"
        assert find_hub().found_by == "connection file"

    def test_is_none_without_a_private_place(self, home):
        (home / "run").chmod(0o777)
        with pytest.raises(LinkError, match="open to other users"):
            find_hub()
        (home / "run").chmod(0o700)


class Stranger:
    """Listens where the hub was, says what it likes, and writes down what it is told."""

    def __init__(self, hello) -> None:
        self.hello = hello
        self.told = b""
        self.port = 0
        self._ended = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        async with asyncio.timeout(10):
            for ended in self._ended:
                await ended.wait()

    @property
    def found(self):
        return Found(Endpoint.parse(("127.0.0.1", self.port)), TOKEN, "connection file")

    async def _talk(self, reader, writer):
        ended = asyncio.Event()
        self._ended.append(ended)
        connection = server_connection()
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                self.told += data
                for event in connection.receive(data):
                    self._answer(connection, event)
                writer.writelines(connection.take())
        writer.close()
        ended.set()

    def _answer(self, connection, event):
        if isinstance(event, Request):
            self.told += repr(event).encode()
            connection.upgrade(event)
        elif isinstance(event, Text):
            self.told += event.data
            call = json.loads(event.data)
            answer = self.hello(call["params"], self.port) if call["method"] == "hello" else "ok"
            reply = {"jsonrpc": "2.0", "id": call["id"], "result": answer}
            connection.send_text(json.dumps(reply).encode())
        else:
            assert isinstance(event, Opened) or not connection.is_websocket


def guess(params, port):
    return {"nonce": "n" * 16, "proof": "0" * 64, "port": port, "id": "x"}


def relayed(params, port):
    """The proof of the hub that really runs, at another port."""
    proof = handshake.server_proof(TOKEN, params["nonce"], "n" * 16, port + 1)
    return {"nonce": "n" * 16, "proof": proof, "port": port + 1, "id": "x"}


class TestStrangers:
    @pytest.mark.parametrize("hello", [guess, relayed, lambda *_: "what?", lambda *_: None])
    async def test_learn_nothing(self, hello):
        async with Stranger(hello) as stranger:
            with pytest.raises(LinkError):
                await connect(stranger.found)
            assert b"hello" in stranger.told
            for secret in (TOKEN.encode(), b"authenticate"):
                assert secret not in stranger.told

    async def test_silent_listeners_delay_no_other(self, monkeypatch):
        monkeypatch.setattr(hub_socket, "CONNECT_SECONDS", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            found = Found(Endpoint.parse(listening.getsockname()), TOKEN, "connection file")
            with pytest.raises(TimeoutError):
                await connect(found)

    async def test_listeners_that_do_not_speak_http(self):
        async def talk(reader, writer):
            writer.write(b"220 hello\r\n" * 3)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        found = Found(Endpoint.parse(server.sockets[0].getsockname()), TOKEN, "connection file")
        with pytest.raises((LinkError, OSError)):
            await connect(found)
        with pytest.raises((LinkError, OSError)):
            await post(found, b"{}")
        server.close()


async def test_a_call_of_any_size_comes_back_whole():
    found = await asyncio.to_thread(start_hub)
    batch = [{**STATUS, "id": "x" * 250}] * 100
    status, answer = await post(found, json.dumps(batch).encode() + b" " * 5_000_000)
    assert status == 200
    assert len(json.loads(answer)) == 100
    assert await post(found, b'{"jsonrpc":"2.0","method":"ping"}') == (204, b"")
