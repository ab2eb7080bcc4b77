"""Bytes in, events and bytes out: HTTP and WebSocket, at a server and at a client."""

import itertools
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from berrymq.bridge.protocol.connection import (
    MAX_HEADER_BYTES,
    MAX_UNAUTHENTICATED_BYTES,
    client_connection,
    server_connection,
)
from berrymq.bridge.protocol.events import CloseCode, Closed, Opened, Refused, Request, Text
from berrymq.bridge.protocol.limits import MAX_TEXT_BYTES

URL = "ws://127.0.0.1:8137/ws"
CALL = b'{"jsonrpc":"2.0","method":"ping","id":1}'
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:8137\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Protocol: berrymq.v1\r\n\r\n"
)


def post(body=CALL, *headers, target="/rpc"):
    lines = [f"POST {target} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def frame(data, opcode=Opcode.TEXT, *, fin=True, mask=True):
    return Frame(opcode, data, fin).serialize(mask=mask)


def close_frame(code, reason=b""):
    return frame(code.to_bytes(2, "big") + reason, Opcode.CLOSE)


def out(connection):
    return b"".join(connection.take())


def frames_in(data):
    """The opcodes and payloads of the frames of a server."""
    found = []
    while data:
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        found.append((data[0] & 15, data[start : start + size]))
        data = data[start + size :]
    return found


def respond_to_all(connection, events, respond=None):
    """What a server does with its events; every event that came, in order."""
    found = []
    events = list(events)
    while events:
        event = events.pop(0)
        found.append(event)
        if isinstance(event, Request):
            if event.path == "/ws" and event.all("upgrade"):
                events += connection.upgrade(event)
            else:
                events += connection.respond(200, [("X-Was", event.target)], event.body)
    return found


def opened(trusted=True):
    """A server's connection that was upgraded."""
    connection = server_connection()
    respond_to_all(connection, connection.receive(UPGRADE))
    if trusted:
        connection.trust()
    connection.take()
    return connection


def joined():
    """A client and a server, linked."""
    client, server = client_connection(URL), server_connection()
    assert respond_to_all(server, server.receive(out(client)))[-1] == Opened()
    assert client.receive(out(server)) == [Opened()]
    server.trust()
    return client, server


class TestHttp:
    def test_a_request_comes_whole(self):
        connection = server_connection()
        (event,) = connection.receive(post(CALL, "Content-Type: application/json", target="/rpc?x=1"))
        assert (event.method, event.path, event.target, event.body) == ("POST", "/rpc", "/rpc?x=1", CALL)
        assert event.all("content-type") == ["application/json"]

    def test_its_headers_and_its_body_are_in_no_repr(self):
        (event,) = server_connection().receive(post(b"secret", "Authorization: Bearer secret"))
        assert "secret" not in repr(event)

    def test_the_answer(self):
        connection = server_connection()
        connection.receive(post())
        assert connection.respond(200, [("Content-Type", "application/json")], b"{}") == []
        answer = out(connection)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"Content-Length: 2\r\n" in answer
        assert answer.endswith(b"\r\n\r\n{}")
        assert not connection.closed

    def test_an_answer_without_a_body(self):
        connection = server_connection()
        connection.receive(post())
        connection.respond(204)
        assert b"ontent-" not in out(connection)
        assert connection.receive(post()) != []

    def test_pipelined_requests_come_one_after_the_other(self):
        connection = server_connection()
        events = connection.receive(post(b"1") + post(b"2") + post(b"3"))
        assert [event.body for event in events] == [b"1"]
        assert [event.body for event in connection.respond(200)] == [b"2"]
        assert connection.receive(b"") == []
        assert [event.body for event in connection.respond(200)] == [b"3"]
        assert out(connection).count(b"HTTP/1.1 200") == 2

    @pytest.mark.parametrize("request_", [post(CALL, "Connection: close"), post().replace(b"1.1", b"1.0")])
    def test_who_asks_to_close_gets_an_answer_and_the_end(self, request_):
        connection = server_connection()
        connection.receive(request_)
        connection.respond(200, [], b"ok")
        assert out(connection).endswith(b"ok")
        assert connection.closed

    def test_a_body_in_chunks(self):
        connection = server_connection()
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        (event,) = connection.receive(head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        assert event.body == b"abcde"

    def test_who_waits_for_100_continue_is_told_to_go_on(self):
        connection = server_connection()
        request = post(b"12345", "Expect: 100-continue")
        assert connection.receive(request[:-5]) == []
        assert out(connection).startswith(b"HTTP/1.1 100 ")
        assert connection.receive(b"123") == []
        assert out(connection) == b""
        assert connection.receive(b"45")[0].body == b"12345"

    def test_a_body_that_is_too_large_is_refused_before_it_has_come(self):
        connection = server_connection()
        head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_TEXT_BYTES + 1}\r\n\r\n"
        assert isinstance(connection.receive(head.encode())[-1], Closed)
        assert out(connection).startswith(b"HTTP/1.1 413 ")
        assert connection.closed

    def test_also_if_it_does_not_say_how_large_it_is(self):
        connection = server_connection()
        connection.receive(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        part = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        events = []
        for _ in range(MAX_TEXT_BYTES // 0x100000 + 1):
            events += connection.receive(part)
        assert [type(event) for event in events] == [Closed]
        assert out(connection).startswith(b"HTTP/1.1 413 ")
        assert connection.partial_bytes < MAX_TEXT_BYTES + 2 * len(part)

    def test_the_largest_body_that_is_let_in(self):
        body = b"x" * MAX_TEXT_BYTES
        (event,) = server_connection().receive(post(body))
        assert len(event.body) == MAX_TEXT_BYTES

    def test_a_head_that_is_too_large_is_refused(self):
        connection = server_connection()
        (event,) = connection.receive(b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEADER_BYTES)
        assert isinstance(event, Closed)
        assert b" 431 " in out(connection)

    @pytest.mark.parametrize(
        "data",
        [
            b"\x16\x03\x01\x02\x00\x01\x00\x01",
            b"nonsense\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
            b"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n bad: header\r\n\x00\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ],
    )
    def test_what_is_not_http_is_answered_and_closed(self, data):
        connection = server_connection()
        assert connection.receive(data) == [Closed(None, "not HTTP")]
        assert out(connection).startswith(b"HTTP/1.1 400 ")
        assert connection.closed
        assert connection.receive(post()) == []
        assert connection.respond(200) == []
        assert out(connection) == b""

    @pytest.mark.parametrize("end", [b"", post()[:-5], post()[:10]])
    def test_the_end_of_the_stream(self, end):
        connection = server_connection()
        assert connection.receive(end) == [] or end == b""
        (event,) = [*connection.receive(b""), Closed()][:1]
        assert isinstance(event, Closed)
        assert connection.closed

    def test_it_may_end_while_an_answer_is_awaited(self):
        connection = server_connection()
        connection.receive(post())
        assert connection.receive(b"") == [Closed()]
        assert connection.respond(200, [], b"late") == []

    def test_after_an_answer_the_next_may_be_garbage(self):
        connection = server_connection()
        connection.receive(post() + b"\x00\x01garbage\r\n\r\n")
        connection.respond(200)
        assert connection.closed
        assert b" 400 " in out(connection)


class TestScreening:
    def refusing(self):
        return server_connection(
            lambda request: (403, [("X-Why", "so")], b"no") if request.path == "/no" else None
        )

    def test_who_is_refused_is_answered_before_the_body_has_come_and_cut(self):
        connection = self.refusing()
        head = post(b"x" * 100, target="/no")[:-100]
        assert [event for event in connection.receive(head) if not isinstance(event, Closed)] == []
        answer = out(connection)
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"Connection: close" in answer
        assert answer.endswith(b"no")
        assert connection.closed

    def test_others_are_let_in(self):
        (event,) = self.refusing().receive(post(target="/yes"))
        assert event.body == CALL

    def test_it_sees_the_head_alone(self):
        seen = []
        connection = server_connection(seen.append)
        connection.receive(post(b"abc", "X-A: 1"))
        assert [(request.method, request.body, request.all("x-a")) for request in seen] == [
            ("POST", b"", ["1"])
        ]

    def test_a_pipelined_request_is_looked_at_as_well(self):
        connection = self.refusing()
        connection.receive(post(target="/yes") + post(target="/no"))
        assert [event for event in connection.respond(200) if not isinstance(event, Closed)] == []
        assert b" 403 " in out(connection)
        assert connection.closed

    def test_one_who_asks_for_the_head_alone_gets_it(self):
        connection = self.refusing()
        connection.receive(b"HEAD /no HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = out(connection)
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert answer.endswith(b"\r\n\r\n")


class TestUpgrade:
    def test_both_sides_open(self):
        client, server = joined()
        assert client.is_websocket
        assert server.is_websocket

    def test_the_answer_of_a_server_to_fixed_bytes(self):
        connection = server_connection()
        respond_to_all(connection, connection.receive(UPGRADE))
        answer = out(connection)
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer  # RFC 6455, 1.3
        assert b"Sec-WebSocket-Protocol: berrymq.v1\r\n" in answer

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b"Version: 13", b"Version: 12"),
            (b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""),
            (b"dGhlIHNhbXBsZSBub25jZQ==", b"short"),
            (b"Connection: Upgrade", b"Connection: keep-alive"),
            (b"Sec-WebSocket-Protocol: berrymq.v1\r\n", b""),
            (b"berrymq.v1", b"another.v1"),
            (b"Upgrade: websocket", b"Upgrade: websocket \x0bade"),
            (b"berrymq.v1", b"berrymq.v1\x7f"),
            (b"Host: ", b"X-Name: a\x1cb\r\nHost: "),
        ],
    )
    def test_what_is_no_good_upgrade_gets_an_answer_and_the_end(self, old, new):
        connection = server_connection()
        events = respond_to_all(connection, connection.receive(UPGRADE.replace(old, new)))
        assert Opened() not in events
        answer = out(connection)
        assert answer.startswith(b"HTTP/1.1 4")
        assert connection.closed

    def test_what_comes_with_it_is_read(self):
        connection = server_connection()
        events = respond_to_all(connection, connection.receive(UPGRADE + frame(b"hello")))
        assert events[1:] == [Opened(), Text(b"hello")]

    @pytest.mark.parametrize(
        ("answer", "status"),
        [
            (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", 403),
            (b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", 302),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200),
        ],
    )
    def test_a_client_is_told_who_refuses_it(self, answer, status):
        connection = client_connection(URL)
        events = connection.receive(answer)
        assert [type(event) for event in events][:1] == [Refused]
        assert events[0].status == status
        assert not connection.is_websocket

    @pytest.mark.parametrize(
        "answer", [b"SSH-2.0-OpenSSH_9.6\r\n", b"\x15\x03\x01\x00\x02\x02\x16", b"\r\n" * 100]
    )
    def test_what_is_no_server_ends_the_connection(self, answer):
        connection = client_connection(URL)
        events = connection.receive(answer) + connection.receive(b"")
        assert not any(isinstance(event, Opened | Text) for event in events)
        assert any(isinstance(event, Closed | Refused) for event in events)
        assert connection.closed

    def test_an_answer_to_another_key_is_refused(self):
        connection = client_connection(URL)
        other = server_connection()
        respond_to_all(other, other.receive(UPGRADE))
        (event, *_) = connection.receive(out(other))
        assert isinstance(event, Refused)

    def test_the_clients_headers_go_with_its_request(self):
        data = out(client_connection(URL, {"Authorization": "Bearer x"}))
        assert b"Authorization: Bearer x\r\n" in data
        assert b"permessage-deflate" not in data


class TestMessages:
    @given(st.lists(st.binary(max_size=300) | st.just(b"x" * 70_000), max_size=5))
    @settings(max_examples=30)
    def test_what_one_side_sends_the_other_gets(self, texts):
        client, server = joined()
        for one, other in ((client, server), (server, client)):
            for text in texts:
                one.send_text(text)
            assert other.receive(out(one) or b"\x89\x00") == [Text(text) for text in texts] or not texts

    def test_a_message_in_fragments(self):
        connection = opened()
        data = (
            frame(b"a", fin=False)
            + frame(b"b", Opcode.CONT, fin=False)
            + frame(b"", Opcode.PING)
            + frame(b"", Opcode.CONT, fin=False)
            + frame(b"c", Opcode.CONT)
            + frame(b"d")
        )
        assert connection.receive(data) == [Text(b"abc"), Text(b"d")]

    def test_a_fragment_that_is_empty_does_not_end_a_message(self):
        connection = opened()
        assert connection.receive(frame(b"", fin=False) + frame(b"x", Opcode.CONT)) == [Text(b"x")]

    def test_what_has_come_in_part_is_counted(self):
        connection = opened()
        connection.receive(frame(b"x" * 1000, fin=False))
        connection.receive(frame(b"y" * 1000)[:500])
        assert 1500 <= connection.partial_bytes < 1600
        connection = opened()
        connection.receive(frame(b"x" * 1000))
        assert connection.partial_bytes == 0

    def test_a_ping_is_answered_and_is_no_event(self):
        connection = opened()
        assert connection.receive(frame(b"are you there", Opcode.PING)) == []
        assert frames_in(out(connection)) == [(Opcode.PONG, b"are you there")]

    def test_our_own_ping(self):
        client, server = joined()
        client.ping()
        assert server.receive(out(client)) == []
        assert client.receive(out(server)) == []

    def test_a_stranger_may_send_small_messages_until_it_is_trusted(self):
        connection = opened(trusted=False)
        assert connection.receive(frame(b"x" * MAX_UNAUTHENTICATED_BYTES)) == [
            Text(b"x" * MAX_UNAUTHENTICATED_BYTES)
        ]
        (event,) = connection.receive(frame(b"x" * (MAX_UNAUTHENTICATED_BYTES + 1)))
        assert isinstance(event, Closed)
        assert frames_in(out(connection))[0][1][:2] == (1009).to_bytes(2, "big")

    def test_nor_in_fragments_more_than_that(self):
        connection = opened(trusted=False)
        part = b"x" * (MAX_UNAUTHENTICATED_BYTES // 2 + 1)
        assert connection.receive(frame(part, fin=False)) == []
        (event,) = connection.receive(frame(part, Opcode.CONT))
        assert isinstance(event, Closed)

    def test_then_large_ones(self):
        connection = opened(trusted=False)
        connection.trust()
        assert connection.receive(frame(b"x" * MAX_TEXT_BYTES)) == [Text(b"x" * MAX_TEXT_BYTES)]

    def test_what_is_too_large_is_refused_by_its_head(self):
        connection = opened()
        head = b"\x81\xff" + (MAX_TEXT_BYTES + 1).to_bytes(8, "big") + b"mask"
        (event,) = connection.receive(head)
        assert isinstance(event, Closed)
        assert frames_in(out(connection))[0][1][:2] == (1009).to_bytes(2, "big")
        assert connection.closed

    @pytest.mark.parametrize(
        "data",
        [
            b"\xff\xff\xff\xff",
            frame(b"x", mask=False),
            frame(b"x", Opcode.CONT),
            frame(b"x", fin=False) + frame(b"y"),
            b"\x89\xfe\x00\x7emask" + b"x" * 126,
            b"\x09\x81mask\x00",
            b"\xc1\x81mask\x00",
            b"\x83\x81mask\x00",
            b"\x88\x81\x00\x00\x00\x00\x03",
            close_frame(1005),
            close_frame(1000, b"\xff"),
        ],
        ids=range(11),
    )
    def test_what_is_against_the_protocol_ends_it(self, data):
        connection = opened()
        (event,) = connection.receive(data)
        assert isinstance(event, Closed)
        assert connection.closed
        ((opcode, payload),) = frames_in(out(connection))
        assert opcode == Opcode.CLOSE
        assert int.from_bytes(payload[:2], "big") in (1002, 1007)
        assert connection.receive(frame(b"more")) == []


class TestTheEnd:
    @pytest.mark.parametrize("code", list(CloseCode))
    def test_the_other_side_is_told_why(self, code):
        client, server = joined()
        server.close(code, "because")
        assert server.closed
        assert client.receive(out(server)) == [Closed(code, "because")]
        assert client.closed
        assert server.receive(out(client)) == []

    def test_a_cut_has_no_code(self):
        client, server = joined()
        assert client.receive(b"") == [Closed(None, "")]
        assert server.receive(frame(b"half")[:4]) == []
        assert server.receive(b"") == [Closed(None, "")]

    def test_what_comes_before_it_is_not_lost(self):
        connection = opened()
        assert connection.receive(frame(b"last") + close_frame(1000)) == [Text(b"last"), Closed(1000, "")]

    def test_after_it_nothing_comes_and_nothing_goes(self):
        connection = opened()
        connection.receive(close_frame(1000))
        connection.take()
        connection.send_text(b"late")
        connection.ping()
        connection.close()
        assert connection.take() == []
        assert connection.receive(frame(b"late")) == []

    def test_a_long_reason_is_cut_at_a_character(self):
        client, server = joined()
        server.close(CloseCode.PROTOCOL_ERROR, "é" * 500)
        (event,) = client.receive(out(server))
        assert event.code == CloseCode.PROTOCOL_ERROR
        assert set(event.reason) == {"é"}

    def test_a_connection_that_was_never_opened_can_be_closed(self):
        for connection in (server_connection(), client_connection(URL)):
            connection.close()
            assert connection.closed
            assert connection.receive(b"anything") == []


SERVER_INPUTS = [
    post(b"1") + post(b"two", "Connection: close"),
    post(b"1") + b"garbage\r\n\r\n",
    UPGRADE
    + frame(b"a")
    + frame(b"b" * 200)
    + frame(b"", Opcode.PING)
    + frame(b"c", fin=False)
    + frame(b"d", Opcode.CONT),
    UPGRADE + frame(b"a") + close_frame(1000, b"done") + frame(b"late"),
    UPGRADE + frame(b"a") + b"\xff\xff",
    UPGRADE + frame(b"x" * 5000),
    post(b"1") + UPGRADE + frame(b"a"),
    UPGRADE.replace(b"13", b"12") + frame(b"a"),
    b"nonsense\r\n\r\n",
    post(b"123", "Expect: 100-continue"),
]


def fed(pieces):
    """The events of a server that gets some bytes in pieces, and then the end."""
    connection = server_connection()
    events = []
    for piece in [*pieces, b""]:
        if piece or piece is pieces[-1:]:
            events += respond_to_all(connection, connection.receive(piece))
    events += respond_to_all(connection, connection.receive(b""))
    return events, connection.closed


class TestPieces:
    @given(st.sampled_from(SERVER_INPUTS), st.lists(st.integers(0, 600), max_size=12))
    def test_a_server_makes_the_same_of_bytes_however_they_come(self, data, cuts):
        places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        pieces = [data[one:other] for one, other in itertools.pairwise(places) if other > one]
        assert fed(pieces) == fed([data])

    @pytest.mark.parametrize("data", SERVER_INPUTS, ids=range(len(SERVER_INPUTS)))
    def test_byte_by_byte(self, data):
        assert fed([data[place : place + 1] for place in range(len(data))]) == fed([data])

    @given(st.lists(st.integers(1, 100), max_size=12))
    def test_so_does_a_client(self, cuts):
        def run(split):
            client, server = client_connection(URL), server_connection()
            respond_to_all(server, server.receive(out(client)))
            for text in (b"a", b"b" * 300, json.dumps({"x": "é"}).encode()):
                server.send_text(text)
            server.ping()
            server.close(CloseCode.GOING_AWAY, "bye")
            data = out(server)
            events = []
            for cut in [*(cuts if split else []), len(data)]:
                if data[:cut]:
                    events += client.receive(data[:cut])
                data = data[cut:]
            return events

        assert run(split=True) == run(split=False)
        assert run(split=False)[-1] == Closed(CloseCode.GOING_AWAY, "bye")

    @given(
        st.lists(
            st.one_of(
                st.builds(
                    frame,
                    st.sampled_from([b"", b"a", b"b" * 125, b"c" * 126, b"d" * 700, "é".encode()]),
                    st.sampled_from([Opcode.TEXT, Opcode.TEXT, Opcode.CONT, Opcode.BINARY]),
                    fin=st.sampled_from([True, True, False]),
                    mask=st.sampled_from([True] * 6 + [False]),
                ),
                st.sampled_from(
                    [
                        close_frame(1001, b"bye"),
                        frame(b"", Opcode.PING),
                        b"\xf1\x80" + bytes(4),  # reserved bits
                        b"\x09\x81" + bytes(5),  # a ping that goes on
                        b"\x89\xfe\x00\x7e" + bytes(130),  # a ping that is too long
                    ]
                ),
                st.binary(max_size=12),
                st.just(b"\x81\xff" + (MAX_TEXT_BYTES + 1).to_bytes(8) + bytes(4)),
            ),
            max_size=8,
        ).map(b"".join),
        st.lists(st.integers(1, 300), max_size=6),
    )
    @settings(max_examples=400)
    @example(b"\x00\xff\x88\x85\xbc\xf7\xfd\x12\xbf\x1e\x9fk\xd9", [])
    def test_frames_are_read_as_the_library_reads_them(self, data, sizes):
        library = ServerProtocol(state=State.OPEN, max_size=MAX_TEXT_BYTES)
        library.receive_data(data)
        texts, text = [], b""
        for event in library.events_received():
            if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                text += event.data
                if event.fin:
                    texts.append(text)
                    text = b""
        connection, events = opened(), []
        for size in [*sizes, len(data)]:
            if data[:size]:
                events += connection.receive(data[:size])
            data = data[size:]
        assert [event.data for event in events if isinstance(event, Text)] == texts
        assert connection.closed == (library.state is not State.OPEN)
        assert bytes(out(connection)) == b"".join(library.data_to_send())

    @given(st.binary(max_size=200), st.booleans())
    @settings(max_examples=200)
    def test_any_bytes_give_events_and_no_exception(self, data, upgraded):
        server = opened(trusted=False) if upgraded else server_connection()
        respond_to_all(server, server.receive(data) if data else [])
        respond_to_all(server, server.receive(b""))
        client = client_connection(URL) if not upgraded else joined()[0]
        if data:
            client.receive(data)
        client.receive(b"")
        assert client.closed
