"""The newest message of an identifier: read from a bounded piece of its batch, whatever the batch is."""

import json

import pytest

from berrymq.bridge.hub.newest import HELD_BYTES, hold, hold_message, read
from berrymq.bridge.protocol.batches import encode_batch, parse_batch
from tests.support.nodes import Nodes

HARD = ['a"b', "\\", '\\"', '"],[1', "]}", "é\u2028", "", '\\\\"', "[{"]


def batch(messages):
    return parse_batch(encode_batch(b'["a:b","0123456789abcdef","me"', 1, messages, len(messages)))


def message(*args, **kwargs):
    return json.dumps([1.5, args, kwargs]).encode()


def newest(*messages):
    held = hold(batch(list(messages)))
    assert len(held) <= HELD_BYTES
    found = read(held)
    return found and {
        key: value if key == "begins" else json.loads(bytes(value)) for key, value in found.items()
    }


def test_the_last_message_is_found_in_any_batch():
    assert newest(message(1, x=2)) == {"args": [1], "kwargs": {"x": 2}}
    assert newest(message(1), message(2)) == {"args": [2], "kwargs": {}}
    many = [message(number, *HARD) for number in range(1000)]
    for last in (
        message(*HARD, y=HARD),
        message(),
        message([[{"a": [HARD]}]], z={"b": {}}),
        message(HARD[2]),
    ):
        args, kwargs = json.loads(last)[1:]
        assert newest(*many, last) == {"args": args, "kwargs": kwargs}
    spaced = [b' [ 1.0 , [ "]" ] , { "a" : [ ] } ] ' for _ in range(1000)]
    assert newest(*spaced) == {"args": ["]"], "kwargs": {"a": []}}


def test_a_long_message_is_not_decoded():
    (begins,) = newest(message("x" * 10_000, 2)).values()
    assert begins.startswith('["xxx')
    assert len(begins) < HELD_BYTES
    assert newest(message(1), message("x" * 10_000)) is None
    for size in range(HELD_BYTES - 30, HELD_BYTES + 5):
        found = read(hold_message(message("x" * size)))
        assert found is not None
        assert ("begins" in found) == (len(message("x" * size)) >= HELD_BYTES - 2)


@pytest.mark.parametrize("held", [b"", b"[]", b"[1]", b"[[1]]", b"x" * HELD_BYTES, b"]" * HELD_BYTES])
def test_what_is_malformed_has_none(held):
    assert read(held) is None


def test_a_hub_tells_what_passed_in_a_room():
    with Nodes() as nodes:
        hub = nodes.hub("the hub")
        router = nodes.servers[hub].router
        for name, room in (("one", None), ("two", "lab")):
            node = nodes.add(name, listening=False, room=room)
            follower = nodes.add(f"{name} follows", listening=False, room=room)
            follower.bus.follow("a:b", lambda message: None)
            for one in (node, follower):
                nodes.link(one, hub)
            nodes.settle()
            node.bus.twitter("a:b", name)
        nodes.settle()
        found = [
            nodes.call(lambda room=room: router.newest(room, ["a:b", "a:none"])) for room in (None, "lab")
        ]
    assert [[one and bytes(one["args"]) for one in room] for room in found] == [
        [b'["one"]', None],
        [b'["two"]', None],
    ]
