"""What a hub retains, for programs that speak JSON-RPC alone; and each example of the wire's description."""

from pathlib import Path

import pytest

import berrymq.bridge
from berrymq.bridge.protocol.limits import MAX_REPLAYS
from berrymq.bridge.server import history_methods
from tests.support.nodes import Nodes
from tests.support.websockets import websocket

WIRE = (Path(berrymq.bridge.__file__).parent / "WIRE.md").read_text()


@pytest.fixture
def hub():
    with Nodes() as nodes:
        hub = nodes.hub()
        yield nodes.servers[hub]


@pytest.fixture
def socket(hub):
    with websocket(hub, hub.access_token) as socket:
        yield socket


def publish(socket, numbers, identifier="a:b"):
    token = socket.answer("connect_oneway", {"name": "me"})["result"]
    for number in numbers:
        assert socket.answer("send_message", [token, identifier, [number]])["result"] == "ok"


def history(socket, **params):
    return socket.answer("history", params)["result"]


def test_what_is_kept_is_given_again_in_order(socket):
    publish(socket, [0])
    assert socket.answer("keep", {"identifier": "a:*", "name": "me"})["result"] == "ok"
    publish(socket, [1, 2])
    publish(socket, [3], "a:c")
    publish(socket, [4])
    found = history(socket, identifier="a:*")
    assert found["more"] is False
    assert [one["args"] for one in found["messages"]] == [[1], [2], [3], [4]]
    assert [one["n"] for one in found["messages"]] == [1, 2, 3, 4]
    assert found["messages"][0].keys() == {"n", "id", "args", "kwargs", "source", "sent_at"}
    assert [one["args"] for one in history(socket, identifier="a:b", last=2)["messages"]] == [[2], [4]]
    kept = socket.answer("kept")["result"]
    assert [(one["identifier"], one["last"], one["by"]) for one in kept["keeps"]] == [("a:*", 1000, "me")]
    assert [(one["id"], one["count"]) for one in kept["identifiers"]] == [("a:b", 3), ("a:c", 1)]
    first, last = (found["messages"][place]["sent_at"] for place in (0, -1))
    assert (kept["identifiers"][0]["first_at"], kept["identifiers"][0]["last_at"]) == (first, last)


def test_a_queue_begins_with_a_past(socket):
    socket.answer("keep", ["a:*"])
    publish(socket, range(10))
    token = socket.answer("connect_via_queue", {"identifier": "a:*", "past": 3})["result"]
    publish(socket, [10])
    taken = [socket.answer("get_nowait", [token])["result"] for _ in range(4)]
    assert [(one["n"], one["args"]) for one in taken] == [(1, [7]), (2, [8]), (3, [9]), (4, [10])]
    assert socket.answer("get_nowait", [token])["error"]["code"] == -32003


def test_pages_follow_one_another(socket, monkeypatch):
    monkeypatch.setattr(history_methods, "MAX_ANSWER_BYTES", 2000)
    socket.answer("keep", ["a:*"])
    publish(socket, range(100))
    page = history(socket, identifier="a:*", last=90)
    found = page["messages"]
    while page["more"]:
        page = history(socket, identifier="a:*", after=found[-1]["n"])
        assert page["messages"]
        found += page["messages"]
    assert [one["args"][0] for one in found] == list(range(10, 100))


def test_a_room_of_its_own(socket):
    socket.answer("keep", {"identifier": "a:*", "room": "lab"})
    publish(socket, [1])
    assert history(socket, identifier="a:*")["messages"] == []
    assert history(socket, identifier="a:*", room="lab")["messages"] == []
    assert len(socket.answer("kept", {"room": "lab"})["result"]["keeps"]) == 1
    assert socket.answer("kept")["result"]["keeps"] == []


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("keep", {"identifier": "a"}, None),
        ("keep", {"identifier": "a:b:c"}, -32006),
        ("keep", {"identifier": "_a:b"}, -32006),
        ("keep", {"identifier": "a:b", "last": -1}, -32602),
        ("keep", {"identifier": "a:b", "last": 0}, -32602),
        ("keep", {}, -32602),
        ("history", {"identifier": "a:b", "after": -1}, -32602),
        ("history", {"identifier": "a:b", "last": "x"}, -32602),
        ("history", {"identifier": "a:b", "last": 1, "after": 1}, -32602),
        ("connect_via_queue", {"identifier": "a:b", "past": -1}, -32602),
    ],
)
def test_what_is_wrong_is_refused(socket, method, params, code):
    assert socket.answer(method, params).get("error", {}).get("code") == code


def test_too_many_keeps_are_refused(socket, monkeypatch):
    monkeypatch.setattr("berrymq.bridge.hub.history.MAX_KEEPS", 2)
    for name in "ab":
        assert socket.answer("keep", [f"{name}:*"])["result"] == "ok"
    for room in (None, "a new one"):
        assert socket.answer("keep", {"identifier": "c:*", "room": room})["error"]["code"] == -32004
    assert socket.answer("keep", ["a:*"])["result"] == "ok"


def test_a_node_that_is_no_hub_says_so():
    with Nodes(1) as nodes:
        server = nodes.servers[nodes[0]]
        with websocket(server, server.access_token) as socket:
            for method, params in (("keep", ["a:b"]), ("kept", []), ("history", ["a:b"])):
                assert "is no hub" in socket.answer(method, params)["error"]["message"]
            token = socket.answer("connect_via_queue", {"identifier": "a:b", "past": 3})["result"]
            assert socket.answer("get_nowait", [token])["error"]["code"] == -32003


def test_a_link_is_told_before_the_answer_that_it_is_wanted(socket):
    key = "a key of the tests, which nobody else knows"
    socket.answer("interconnect", {"name": "other", "key": key})
    socket.notify("interest", n=1, ack=0, add=[], reset=True)
    socket.call("keep", {"identifier": "a:*"}, id="kept")
    came = []
    while not came or came[-1].get("id") != "kept":
        came.append(socket.receive())
    assert any("a:*" in one["params"].get("add", []) for one in came if one.get("method") == "interest")


def test_a_replay_stands_in_the_stream(socket):
    key = "a key of the tests, which nobody else knows"
    socket.answer("keep", ["a:*"])
    publish(socket, range(3))
    socket.answer("interconnect", {"name": "other", "key": key})
    socket.notify("interest", n=1, ack=0, add=["a:*"], reset=True)
    socket.notify("replay", n=2, ack=0, query=7, identifier="a:b", last=2)
    came = []
    while not came or came[-1].get("method") != "past":
        came.append(socket.receive())
    past = came[-1]["params"]
    assert (past["query"], past["end"]) == (7, True)
    assert [message[1] for batch in past["batches"] for message in batch[5]] == [[1], [2]]


@pytest.mark.parametrize(
    "params",
    [{"query": 0, "identifier": "a:b"}, {"query": 1, "identifier": "_a:b"}, {"query": 1}],
)
def test_a_malformed_replay_ends_the_connection(socket, params):
    socket.answer("interconnect", {"name": "other", "key": "a key of the tests, which nobody else knows"})
    socket.notify("replay", n=1, ack=0, **params)
    while socket.receive() is not None:
        pass
    assert socket.close_code == 1002


def test_more_queries_at_a_time_than_a_link_may_have_end_the_connection(socket):
    """Each answer is held until it is read, so queries without end would fill the memory of the hub."""
    publish_retained(socket)
    socket.answer("interconnect", {"name": "other", "key": "a key of the tests, which nobody else knows"})
    for number in range(1, MAX_REPLAYS + 2):
        socket.notify("replay", n=number, ack=0, query=number, identifier="a:b")
    while socket.receive() is not None:
        pass
    assert socket.close_code == 1002


def publish_retained(socket):
    """Have the hub retain more than the window of a link."""
    socket.answer("keep", ["a:*"])
    publish(socket, ["x" * 1024 * 1024] * 12)
