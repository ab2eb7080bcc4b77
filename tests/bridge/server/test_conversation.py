"""One connection as the node sees it: calls, batches of calls, and links that other programs make."""

import gc
import hashlib
import json
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event

import pytest

from berrymq.bridge.protocol import fields
from berrymq.bridge.server import methods as methods_module
from berrymq.bridge.server import server as server_module
from berrymq.bridge.server import sessions as sessions_module
from berrymq.bridge.server.methods import methods
from berrymq.bridge.server.sessions import Sessions
from tests.bridge.server.conftest import TOKEN
from tests.support import websockets as websockets_module
from tests.support.nodes import wait
from tests.support.recorder import Recorder
from tests.support.websockets import websocket

KEY = "a key of the tests, which nobody else knows"
LOCAL_NAMES = "never leaves its process"


def id_of(key):
    return hashlib.sha256(f"berrymq node {key}".encode()).hexdigest()[:16]


@pytest.fixture
def connect(server):
    """Opens WebSockets of one who is let in; they are closed after the test."""
    with ExitStack() as stack:
        yield lambda token=TOKEN: stack.enter_context(websocket(server, token))


@pytest.fixture
def socket(connect):
    return connect()


def link(socket, **params):
    """Make it a link; return the answer."""
    return socket.answer("interconnect", {"name": "other", "key": KEY, **params}, id="link")


def batch_of(*messages, identifier="a:b", origin=None, source="other", first=1):
    """A batch as a node sends it."""
    return [identifier, origin or id_of(KEY), source, first, len(messages), list(messages)]


def send_batches(socket, *batches, n=1, ack=0):
    socket.notify("messages", n=n, ack=ack, batches=list(batches))


def call_text(method, params=None, id=1):
    return {"jsonrpc": "2.0", "method": method, "params": params or [], "id": id}


@pytest.fixture(params=[(", ", ": "), (",", ":")], ids=["spaced", "compact"])
def notation(request, monkeypatch):
    """Frames as others may write them, and as this library does, which has a shorter way for those."""
    monkeypatch.setattr(websockets_module, "SEPARATORS", request.param)


class TestCalls:
    def test_answers_come_as_they_are_ready_and_carry_their_ids(self, node, socket):
        token = socket.answer("connect_via_queue", ["a:b"])["result"]
        socket.call("get", {"token": token, "timeout": 5}, id="slow")
        assert socket.answer("ping", id="fast")["id"] == "fast"
        node.bus.twitter("a:b", 7)
        slow = socket.receive()
        assert (slow["id"], slow["result"]["args"]) == ("slow", [7])

    def test_what_is_not_json_is_answered(self, socket):
        socket.send("{")
        assert socket.receive()["error"]["code"] == -32700
        assert socket.answer("ping")["result"] == "pong"

    def test_the_end_of_the_connection_leaves_the_message_to_the_next_one(self, nodes, node, server, connect):
        first = connect()
        token = first.answer("connect_via_queue", ["a:b"])["result"]
        first.call("get", {"token": token, "timeout": 25})
        wait(lambda: server.sessions.all()[0].is_waiting, "the call waits")
        first.connection.close()
        wait(lambda: not server.sessions.all()[0].is_waiting, "it is given up")
        node.bus.twitter("a:b", 7)
        assert connect().answer("get", {"token": token, "timeout": 5})["result"]["args"] == [7]

    def test_a_call_that_was_given_up_takes_nothing_from_the_next_one(self, node, socket):
        token = socket.answer("connect_via_queue", ["a:b"])["result"]
        socket.call("get", {"token": token, "timeout": 25}, id="given up")
        socket.call("get", {"token": token, "timeout": 25}, id="next")
        given_up = socket.receive()
        assert (given_up["id"], given_up["error"]["code"]) == ("given up", -32003)
        node.bus.twitter("a:b", 7)
        answer = socket.receive()
        assert (answer["id"], answer["result"]["args"]) == ("next", [7])

    def test_a_call_that_waits_is_told_when_its_token_is_closed(self, socket):
        token = socket.answer("connect_via_queue", ["a:b"])["result"]
        socket.call("get", {"token": token, "timeout": 25}, id="waits")
        socket.call("close_connection", {"token": token}, id="closes")
        answers = {answer["id"]: answer for answer in [socket.receive() for _ in range(2)]}
        assert answers["closes"]["result"] == "ok"
        assert answers["waits"]["error"]["code"] == -32002

    def test_a_token_does_not_expire_while_a_call_waits(self, server, socket):
        token = socket.answer("connect_via_queue", {"identifier": "a:b", "ttl": 2.0})["result"]
        answer = socket.answer("get", {"token": token, "timeout": 2.5})
        assert answer["error"]["code"] == -32003
        assert len(server.sessions) == 1
        wait(lambda: len(server.sessions) == 0, "its end")

    def test_the_token_that_was_not_used_for_longest_makes_room_for_a_new_one(
        self, nodes, node, socket, monkeypatch, caplog
    ):
        monkeypatch.setattr(sessions_module, "MAX_SESSIONS", 3)
        waits, used, idle = (socket.answer("connect_via_queue", ["a:b"])["result"] for _ in range(3))
        socket.call("get", {"token": waits, "timeout": 25}, id="waits")
        node.bus.twitter("a:b", 1)
        assert socket.receive()["result"]["args"] == [1]
        socket.call("get", {"token": waits, "timeout": 25}, id="waits")
        assert socket.answer("get", {"token": used, "timeout": 5})["result"]["args"] == [1]
        new = socket.answer("connect_oneway")["result"]
        assert "the token of 'a client' is void, for there are too many: 1 messages dropped" in caplog.text
        assert socket.answer("get_nowait", [idle])["error"]["code"] == -32002
        for token in (new, used):
            assert socket.answer("send_message", [token, "c:d"])["result"] == "ok"
        for _ in range(2):
            socket.answer("connect_oneway")
        node.bus.twitter("a:b", 2)
        answer = socket.receive()
        assert (answer["id"], answer["result"]["args"]) == (
            "waits",
            [2],
        )  # a call that waits gives way to none

    def test_where_calls_wait_in_all_of_them_one_more_is_refused(self, server, socket, monkeypatch):
        monkeypatch.setattr(sessions_module, "MAX_SESSIONS", 1)
        token = socket.answer("connect_via_queue", ["a:b"])["result"]
        socket.call("get", {"token": token, "timeout": 25}, id="waits")
        assert socket.answer("connect_oneway")["error"]["code"] == -32004

    def test_a_short_life_is_not_looked_at_over_and_over_while_a_call_waits(
        self, server, socket, monkeypatch
    ):
        looked = []
        honest = Sessions._expire
        monkeypatch.setattr(Sessions, "_expire", lambda *args: (looked.append(args), honest(*args)))
        token = socket.answer("connect_via_queue", {"identifier": "a:b", "ttl": 0.2})["result"]
        assert socket.answer("get", {"token": token, "timeout": 1.0})["error"]["code"] == -32003
        assert len(looked) <= 2
        wait(lambda: len(server.sessions) == 0, "its end")

    @pytest.mark.parametrize(("clock", "sent_at"), [(-5.0, 0.0), (1e12, fields.LATEST), (float("nan"), 0.0)])
    def test_a_broken_clock_sends_what_others_can_read(  # noqa: PLR0917
        self, nodes, node, socket, monkeypatch, clock, sent_at
    ):
        elsewhere = nodes.add("elsewhere", listening=False)
        recorder = Recorder(elsewhere.bus)
        nodes.link(elsewhere, node)
        nodes.settle()
        monkeypatch.setattr(methods_module, "time", lambda: clock)
        token = socket.answer("connect_oneway")["result"]
        assert socket.answer("send_message", [token, "test:run", [1]])["result"] == "ok"
        assert recorder.wait_for(1) == [1]
        assert recorder.messages[0].sent_at == sent_at

    def test_what_was_taken_last_is_given_again_until_memory_is_short(self, node, server, socket):
        token = socket.answer("connect_via_queue", ["a:b"])["result"]
        get = {"token": token, "timeout": 10}
        node.bus.twitter("a:b", "x" * 100_000)
        first = socket.answer("get", get)["result"]
        assert node.budget.held > 100_000
        assert socket.answer("get", {**get, "received": 0})["result"] == first
        server.sessions.all()[0].mailbox.shed(0)
        assert node.budget.held < 10_000
        for _ in range(2):
            gone = socket.answer("get", {"token": token, "timeout": 0, "received": 0})
            assert gone["error"]["code"] == -32003
        node.bus.twitter("a:b", 2)
        second = socket.answer("get", {**get, "received": 0})["result"]
        assert (second["n"], second["args"], second["dropped"]) == (2, [2], 1)

    def test_what_waits_for_an_answer_is_in_the_budget(self, node, socket):
        token = socket.answer("connect_via_queue", ["a:b"])["result"]
        large = call_text("ping", {"ignored": "x" * 500_000}, "large")
        waits = call_text("get", {"token": token, "timeout": 25}, "waits")
        socket.send(json.dumps([waits, large]))
        wait(lambda: node.budget.held > 500_000, "the calls are counted")
        node.bus.twitter("a:b", 7)
        assert [answer["id"] for answer in socket.receive()] == ["waits", "large"]
        wait(lambda: node.budget.held < 10_000, "they are counted no more")

    def test_what_waits_for_an_answer_ends_with_the_connection(self, node, server, socket):
        token = socket.answer("connect_via_queue", ["a:b"])["result"]
        waits = call_text("get", {"token": token, "timeout": 25}, "waits")
        (conversation,) = server._conversations
        gc.disable()
        try:
            tracemalloc.start()
            socket.send(json.dumps([waits, call_text("ping", {"ignored": "x" * 2_000_000})]))
            wait(lambda: node.budget.held > 2_000_000, "the calls are counted")
            socket.connection.close()
            wait(lambda: conversation not in server._conversations, "it has ended")
            wait(lambda: node.budget.held < 10_000, "nothing is counted any more")
            large = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*berrymq/bridge/*")])
            assert sum(one.size for one in large.statistics("filename")) < 1_500_000
        finally:
            tracemalloc.stop()
            gc.enable()

    def test_a_room_that_nobody_is_in_any_more_is_forgotten(self, node, server, connect):
        socket = connect()
        token = socket.answer("connect_via_queue", {"identifier": "a:b", "room": "of a queue"})["result"]
        socket.answer("connect_oneway", {"room": "of one that expires", "ttl": 0.05})
        linked = connect()
        link(linked, room="of a link")
        assert {"of a queue", "of a link"} < set(node.rooms)
        linked.connection.close()
        socket.answer("close_connection", {"token": token})
        wait(lambda: "of a queue" not in node.rooms and len(server.sessions) == 0, "the sessions have ended")
        wait(lambda: gc.collect() >= 0 and set(node.rooms) == {None}, "the connection is forgotten")

    def test_a_mistake_inside_is_logged_and_not_told(self, socket, monkeypatch, caplog):
        def fail(conversation):
            raise RuntimeError("a detail")

        monkeypatch.setitem(methods._methods, "fail", type(methods._methods["ping"])(fail))
        assert socket.answer("fail")["error"] == {"code": -32603, "message": "internal error"}
        assert "a detail" in caplog.text
        socket.send('{"jsonrpc":"2.0","method":"fail"}')
        assert socket.answer("ping", id="next")["id"] == "next"


class TestAsk:
    def test_the_answers_of_all_who_follow(self, node, socket):
        node.bus.follow("calc:add", lambda message: sum(message.args))
        wait(lambda: len(node.home.interests), "the follower is known")
        token = socket.answer("connect_oneway", {"name": "curl"})["result"]
        answer = socket.answer(
            "ask", {"token": token, "identifier": "calc:add", "args": [1, 2], "timeout": 5}
        )
        assert answer["result"] == [["node", [3], []]]

    def test_a_failure_there_is_told(self, node, socket):
        node.bus.follow("calc:divide", lambda message: 1 / 0)
        wait(lambda: len(node.home.interests), "the follower is known")
        token = socket.answer("connect_oneway")["result"]
        ((source, values, errors),) = socket.answer("ask", [token, "calc:divide"])["result"]
        assert (source, values) == ("node", [])
        assert errors[0]["value"][:2] == ["ZeroDivisionError", "division by zero"]

    def test_nobody_follows(self, socket):
        token = socket.answer("connect_oneway")["result"]
        assert socket.answer("ask", [token, "calc:add"])["result"] == []

    def test_who_takes_too_long_is_left_out(self, node, socket):
        released = Event()
        node.bus.follow("calc:slow", lambda message: released.wait(20))
        wait(lambda: len(node.home.interests), "the follower is known")
        token = socket.answer("connect_oneway")["result"]
        answer = socket.answer("ask", {"token": token, "identifier": "calc:slow", "timeout": 0.2})
        released.set()
        assert answer["result"] == []


class TestBatches:
    def test_their_answers_are_bounded(self, node, socket):
        token = socket.answer("connect_via_queue", ["a:b"])["result"]
        node.bus.twitter("a:b", "x" * 1_000_000)
        params = {"token": token, "received": 0}
        socket.answer("get", {"token": token, "timeout": 10})  # it is there
        again = [call_text("get_nowait", params, number) for number in range(100)]
        socket.send(json.dumps(again))
        answers = socket.receive()
        assert [answer["id"] for answer in answers] == list(range(100))
        given = [answer for answer in answers if "result" in answer]
        assert len(given) == 5
        assert all(answer["error"]["code"] == -32005 for answer in answers[5:])

    def test_no_link_is_made_in_one(self, node, socket):
        links = [call_text("interconnect", {"name": name, "key": KEY + name}) for name in ("one", "two")]
        unanswered = {"jsonrpc": "2.0", "method": "interconnect", "params": ["three", KEY]}
        socket.send(json.dumps([*links, unanswered, call_text("ping", id="last")]))
        *refused, last = socket.receive()
        assert [answer["error"]["code"] for answer in refused] == [-32600, -32600]
        assert (last["id"], last["result"]) == ("last", "pong")
        assert not node.peers
        assert "result" in link(socket)

    def test_its_calls_are_run_one_after_another(self, node, socket):
        token = socket.answer("connect_via_queue", ["a:b"])["result"]
        calls = [
            call_text("get", {"token": token, "timeout": 5}, "first"),
            call_text("send_message", [token, "a:b", [2]], "second"),
        ]
        socket.send(json.dumps(calls))
        wait(lambda: node.home.interests.identifiers, "the queue collects")
        node.bus.twitter("a:b", 1)
        first, second = socket.receive()
        assert (first["id"], first["result"]["args"]) == ("first", [1])
        assert (second["id"], second["result"]) == ("second", "ok")


@pytest.mark.usefixtures("notation")
class TestInterconnect:
    def test_links_are_bounded_and_those_that_are_there_may_come_back(self, node, connect, monkeypatch):
        monkeypatch.setattr(server_module, "MAX_PEERS", 2)
        one, two, three = connect(), connect(), connect()
        assert "result" in link(one, key=KEY + "1")
        assert "result" in link(two, key=KEY + "2")
        assert link(three, key=KEY + "3")["error"]["code"] == -32004
        one.connection.socket.shutdown(2)
        wait(lambda: not node.peers[id_of(KEY + "1")].connected, "the cut is seen")
        resume = {"id": node.id, "received": 0}
        assert link(connect(), key=KEY + "1", resume=resume)["result"]["resumed"]
        assert "result" in link(connect(), key=KEY + "2")  # it begins anew
        assert len(node.peers) == 2

    def test_who_is_there_takes_the_place_of_who_is_not(self, node, connect, monkeypatch):
        monkeypatch.setattr(server_module, "MAX_PEERS", 2)
        for number in "12":
            socket = connect()
            assert "result" in link(socket, key=KEY + number, ttl=86_400)
            socket.connection.socket.shutdown(2)
            wait(lambda number=number: not node.peers[id_of(KEY + number)].connected, "the cut is seen")
        assert "result" in link(connect(), key=KEY + "3")
        assert set(node.peers) == {id_of(KEY + "2"), id_of(KEY + "3")}

    def test_one_that_closes_before_it_is_answered_is_forgotten_in_its_time(self, node, socket):
        protocol = socket.connection.protocol
        call = call_text("interconnect", {"name": "other", "key": KEY, "ttl": 0.05})
        with socket.connection.protocol_mutex:  # both in one segment
            protocol.send_text(json.dumps(call).encode())
            protocol.send_close(1000)
            socket.connection.socket.sendall(b"".join(protocol.data_to_send()))
        assert socket.receive() is None or socket.receive() is None
        wait(lambda: not node.peers, "it is forgotten")

    def test_the_answer_says_who_is_here(self, node, socket):
        result = link(socket)["result"]
        assert result == {
            "id": node.id,
            "name": "node",
            "hub": False,
            "resumed": False,
            "received": 0,
            "lost": 0,
            "memory": False,
            "pull": True,
        }
        assert node.peers[id_of(KEY)].name == "other"

    def test_interest_follows_the_answer(self, node, socket):
        node.bus.follow("a:b", lambda message: None)
        wait(lambda: len(node.home.interests), "the follower is known")
        link(socket)
        frame = socket.receive()
        assert (frame["method"], frame["params"]["n"]) == ("interest", 1)
        assert frame["params"]["reset"]
        assert frame["params"]["add"] == ["a:b"]

    @pytest.mark.parametrize(
        "params",
        [
            {"name": "x" * 256},
            {"name": None},
            {"key": "short"},
            {"key": "x" * 129},
            {"key": "é" * 20},
            {"key": "\x00" * 20},
            {"ttl": 0},
            {"ttl": 86_401},
            {"ttl": -1},
            {"room": 5},
            {"room": "x" * 256},
            {"resume": {"id": "x", "received": -1}},
            {"resume": {"id": "x" * 65, "received": 0}},
            {"resume": {"received": 0}},
            {"resume": 5},
            {"url": "http://127.0.0.1:1/"},
        ],
        ids=str,
    )
    def test_wrong_parameters_make_no_link(self, node, socket, params):
        assert link(socket, **params)["error"]["code"] == -32602
        assert not node.peers

    def test_one_connection_is_one_link(self, socket):
        link(socket)
        assert link(socket, key=KEY + "2")["error"]["code"] == -32600

    def test_a_node_is_not_linked_to_itself(self, node, socket):
        assert link(socket, key=node.key)["error"]["code"] == -32602

    def test_what_is_to_be_resumed_and_is_not_known_is_a_new_link(self, node, socket):
        answer = link(socket, resume={"id": "another node", "received": 5})
        assert answer["result"]["resumed"] is False
        assert node.peers[id_of(KEY)].stream.received == 0

    def test_a_frame_that_comes_twice_is_acknowledged_twice(self, node, socket):
        recorder = Recorder(node.bus, "a:*")
        link(socket)
        for _ in range(2):
            send_batches(socket, batch_of([0, [1], {}]))
            while socket.receive()["params"]["ack"] != 1:
                pass
        assert recorder.values == [1]

    def test_messages_of_another_room_do_not_reach_the_bus_of_this_one(self, node, socket):
        recorder = Recorder(node.bus, "a:*")
        link(socket, room="blue")
        send_batches(socket, batch_of([0, [1], {}]))
        while socket.receive()["params"]["ack"] != 1:
            pass
        node.bus.twitter("a:b", 2)
        assert recorder.wait_for(1) == [2]

    def test_a_link_goes_on_over_another_connection(self, node, connect):
        recorder = Recorder(node.bus, "a:*")
        socket = connect()
        link(socket)
        send_batches(socket, batch_of([0, [1], {}]))
        recorder.wait_for(1)
        socket.connection.socket.shutdown(2)
        wait(lambda: not node.peers[id_of(KEY)].connected, "the cut is seen")
        again = connect()
        answer = link(again, resume={"id": node.id, "received": 0})["result"]
        assert (answer["resumed"], answer["received"]) == (True, 1)
        send_batches(again, batch_of([0, [1], {}]))  # the acknowledgement was lost: it comes once more
        send_batches(again, batch_of([0, [2], {}], first=2), n=2)
        assert recorder.wait_for(2) == [1, 2]
        assert node.peers[id_of(KEY)].stream.stats.duplicates == 1

    def test_of_two_connections_of_a_link_the_later_one_counts(self, node, connect):
        recorder = Recorder(node.bus, "a:*")
        first, later = connect(), connect()
        link(first)
        link(later, resume={"id": node.id, "received": 0})
        while first.receive() is not None:
            pass
        assert first.close_code == 1000
        assert node.peers[id_of(KEY)].connected
        send_batches(later, batch_of([0, [1], {}]))
        assert recorder.wait_for(1) == [1]

    def test_a_resumption_that_claims_too_much_is_refused_and_the_link_stays(self, node, connect):
        first, later = connect(), connect()
        link(first)
        answer = link(later, resume={"id": node.id, "received": 1000})
        assert answer["error"]["code"] == -32602
        assert node.peers[id_of(KEY)].connected
        assert first.answer("ping")["result"] == "pong"

    def test_leaving_in_good_order_ends_the_link_and_a_cut_does_not(self, node, connect):
        leaving, cut = connect(), connect()
        link(leaving, key=KEY + "1")
        link(cut, key=KEY + "2")
        leaving.connection.close()
        wait(lambda: id_of(KEY + "1") not in node.peers, "the link is over")
        cut.connection.socket.shutdown(2)
        wait(lambda: not node.peers[id_of(KEY + "2")].connected, "the cut is seen")

    def test_a_link_that_is_cut_expires(self, node, socket):
        link(socket, ttl=0.05)
        socket.connection.socket.shutdown(2)
        wait(lambda: not node.peers, "its end")


WRONG_FRAMES = {
    "a gap": {"method": "messages", "params": {"n": 2, "ack": 0, "batches": []}},
    "an ack of what was never sent": {"method": "ack", "params": {"ack": 1000}},
    "no number": {"method": "ack", "params": {}},
    "no batch": {"method": "messages", "params": {"n": 1, "ack": 0, "batches": [[]]}},
    "text for a number": {"method": "ack", "params": {"ack": "1"}},
    "a bad identifier": {"method": "interest", "params": {"n": 1, "ack": 0, "add": ["a:b:c"]}},
    "a local identifier": {"method": "interest", "params": {"n": 1, "ack": 0, "add": ["_a:b"]}},
    "berrymq's own": {"method": "interest", "params": {"n": 1, "ack": 0, "add": ["berrymq:shared"]}},
}


class TestFrames:
    @pytest.mark.parametrize("kind", WRONG_FRAMES)
    def test_a_wrong_one_ends_the_connection_and_not_the_link(self, node, socket, kind):
        link(socket)
        socket.send(json.dumps({"jsonrpc": "2.0", **WRONG_FRAMES[kind]}))
        while socket.receive() is not None:
            pass
        assert socket.close_code == 1002
        wait(lambda: not node.peers[id_of(KEY)].connected, "the link waits for another connection")

    def test_one_with_an_id_is_refused(self, node, socket):
        link(socket)
        answer = socket.answer("ack", {"ack": 0}, id=7)
        assert answer["error"]["code"] == -32600
        assert node.peers[id_of(KEY)].connected

    def test_one_in_a_batch_of_calls_is_not_run(self, node, socket):
        link(socket)
        socket.send(json.dumps([{"jsonrpc": "2.0", **WRONG_FRAMES["a gap"]}, call_text("ping", id="next")]))
        while (answer := socket.receive()) is not None and not isinstance(answer, list):
            pass
        assert [one["id"] for one in answer] == ["next"]
        assert node.peers[id_of(KEY)].stream.received == 0

    def test_calls_go_on_beside_them(self, socket):
        link(socket)
        socket.notify("ack", ack=0)
        assert socket.answer("ping", id="beside")["result"] == "pong"

    def test_what_is_no_json_is_answered_on_a_link_too(self, node, socket):
        link(socket)
        socket.send("{")
        while "error" not in (answer := socket.receive()):
            pass
        assert answer["error"]["code"] == -32700
        assert node.peers[id_of(KEY)].connected

    def test_identifiers_that_are_followed_are_bounded(self, node, socket):
        """Who follows more than that is given everything."""
        link(socket)
        for part in range(3):
            add = [f"a:{part}x{number}" for number in range(5_000)]
            socket.notify("interest", n=part + 1, ack=0, add=add)
        peer = node.peers[id_of(KEY)]
        wait(lambda: peer.everything, "everything is followed")
        assert not peer.follows
        node.bus.twitter("else:run", 1)
        while (frame := socket.receive()).get("method") != "messages":
            pass
        assert frame["params"]["batches"][0][0] == "else:run"


class TestSpeakingForOneselfAlone:
    """A client with the access token, at a hub: what it sends is bound to its own link."""

    @pytest.fixture
    def hub(self, nodes):
        return nodes.hub()

    @pytest.fixture
    def victim(self, nodes, hub):
        """A member, with a recorder of what it receives."""
        node = nodes.add("victim", listening=False)
        node.recorder = Recorder(node.bus, "*:*")
        nodes.link(node, hub)
        nodes.settle()
        return node

    @pytest.fixture
    def attacker(self, nodes, hub):
        server = nodes.servers[hub]
        with websocket(server, server.access_token) as socket:
            link(socket, name="attacker")
            yield socket

    def is_refused(self, attacker):
        while attacker.receive() is not None:
            pass
        return attacker.close_code == 1002

    def test_its_own_messages_pass(self, victim, attacker):
        send_batches(attacker, batch_of([0, [1], {}], source="attacker"))
        assert victim.recorder.wait_for(1) == [1]

    def test_the_origin_of_another_node_can_t_be_forged(self, nodes, hub, victim, attacker):
        """Else later messages of that node would be taken for duplicates, and swallowed."""
        sender = nodes.add("sender", listening=False)
        nodes.link(sender, hub)
        nodes.settle(apart="attacker")
        send_batches(
            attacker, batch_of([0, ["forged"], {}], origin=sender.id, source="attacker", first=10**9)
        )
        assert self.is_refused(attacker)
        sender.bus.twitter("test:run", "genuine")
        assert victim.recorder.wait_for(1) == ["genuine"]

    @pytest.mark.parametrize("source", ["victim", "hub", "attackervia", "x via victim", ""])
    def test_nor_can_its_name(self, victim, attacker, source):
        send_batches(attacker, batch_of([0, ["forged"], {}], source=source))
        assert self.is_refused(attacker)
        assert victim.recorder.values == []

    def test_an_answer_to_what_it_was_not_asked_is_ignored(self, nodes, hub, victim, attacker):
        asker = nodes.add("asker", listening=False)
        nodes.link(asker, hub)
        asked, released = Event(), Event()

        def answer(message):
            asked.set()
            released.wait(20)
            return "genuine"

        victim.bus.follow("calc:add", answer)
        nodes.settle(apart="attacker")
        future = ask_in_thread(asker.bus, "calc:add")
        assert asked.wait(10)
        for number in range(1, 50):
            attacker.notify(
                "answer", n=number, ack=0, question=number, answers=[["attacker", ["forged"], []]]
            )
        attacker.answer("ping", id="they have come")
        released.set()
        assert future.result(20) == ["genuine"]

    def test_an_answer_in_another_s_name_is_refused(self, victim, attacker):
        attacker.notify("answer", n=1, ack=0, question=1, answers=[["victim", ["forged"], []]])
        assert self.is_refused(attacker)

    def test_a_link_is_not_taken_over_by_its_public_id(self, nodes, hub, victim, attacker):
        seen = attacker.answer("nodes")["result"]
        (id,) = [node["id"] for node in seen if node["name"] == "victim"]
        server = nodes.servers[hub]
        for key in (id, id * 2):
            with websocket(server, server.access_token) as other:
                answer = other.answer(
                    "interconnect",
                    {"name": "victim", "key": key.ljust(16, "x"), "resume": {"id": hub.id, "received": 0}},
                )
                assert not answer["result"]["resumed"]
                assert answer["result"]["id"] == hub.id
        assert hub.peers[victim.id].connected
        send_batches(attacker, batch_of([0, [1], {}], source="attacker"))
        assert victim.recorder.wait_for(1) == [1]

    def test_numbers_that_go_back_or_repeat_are_no_way_to_deafen(self, victim, attacker):
        """It harms its own messages alone."""
        send_batches(attacker, batch_of([0, [1], {}], source="attacker", first=2**53 - 1))
        send_batches(attacker, batch_of([0, [2], {}], source="attacker", first=1), n=2)
        attacker.answer("ping")
        assert victim.recorder.wait_for(1)[0] == 1


def ask_in_thread(bus, identifier):
    executor = ThreadPoolExecutor(1)
    future = executor.submit(bus.ask, identifier, timeout=20)
    executor.shutdown(wait=False)
    return future


class TestLocalNames:
    """What begins with ``_`` is this process's own, whatever comes from outside."""

    @pytest.fixture
    def recorders(self, node):
        return [Recorder(node.bus, identifier) for identifier in ("_own:run", "public:run")]

    @pytest.mark.parametrize("identifier", ["_own:run", "_own:*", "berrymq:shared"])
    def test_messages_do_not_reach_them(self, recorders, socket, identifier):
        link(socket)
        send_batches(socket, batch_of([0, [1], {}], identifier=identifier))
        while socket.receive() is not None:
            pass
        assert socket.close_code == 1002
        assert recorders[0].values == []

    @pytest.mark.parametrize("identifier", ["_own:run", "_own:*"])
    def test_nor_do_those_of_a_client_without_a_link(self, recorders, socket, identifier):
        token = socket.answer("connect_oneway")["result"]
        assert socket.answer("send_message", [token, identifier])["error"]["code"] == -32006
        assert socket.answer("ask", [token, identifier])["error"]["code"] == -32006
        assert socket.answer("connect_via_queue", [identifier])["error"]["code"] == -32006
        assert recorders[0].values == []

    def test_a_wildcard_does_not_reach_them(self, node, recorders, socket):
        link(socket)
        send_batches(socket, batch_of([0, [1], {}], identifier="*:run"))
        assert recorders[1].wait_for(1) == [1]
        assert recorders[0].values == []

    def test_answers_are_not_sent_to_them(self, node, recorders, socket, caplog):
        node.bus.follow("public:run", lambda message: "answer")
        link(socket)
        send_batches(socket, batch_of([0, [1], {}, "_own:run"], identifier="public:run"))
        wait(lambda: LOCAL_NAMES in caplog.text, "it is told")
        assert recorders[0].values == []

    def test_a_question_with_a_wildcard_does_not_reach_them(self, node, socket):
        for identifier in ("_own:run", "public:run"):
            node.bus.follow(identifier, lambda message, identifier=identifier: identifier)
        link(socket)
        socket.notify("ask", n=1, ack=0, question=7, batch=batch_of([0, [1], {}], identifier="*:run"))
        while (frame := socket.receive()).get("method") != "answer":
            pass
        assert frame["params"]["question"] == 7
        assert frame["params"]["answers"] == [["node", ["public:run"], []]]


def test_a_link_that_has_ended_is_freed_without_the_garbage_collector(nodes, monkeypatch):
    references = []
    made = server_module.Conversation.__init__

    def note(conversation, *args):
        made(conversation, *args)
        references.append(weakref.ref(conversation))

    monkeypatch.setattr(server_module.Conversation, "__init__", note)
    hub = nodes.hub()
    gc.disable()
    try:
        node = nodes.add(listening=False)
        connector = nodes.link(node, hub)
        references.append(weakref.ref(nodes.peer(hub, node)))
        connector.close(flush=1.0)
        wait(lambda: not any(reference() for reference in references), "they are freed")
    finally:
        gc.enable()
