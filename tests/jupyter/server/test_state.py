"""What the page is told of a hub: who is there and what passes, bounded, and no payload."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import Raw

from berrymq import Identifier
from berrymq.bridge.node import Node
from berrymq.bridge.protocol.accounts import Limits
from berrymq.bridge.protocol.frames import (
    NodeRecord,
    SendMessages,
    WireMessage,
    announce_frame,
    decode_frame,
    messages_frame,
)
from berrymq.bridge.protocol.session import Session
from berrymq_jupyter.server import state as state_module
from berrymq_jupyter.server.state import HubState


class Wire:
    """A connection that takes note of the messages that were written to it."""

    def __init__(self) -> None:
        self.messages: list[WireMessage] = []

    def write(self, data: bytes) -> None:
        frame = decode_frame(data)
        if isinstance(frame, SendMessages):
            self.messages.extend(frame.params.batch)

    def close(self, reason: str = "", code: int = 1000) -> None:
        pass


class Hub:
    """A hub with neighbours, and somebody who looks."""

    def __init__(self) -> None:
        self.node = Node(name="the hub", hub=True, limits=Limits(queue_messages=10))
        self.state = HubState(self.node)
        self.sent = 0

    def look(self) -> Any:
        """A fresh picture."""
        self.state._answered_at = float("-inf")
        return json.loads(self.state.look())

    def join(self, name: str, *follows: str, room: str | None = None, hub: bool = False) -> Any:
        record = NodeRecord(f"id-of-{name}"[:40], name, 1, room, hub, follows, (self.node.id,))
        peer = self.node.add_peer(record, Session(f"secret-{name}", self.node.loop.time(), self.node.limits))
        peer.attach(Wire(), 0)
        return peer

    def say(self, peer: Any, *identifiers: str, payload: bytes = b"[[],{}]") -> None:
        batch = []
        for identifier in identifiers:
            self.sent += 1
            message = WireMessage(
                identifier, Raw(payload), peer.id.removeprefix("id-of-"), 1.0, peer.id, self.sent, peer.room
            )
            batch.append(message)
        frame = decode_frame(messages_frame(peer.session.received + 1, batch))
        peer.receive(peer.transport, frame)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    hub = Hub()
    yield hub
    hub.state.close()
    await hub.node.close()


def node_of(picture, name):
    (found,) = [node for node in picture["nodes"] if node["name"] == name]
    return found


async def test_it_shows_who_is_there_and_follows_what(hub):
    hub.join("one.ipynb", "test:*", "*:stop")
    hub.join("two.py", room="lab")
    picture = hub.look()
    assert picture["name"] == "the hub"
    assert [(node["name"], node["room"], node["state"]) for node in picture["nodes"]] == [
        ("the hub", None, "linked"),
        ("one.ipynb", None, "linked"),
        ("two.py", "lab", "linked"),
    ]
    assert node_of(picture, "one.ipynb")["follows"] == ["test:*", "*:stop"]
    assert abs(node_of(picture, "two.py")["since"] - picture["now"]) < 10


async def test_it_counts_what_came_from_and_went_to_each(hub):
    speaker, _ = hub.join("speaker"), hub.join("listener", "test:*")
    hub.look()
    hub.say(speaker, "test:run", "test:run", "other:run")
    picture = hub.look()
    assert (node_of(picture, "speaker")["sent"], node_of(picture, "speaker")["received"]) == (3, 0)
    assert (node_of(picture, "listener")["sent"], node_of(picture, "listener")["received"]) == (0, 2)
    assert picture["messages"] == 3
    assert {(one["id"], one["count"], one["source"]) for one in picture["identifiers"]} == {
        ("test:run", 2, "speaker"),
        ("other:run", 1, "speaker"),
    }
    assert node_of(picture, "speaker")["sent_rate"] > 0
    assert picture["rate"] > 0


async def test_rooms_are_told_apart(hub):
    for room in (None, "lab"):
        hub.join(f"listener-{room}", "test:*", room=room)
        hub.look()
        hub.say(hub.join(f"speaker-{room}", room=room), "test:run")
    assert {(one["id"], one["room"]) for one in hub.look()["identifiers"]} == {
        ("test:run", None),
        ("test:run", "lab"),
    }


async def test_one_whose_connection_is_cut_stays_and_what_waits_for_it_is_told(hub):
    speaker, listener = hub.join("speaker"), hub.join("listener", "test:*")
    listener.lost(listener.transport)
    hub.say(speaker, *["test:run"] * 13)
    node = node_of(hub.look(), "listener")
    assert node["state"] == "cut"
    assert node["since"] == listener.cut_since
    assert (node["waiting"], node["dropped"]) == (10, 3)
    listener.attach(Wire(), 0)
    node = node_of(hub.look(), "listener")
    assert (node["state"], node["since"]) == ("linked", listener.since)


async def test_one_that_was_cut_off_long_ago_is_gone_until_it_comes_back(hub):
    """As a kernel that was killed: its session may wait for much longer."""
    peer = hub.join("one")
    peer.lost(peer.transport)
    peer.cut_since -= 14
    assert [node["name"] for node in hub.look()["nodes"]] == ["the hub", "one"]
    peer.cut_since -= 1
    assert [node["name"] for node in hub.look()["nodes"]] == ["the hub"]
    peer.attach(Wire(), 0)
    assert node_of(hub.look(), "one")["state"] == "linked"


async def test_one_that_never_got_its_connection_is_gone_too(hub):
    peer = hub.node.add_peer(
        NodeRecord("id", "one", 1, neighbours=(hub.node.id,)), Session("secret", 0.0, hub.node.limits)
    )
    assert [node["name"] for node in hub.look()["nodes"]] == ["the hub", "one"]
    peer.since -= 15
    assert [node["name"] for node in hub.look()["nodes"]] == ["the hub"]


async def test_one_that_left_is_gone(hub):
    peer = hub.join("one")
    hub.node.remove_peer(peer)
    assert [node["name"] for node in hub.look()["nodes"]] == ["the hub"]


async def test_one_behind_another_hub_is_there_too(hub):
    other = hub.join("other hub", hub=True)
    behind = NodeRecord("id-of-behind", "behind", 1, None, False, ("a:x",), (other.id,))
    known = NodeRecord(other.id, "other hub", 2, None, True, (), (hub.node.id, behind.id))
    other.receive(other.transport, decode_frame(announce_frame(1, [known, behind])))
    node = node_of(hub.look(), "behind")
    assert (node["state"], node["since"]) == ("beyond", None)


async def test_clients_without_a_link_are_shown_and_their_tokens_are_not(hub):
    token = hub.node.tokens.give("curl", 10.0)
    other = hub.node.tokens.give("ruby", 10.0, Identifier.parse("task:*"))
    hub.look()
    hub.node.traffic.say("task:add", b'[["milk"],{}]', "curl")
    hub.state._answered_at = float("-inf")
    answer = hub.state.look()
    assert json.loads(answer)["clients"] == [
        {"name": "curl", "follows": None, "waiting": 0, "dropped": 0},
        {"name": "ruby", "follows": "task:*", "waiting": 1, "dropped": 0},
    ]
    assert token.encode() not in answer
    assert other.encode() not in answer
    assert [one["id"] for one in json.loads(answer)["identifiers"]] == ["task:add"]


async def test_it_holds_no_payload_and_no_secret(hub):
    speaker, _ = hub.join("speaker"), hub.join("listener", "test:*")
    hub.look()
    hub.say(speaker, "test:run", payload=b'[["needle-in-args"],{"x":"needle-in-kwargs"}]')
    hub.state._answered_at = float("-inf")
    answer = hub.state.look()
    assert b"test:run" in answer
    for secret in (b"needle", b"secret-", hub.node.access_token.encode()):
        assert secret not in answer


async def test_answers_to_questions_are_no_identifiers(hub):
    speaker, listener = hub.join("speaker"), hub.join("listener", "test:*")
    hub.look()
    question = WireMessage("test:sum", Raw(b"[[],{}]"), "speaker", 1.0, speaker.id, 1, question=1)
    answer = WireMessage(
        "berrymq:answer", Raw(b"[[],{}]"), "listener", 1.0, listener.id, 1, question=1, to=speaker.id
    )
    speaker.receive(speaker.transport, decode_frame(messages_frame(1, [question])))
    listener.receive(listener.transport, decode_frame(messages_frame(1, [answer])))
    assert [one.identifier for one in speaker.transport.messages] == ["berrymq:answer"]
    assert [one["id"] for one in hub.look()["identifiers"]] == ["test:sum"]


async def test_it_is_bounded_however_many_are_there(hub):
    follows = [f"t{i}:{'x' * 250}" for i in range(50)]
    for number in range(210):
        hub.join(f"{number:03}" + "n" * 250, *(follows if number < 10 else []))
    for _ in range(150):
        hub.node.tokens.give("c" * 255, 10.0)
    answer = hub.state.look()
    picture = json.loads(answer)
    assert len(answer) < 250_000
    assert (len(picture["nodes"]), picture["nodes_more"]) == (200, 11)
    assert (len(picture["clients"]), picture["clients_more"]) == (100, 50)
    node = picture["nodes"][1]
    assert (len(node["follows"]), node["follows_more"]) == (20, 30)
    assert len(node["name"]) == 200
    assert node["name"].endswith("…")


async def test_it_is_bounded_whatever_passes(hub):
    speaker = hub.join("speaker")
    hub.look()
    hub.say(speaker, *[f"job{number}:{'y' * 250}" for number in range(6000)])
    picture = hub.look()
    assert picture["messages"] == 6000
    assert len(picture["identifiers"]) == 100
    assert 1900 < picture["identifiers_more"] < 4100
    assert all(len(one["id"]) == 200 for one in picture["identifiers"])


async def test_many_pages_cost_as_much_as_one(hub):
    first = hub.state.look()
    hub.join("one")
    assert hub.state.look() is first


async def test_nothing_is_counted_before_somebody_looks_and_long_after(hub, monkeypatch):
    speaker, _ = hub.join("speaker"), hub.join("listener", "test:*")
    hub.say(speaker, "test:run")
    assert hub.node.traffic.tally is None
    monkeypatch.setattr(state_module, "ATTENTION_SECONDS", 0.02)
    assert hub.look()["messages"] == 0
    hub.say(speaker, "test:run")
    assert hub.look()["messages"] == 1
    ended = asyncio.Event()
    hub.node.loop.call_later(0.03, ended.set)
    await ended.wait()
    assert hub.node.traffic.tally is None
    assert hub.look()["messages"] == 0
