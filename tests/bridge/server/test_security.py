"""Who is not let in, and what is refused: every line of "Safe by default", on HTTP."""

import asyncio
import json
import logging
from contextlib import AsyncExitStack, suppress

import pytest

from berrymq.bridge.errors import LinkError
from berrymq.bridge.protocol.handshake import node_id_of
from berrymq.bridge.protocol.limits import MAX_TEXT_BYTES
from berrymq.bridge.server import server as server_module
from berrymq.bridge.server.methods import methods
from tests.bridge.server.conftest import TOKEN
from tests.support.nodes import wait
from tests.support.raw_http import RawConnection, ask, request
from tests.support.websockets import websocket

PING = b'{"jsonrpc":"2.0","method":"ping","id":1}'
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "SEARCH"]
PATHS = ["/rpc", "/", "/JSON", "/ws", "/elsewhere"]
REFUSED = {400, 401, 403, 404, 405}


def call(address, body=PING, method="POST", path="/rpc", **headers):
    """A request that would be answered, but for what is changed in it."""
    own = {
        "Host": f"{address[0]}:{address[1]}",
        "Authorization": f"Bearer {TOKEN}",
        "Content_Type": "application/json",
        "Content_Length": str(len(body)),
    }
    return request(method, path, body, **(own | headers))


async def test_the_request_that_the_others_differ_from_is_answered(address):
    answer = await ask(address, call(address))
    assert answer.status == 200
    assert answer.json == {"jsonrpc": "2.0", "result": "pong", "id": 1}


class TestWhoIsLetIn:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize(
        "change",
        [
            {"Authorization": None},
            {"Authorization": "Bearer wrong-token-wrong-token-wrong"},
            {"Authorization": f"Bearer {TOKEN[:-1]}"},
            {"Authorization": f"Basic {TOKEN}"},
            {"Authorization": TOKEN},
            {"Authorization": "Bearer "},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://127.0.0.1:1"},
            {"Host": "evil.example"},
            {"Host": "127.0.0.1.evil.example"},
            {"Host": None},
            {"Host": ["127.0.0.1", "127.0.0.1"]},
            {"Host": "evil.example", "Origin": "http://evil.example"},
        ],
        ids=lambda change: " ".join(f"{name}={value}" for name, value in change.items())[:40],
    )
    async def test_nobody_else_on_any_method_and_path(self, address, method, change, caplog):
        for path in PATHS:
            answer = await ask(address, call(address, method=method, path=path, **change))
            assert answer.status in REFUSED
            assert b"pong" not in answer.body
            assert not any(name.startswith("access-control") for name in answer.headers)
        assert not [record for record in caplog.records if record.levelno > logging.WARNING]

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"Authorization": None}, 401),
            ({"Authorization": "Bearer wrong-token-wrong-token-wrong"}, 401),
            ({"Origin": "https://evil.example"}, 403),
            ({"Host": "evil.example"}, 403),
            ({"Host": "evil.example", "Authorization": None}, 403),
        ],
    )
    async def test_the_refusal_is_a_json_rpc_error(self, address, change, status):
        answer = await ask(address, call(address, **change))
        assert answer.status == status
        assert answer.headers["content-type"] == "application/json"
        assert answer.json["error"]["code"] == -32001
        assert answer.json["id"] is None

    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"])
    async def test_every_name_of_this_machine_alone_is_its_own(self, address, host):
        port = address[1]
        answer = await ask(address, call(address, Host=f"{host}:{port}", Origin=f"http://{host}:{port}"))
        assert answer.status == 200

    async def test_origins_and_hosts_can_be_allowed(self, nodes, node):
        server = nodes.listen(
            node, access_token=TOKEN, hosts=["berry.example"], origins=["https://lab.example:8443"]
        )
        address = server.address
        for change in ({"Host": "berry.example"}, {"Origin": "https://lab.example:8443"}):
            assert (await ask(address, call(address, **change))).status == 200
        assert (await ask(address, call(address, Origin="https://lab.example"))).status == 403

    async def test_the_token_is_not_taken_from_the_url_a_cookie_or_the_body(self, address):
        body = json.dumps(
            {"jsonrpc": "2.0", "method": "authenticate", "params": {"access_token": TOKEN}, "id": 1}
        ).encode()
        for data in (
            call(address, path=f"/rpc?token={TOKEN}&access_token={TOKEN}", Authorization=None),
            call(address, Authorization=None, Cookie=f"token={TOKEN}; access_token={TOKEN}"),
            call(address, body=body, Authorization=None),
        ):
            assert (await ask(address, data)).status == 401

    async def test_no_request_has_a_server_dial(self, address, monkeypatch):
        def connect(*_, **__):
            raise AssertionError("it dials")

        monkeypatch.setattr("berrymq.bridge.transport.dialling.socket.create_connection", connect)
        for method in ("interconnect", "connect_oneway", "connect_via_queue"):
            for name in ("addr", "address", "url", "callback_url"):
                params = {"node": "x", "identifier": "a:b", name: "http://127.0.0.1:9/"}
                body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": 1}).encode()
                assert (await ask(address, call(address, body=body))).json["error"]["code"] == -32602


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "kind",
        [
            None,
            "text/plain",
            "text/plain; application/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/json-patch+json",
            "application/jsonp",
            "",
        ],
    )
    async def test_other_content_types(self, address, kind):
        assert (await ask(address, call(address, Content_Type=kind))).status == 415

    @pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
    async def test_spellings_of_the_one_content_type_are_not(self, address, kind):
        assert (await ask(address, call(address, Content_Type=kind))).status == 200

    @pytest.mark.parametrize("method", [m for m in METHODS if m != "POST"])
    async def test_other_methods_by_one_who_is_let_in(self, address, method):
        answer = await ask(address, call(address, method=method))
        assert answer.status in {400, 405}
        assert b"pong" not in answer.body

    async def test_get_of_the_websocket_without_an_upgrade(self, address):
        answer = await ask(address, call(address, method="GET", path="/ws", body=b""))
        assert answer.status in {400, 426}

    @pytest.mark.parametrize(
        "head",
        [
            b"X: " + b"a" * 20_000,
            b"\r\n".join(b"X-%d: a" % number for number in range(3_000)),
            b"Cookie: " + b"a=b; " * 5_000,
        ],
        ids=["one header", "many headers", "cookies"],
    )
    async def test_a_large_head(self, address, head):
        data = b"POST /rpc HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n\r\n"
        assert (await ask(address, data)).status in {0, 400, 431}

    async def test_a_long_path(self, address):
        assert (await ask(address, call(address, path="/" + "a" * 20_000))).status in {0, 400, 404, 414, 431}

    @pytest.mark.parametrize("authorization", [f"Bearer {TOKEN}", None])
    async def test_a_large_body_before_it_comes(self, address, authorization):
        length = str(MAX_TEXT_BYTES + 1)
        answer = await ask(
            address, call(address, body=b"", Content_Length=length, Authorization=authorization)
        )
        assert answer.status in {0, 400, 401, 413}

    async def test_a_large_body_in_chunks(self, address):
        async with await RawConnection.open(address) as connection:
            head = call(address, body=b"", Content_Length=None, Transfer_Encoding="chunked")
            await connection.send(head)
            chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
            for _ in range(MAX_TEXT_BYTES // 0x100000 + 1):
                await connection.send(chunk)
            assert (await connection.answer()).status in {0, 400, 413}

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("method", ["POST", "GET", "PUT"])
    async def test_the_body_of_a_stranger_is_not_waited_for(self, address, method, path):
        data = call(address, body=b"", method=method, path=path, Content_Length="1000000", Authorization=None)
        assert (await ask(address, data)).status in REFUSED

    async def test_a_body_of_unclear_length(self, address):
        data = call(address, Transfer_Encoding="chunked")
        assert (await ask(address, data)).status in {0, 400}
        for length in ("-1", "1e3", "0x10", "+5", "x"):
            assert (await ask(address, call(address, Content_Length=length))).status in {0, 400}
        assert (await ask(address, call(address, Content_Length=["40", "5"]))).status in {0, 400}

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b"[" * 200_000, -32700),
            (b'{"jsonrpc":"2.0","method":"ping","id":NaN}', -32700),
            (b'{"jsonrpc":"2.0","method":"ping","id":' + b"9" * 100_000 + b"}", -32600),
            (b'{"jsonrpc":"2.0","method":"\\ud800","id":1}', -32700),
            (b'{"jsonrpc":"2.0","method":"\xed\xa0\x80","id":1}', -32700),
            (b'{"jsonrpc":"2.0","method":"send_message","params":["t","a:b",["\xff"]],"id":1}', -32700),
            (b"\x00", -32700),
            (b"[" + b",".join([PING] * 101) + b"]", -32005),
        ],
        ids=["depth", "NaN", "digits", "lone surrogate", "surrogate in UTF-8", "in args", "NUL", "batch"],
    )
    async def test_hostile_json(self, address, body, code):
        answer = await ask(address, call(address, body=body))
        assert answer.status == 200
        assert answer.json["error"]["code"] == code

    async def test_what_is_no_http(self, nodes, node, monkeypatch):
        monkeypatch.setattr(server_module, "AUTHENTICATION_SECONDS", 0.2)
        server = nodes.listen(node)
        for data in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10,
            b"GET\r\n\r\n",
            b"\r\n" * 100 + b"x\r\n\r\n",
        ):
            async with await RawConnection.open(server.address) as connection:
                await connection.send(data)
                assert (await connection.answer()).status in {0, 400}


class TestFloods:
    @pytest.mark.parametrize("sent", ["nothing", "half a head", "half a body"])
    async def test_a_request_that_drips_is_given_up(self, nodes, node, sent, monkeypatch):
        monkeypatch.setattr(server_module, "AUTHENTICATION_SECONDS", 0.2)
        monkeypatch.setattr(server_module, "IDLE_SECONDS", 0.2)
        address = nodes.listen(node, access_token=TOKEN).address
        data = {
            "nothing": b"",
            "half a head": call(address)[:30],
            "half a body": call(address, body=PING)[:-10],
        }[sent]
        async with await RawConnection.open(address) as connection:
            await connection.send(data)
            await connection.ended()

    async def test_those_who_say_nothing_push_out_nobody_who_does(self, address, monkeypatch):
        monkeypatch.setattr(server_module, "MAX_UNAUTHENTICATED", 4)
        half = call(address)[:30]
        async with await RawConnection.open(address) as connection, AsyncExitStack() as stack:
            await connection.send(half)
            assert (await ask(address, call(address))).status == 200  # so it has read that
            for _ in range(30):
                silent = await stack.enter_async_context(await RawConnection.open(address))
            assert (await ask(address, call(address))).status == 200  # so it has seen all of those
            await connection.send(call(address)[30:])
            assert (await connection.answer()).status == 200
            await silent.send(call(address))  # the newest of those is not pushed out either
            assert (await silent.answer()).status == 200

    async def test_connections_are_bounded_and_a_closed_one_makes_room(self, address, monkeypatch):
        monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 3)
        idle = [await RawConnection.open(address) for _ in range(3)]
        for connection in idle:  # each is known to the server once it has answered
            await connection.send(call(address))
            assert (await connection.answer()).status == 200
        refused = await ask(address, call(address))
        assert (refused.status, refused.json["error"]["code"]) == (503, -32004)
        async with idle.pop():
            pass
        async with asyncio.timeout(10):
            while (await ask(address, call(address))).status == 503:
                pass  # the server has not seen the end yet
        for connection in idle:
            async with connection:
                pass


class TestSecrets:
    async def test_the_token_is_in_no_log_answer_or_repr(self, node, server, address, caplog):
        caplog.set_level(logging.DEBUG)

        def fail(conversation):
            raise RuntimeError("a mistake")

        methods._methods["fail"] = type(methods._methods["ping"])(fail)
        try:
            body = b'{"jsonrpc":"2.0","method":"fail","id":1}'
            failed = await ask(address, call(address, body=body))
        finally:
            del methods._methods["fail"]
        assert failed.json["error"] == {"code": -32603, "message": "internal error"}
        changes: list[dict[str, str]] = [
            {},
            {"Host": "evil.example"},
            {"Origin": "https://evil.example"},
            {"Authorization": f"Bearer x{TOKEN}"},
            {"Content_Type": "text/plain"},
            {"method": "PUT"},
            {"path": "/elsewhere"},
            {"Content_Length": "x"},
        ]
        answers = [failed.body, *[(await ask(address, call(address, **change))).body for change in changes]]
        seen = [caplog.text, *map(repr, answers), repr(node), repr(server), repr(server.policy)]
        assert "a mistake" in caplog.text
        assert not any(TOKEN in text for text in seen)

    async def test_a_mistake_inside_tells_the_caller_nothing(self, address, monkeypatch):
        def fail(conversation):
            raise RuntimeError("a secret of the node")

        monkeypatch.setitem(methods._methods, "fail", type(methods._methods["ping"])(fail))
        answer = await ask(address, call(address, body=b'{"jsonrpc":"2.0","method":"fail","id":1}'))
        assert b"secret" not in answer.body

    async def test_answers_are_neither_cached_nor_sniffed_and_do_not_name_the_server(self, address):
        for change in ({}, {"Authorization": None}, {"path": "/elsewhere"}):
            answer = await ask(address, call(address, **change))
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "server" not in answer.headers


class TestBeyondLoopback:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "berry.example"])
    def test_listening_there_takes_tls_or_an_explicit_word(self, nodes, node, host):
        with pytest.raises(LinkError, match="give a TLS certificate, or say explicitly"):
            nodes.listen(node, host)

    async def test_with_the_explicit_word_it_listens(self, nodes, node):
        server = nodes.listen(node, "0.0.0.0", access_token=TOKEN, insecure=True)
        address = ("127.0.0.1", server.port)
        assert (await ask(address, call(address))).status == 200
        assert (await ask(address, call(address, Host="evil.example"))).status == 403


class TestLogs:
    async def test_refused_requests_are_counted_and_not_each_logged(self, address, caplog):
        for _ in range(300):
            answer = await ask(address, call(address, path=f"/rpc?token={TOKEN}", Authorization=None))
            assert answer.status == 401
        lines = [record.getMessage() for record in caplog.records]
        assert 1 <= len(lines) <= 3
        assert not any(TOKEN in line or "?" in line for line in lines)

    @pytest.mark.parametrize(
        "text", ["\x1b[31mred\x1b[0m", "\x9b31m", "two\nlines", "\u202egnp", "\x00", "\u2028"]
    )
    async def test_no_text_of_others_reaches_a_log_as_it_came(self, nodes, node, server, caplog, text):
        """Terminal escapes, line ends and directional marks, in whatever others may name."""
        caplog.set_level(logging.DEBUG)
        with websocket(server, TOKEN) as socket:
            socket.answer("interconnect", {"name": text, "key": "k" * 20, "ttl": 0.2})
            node.bus.follow("a:b", lambda message: None)
            origin = node_id_of("k" * 20)
            socket.notify(
                "messages", n=1, ack=0, batches=[["a:b", origin, text, 1, 1, [[0, {"not": "args"}, {}]]]]
            )
            socket.notify("dropped", n=2, ack=0, count=5)
            socket.notify("interest", n=3, ack=0, add=[f"a:{text}:c"])
            while socket.receive() is not None:
                pass
        wait(lambda: not node.peers, "the link is over")
        for change in ({"path": f"/{text}"}, {"Host": text}, {"Origin": text}):
            with suppress(UnicodeEncodeError):  # no HTTP header or path holds some of them
                await ask(server.address, call(server.address, **change))
        said = [record.getMessage() for record in caplog.records if record.name.startswith("berrymq")]
        assert said
        for line in said:
            assert line.isprintable(), repr(line)
