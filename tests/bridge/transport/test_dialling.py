"""Dialling, and what is said of a place that can't be reached."""

import base64
import hashlib
import json
import socket
import threading
from contextlib import contextmanager, suppress
from time import monotonic

import pytest

from berrymq.bridge.discovery.endpoint import Endpoint
from berrymq.bridge.discovery.finding import Found
from berrymq.bridge.errors import RpcError
from berrymq.bridge.server import server as server_module
from berrymq.bridge.transport.dialling import NETWORK_ERRORS, RECONNECT_SECONDS, dial, explain
from tests.support.faults import FaultProxy
from tests.support.nodes import Nodes

TOKEN = "the-access-token-of-the-tests-0123456789"


@contextmanager
def stranger(answer):
    """Something that listens and treats each connection in its own way; what came is kept."""
    came = bytearray()

    def serve():
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                with suppress(OSError):
                    answer(connection, came)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1], came
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def read_head(connection, came):
    while b"\r\n\r\n" not in came:
        data = connection.recv(4096)
        if not data:
            return
        came += data


def place(port, token=TOKEN, scheme="http", path="/"):
    return Found(Endpoint.parse(f"{scheme}://127.0.0.1:{port}{path}"), token, "the test")


def problem_of(found, timeout=5.0):
    with pytest.raises(NETWORK_ERRORS) as caught:
        dial(found, timeout=timeout)
    return explain(found, caught.value)


@pytest.fixture
def nodes():
    with Nodes() as nodes:
        yield nodes


@pytest.fixture
def node(nodes):
    node = nodes.add("node", listening=False)
    nodes.listen(node, access_token=TOKEN)
    return node


class TestDialling:
    def test_calls_are_answered(self, nodes, node):
        dialled = dial(nodes.place(node))
        assert json.loads(bytes(dialled.call("ping", {}))) == "pong"
        dialled.close()

    def test_small_frames_are_not_kept_back_on_either_side(self, nodes, node):
        dialled = dial(nodes.place(node))
        (conversation,) = nodes.servers[node]._conversations
        for sock in (dialled._sock, conversation.channel._sock):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        dialled.close()

    def test_through_one_that_stands_between_on_this_machine_it_does_not_go(self, nodes, node):
        """It could read on when the real hub has let us in."""
        with FaultProxy(nodes.listening_address(node)) as proxy:
            found = Found(Endpoint.parse(proxy.url), TOKEN, "the test")
            assert "port" in problem_of(found)
        assert not node.peers

    def test_on_this_machine_what_is_not_accepted_at_once_is_asked_for_again(self, nodes, node, monkeypatch):
        """The system itself would ask after one second, two, four."""
        patience = []

        def connect(address, timeout):
            patience.append(timeout)
            if len(patience) < 5:
                raise TimeoutError
            return honest(address, timeout)

        honest = socket.create_connection
        monkeypatch.setattr(socket, "create_connection", connect)
        dial(nodes.place(node), timeout=10.0).close()
        assert patience == [RECONNECT_SECONDS] * 5

    def test_within_the_time_that_there_is(self, monkeypatch):
        def connect(address, timeout):
            threading.Event().wait(timeout)
            raise TimeoutError

        monkeypatch.setattr(socket, "create_connection", connect)
        assert "did not answer in time" in problem_of(place(1), timeout=0.3)


class TestWhatIsSaid:
    def test_nobody_listens(self, unused_tcp_port):
        found = place(unused_tcp_port)
        assert problem_of(found).startswith(f"nothing is listening at {found.endpoint.url}")

    def test_of_one_that_does_not_speak_tls(self, caplog):
        def answer(connection, came):
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.recv(4096)

        with stranger(answer) as (port, _):
            found = place(port, scheme="https")
            said = problem_of(found)
        assert said.startswith(f"no TLS connection to {found.endpoint.url}: ")
        assert "certificate" not in said
        assert caplog.text == ""

    @pytest.mark.parametrize(
        ("status", "text"),
        [
            (401, "rejected the access token"),
            (403, "rejected the access token"),
            (404, "there is no node at"),
            (500, "did not open a WebSocket: HTTP 500"),
        ],
    )
    @pytest.mark.parametrize("token", [None, TOKEN])
    def test_of_another_http_server(self, status, text, token):
        def answer(connection, came):
            read_head(connection, came)
            connection.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)

        with stranger(answer) as (port, _):
            said = problem_of(place(port, token))
        if status in (401, 403) and token is None:
            text = "requires a login"
        assert text in said
        assert "\n" not in said
        assert TOKEN not in said

    @pytest.mark.parametrize("data", [b"SSH-2.0-OpenSSH_9.6\r\n", b"\x00" * 100, b"", b"HTTP/1.1 200 OK\r\n"])
    def test_of_what_is_no_http_at_all(self, data):
        with stranger(lambda connection, came: connection.sendall(data)) as (port, _):
            said = problem_of(place(port))
        assert said.startswith("no ")
        assert "\n" not in said

    def test_of_one_that_says_nothing(self):
        def swallow(connection, came):
            while connection.recv(4096):
                pass

        with stranger(swallow) as (port, _):
            assert "did not answer in time" in problem_of(place(port), timeout=0.3)

    def test_of_one_that_drips(self):
        """Each byte comes in time, and all of them never."""

        def answer(connection, came):
            while True:
                connection.sendall(b"H")
                threading.Event().wait(0.05)

        with stranger(answer) as (port, _):
            assert problem_of(place(port), timeout=0.4)

    def test_of_a_host_name_that_is_not_allowed_there(self, nodes, node, monkeypatch):
        port = nodes.servers[node].port
        honest = socket.create_connection
        monkeypatch.setattr(
            socket, "create_connection", lambda _, timeout: honest(("127.0.0.1", port), timeout)
        )
        said = problem_of(Found(Endpoint.parse(f"http://lab.example.org:{port}/"), TOKEN, "the test"))
        assert said.startswith(
            f"http://lab.example.org:{port}/ refused: the host 'lab.example.org' is not one"
        )
        assert "--allow-host" in said

    def test_of_one_that_is_full(self, nodes, node, monkeypatch):
        monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 0)
        said = problem_of(nodes.place(node))
        assert said.startswith(f"{nodes.servers[node].url} refused: 0 connections are open here already")

    def test_of_a_wrong_token(self, nodes, node):
        with pytest.raises(NETWORK_ERRORS) as caught:
            dial(place(nodes.servers[node].port, "a-wrong-token-a-wrong-token"))
        said = explain(place(nodes.servers[node].port), caught.value)
        assert "a-wrong-token" not in said
        assert "token" in said

    def test_what_the_other_side_says_is_made_printable(self):
        found = place(1)
        said = explain(found, RpcError(-32000, "\x1b[31mred\nline\u202e" + "x" * 10_000))
        assert said.isprintable()
        assert len(said) <= 500


class TestWhoGetsTheToken:
    """A stranger that listens where a node was must learn nothing."""

    def websocket_of(self, connection, came):
        """Open the WebSocket, and return what reads the first frame."""
        read_head(connection, came)
        key = bytes(came).partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Protocol: berrymq.v1\r\nSec-WebSocket-Accept: "
            + base64.b64encode(digest)
            + b"\r\n\r\n"
        )

    @pytest.mark.parametrize(
        "answer",
        [
            b'{"jsonrpc":"2.0","id":1,"result":{"nonce":"0123456789abcdef","proof":"%b","port":%d,"id":"x"}}',
            b'{"jsonrpc":"2.0","id":1,"result":"ok"}',
            b'{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no such method"}}',
            b'{"jsonrpc":"2.0","id":1,"result":{"nonce":"","proof":"","port":0}}',
            b"[]",
        ],
        ids=["a wrong proof", "ok", "no such method", "empty", "nonsense"],
    )
    def test_not_one_that_can_t_prove_that_it_knows_it(self, answer):
        said_before = []

        def serve(connection, came):
            self.websocket_of(connection, came)
            came += connection.recv(4096)
            said_before.append(len(came))
            text = answer % (b"0" * 64, port) if b"%b" in answer else answer
            connection.sendall(bytes([0x81, 126]) + len(text).to_bytes(2, "big") + text)
            while data := connection.recv(4096):
                came += data

        with stranger(serve) as (port, came):
            said = problem_of(place(port))
        assert "\n" not in said
        assert TOKEN.encode() not in came
        assert came[said_before[0] :][:1] in (b"", b"\x88"), "after that it says goodbye at most"

    @pytest.mark.parametrize(
        "endless",
        [b'{"jsonrpc":"2.0","method":"x"}', b""],
        ids=["notifications", "empty fragments"],
    )
    def test_nor_does_one_that_talks_without_end_keep_us(self, endless):
        """What comes is no answer, and it never stops."""

        def serve(connection, came):
            self.websocket_of(connection, came)
            frame = bytes([0x81, len(endless)]) + endless if endless else b"\x00\x00"
            if not endless:
                connection.sendall(b"\x01\x00")
            while True:
                connection.sendall(frame * 1000)

        with stranger(serve) as (port, came):
            began = monotonic()
            assert "did not answer in time" in problem_of(place(port), timeout=0.5)
            assert monotonic() - began < 20
        assert TOKEN.encode() not in came

    def test_nor_one_over_http(self):
        def serve(connection, came):
            read_head(connection, came)
            connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")

        with stranger(serve) as (port, came):
            problem_of(place(port))
        assert b"authorization" not in bytes(came).lower()
        assert TOKEN.encode() not in came
