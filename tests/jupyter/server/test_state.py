"""What the page is told of the hub: who is there and what passes, bounded, and no payload."""

import asyncio
import json

import msgspec
import pytest

from berrymq import Identifier, Queue
from berrymq_jupyter.server import state as state_module
from berrymq_jupyter.server.rates import Rates
from berrymq_jupyter.server.state import HubState, Status, picture
from tests.support.nodes import Nodes, wait

TEXT = "x" * 250


@pytest.fixture
def nodes():
    with Nodes() as nodes:
        nodes.hub("the hub")
        yield nodes


@pytest.fixture
def look(nodes):
    """A picture of what a real hub says, a second after the last one."""
    rates = Rates()
    seconds = iter(range(1000))

    def look():
        said = nodes.call(nodes.servers[nodes.hubs[0]].status)
        status = msgspec.json.decode(msgspec.json.encode(said), type=Status)
        return json.loads(msgspec.json.encode(picture(status, rates, float(next(seconds)))))

    return look


@pytest.fixture
def join(nodes):
    def join(name, *follows, room=None):
        node = nodes.add(name, listening=False, room=room)
        for identifier in follows:
            node.bus.follow(identifier, lambda message: None)
        nodes.link(node, nodes.hubs[0])
        nodes.settle()
        return node

    return join


@pytest.fixture
def said():
    """What a hub says, made up."""

    def said(**changes):
        values = {
            "id": "hub",
            "name": "hub",
            "now": 1000.0,
            "started_at": 900.0,
            "messages": 0,
            "nodes": [],
            "nodes_more": 0,
            "clients": [],
            "clients_more": 0,
            "identifiers": [],
            "identifiers_more": 0,
        }
        return msgspec.convert(values | changes, type=Status)

    return said


def peer(name="one", **changes):
    values = {
        "id": f"id-of-{name}",
        "name": name,
        "room": None,
        "connected": True,
        "for_seconds": 5.0,
        "follows": [],
        "follows_more": 0,
        "sent": 0,
        "received": 0,
        "waiting": 0,
        "dropped": 0,
    }
    return values | changes


def passed(identifier, count=1, **changes):
    return {"id": identifier, "room": None, "count": count, "at": 999.0, "source": "one"} | changes


def node_of(picture, name):
    (found,) = [node for node in picture["nodes"] if node["name"] == name]
    return found


def names(picture):
    return [node["name"] for node in picture["nodes"]]


def test_shared_queues_and_what_is_kept(nodes, look, join, monkeypatch, tmp_path):
    monkeypatch.setenv("BERRYMQ_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    hub = nodes.hubs[0]
    assert [look()[key] for key in ("queues", "kept")] == [[], []]
    one, other = join("one.ipynb"), join("two.py", room="lab")
    queue = Queue("job:*", shared=True, bus=one.bus)
    with hub.lock:
        hub.histories.keep(hub.room("lab"), Identifier.parse("train:*"), 50, TEXT)
        hub.announcements.schedule(hub.room("lab"), [Identifier.parse("train:*")])
    nodes.settle()
    look()
    for number in range(3):
        one.bus.twitter("job:add", number)
        other.bus.twitter("train:epoch", number)
    assert queue.get(timeout=5).args == (0,)
    wait(lambda: queue.qsize() == 2, "it is reported")
    nodes.settle()
    seen = look()
    (shared,) = seen["queues"]
    assert 0 < shared.pop("rate") <= 1
    assert shared == {
        "id": "job:*",
        "room": None,
        "depth": 2,
        "taken": 1,
        "dropped": 0,
        "members": [{"name": "one.ipynb", "taken": 1, "held": 0}],
        "members_more": 0,
    }
    (kept,) = seen["kept"]
    assert kept["by"] == TEXT[:199] + "…"
    assert kept["bytes"] > 100
    assert {key: kept[key] for key in ("identifier", "room", "last", "identifiers", "count", "dropped")} == {
        "identifier": "train:*",
        "room": "lab",
        "last": 50,
        "identifiers": 1,
        "count": 3,
        "dropped": 0,
    }
    assert node_of(seen, "one.ipynb")["follows"] == ["job:*"]


def test_the_state_lists_nodes_and_what_they_follow(look, join):
    join("one.ipynb", "test:*", "*:stop")
    join("two.py", room="lab")
    picture = look()
    assert picture["name"] == "the hub"
    assert [(node["name"], node["room"], node["here"], node["state"]) for node in picture["nodes"]] == [
        ("the hub", None, True, "linked"),
        ("one.ipynb", None, False, "linked"),
        ("two.py", "lab", False, "linked"),
    ]
    assert node_of(picture, "one.ipynb")["follows"] == ["*:stop", "test:*"]
    assert abs(node_of(picture, "two.py")["since"] - picture["now"]) < 10


def test_the_state_counts_messages_from_and_to_each_node(nodes, look, join):
    speaker, _ = join("speaker"), join("listener", "test:*", "other:*")
    look()
    for identifier in ("test:run", "test:run", "other:run"):
        speaker.bus.twitter(identifier)
    nodes.settle()
    picture = look()
    assert (node_of(picture, "speaker")["sent"], node_of(picture, "speaker")["received"]) == (3, 0)
    assert (node_of(picture, "listener")["sent"], node_of(picture, "listener")["received"]) == (0, 3)
    assert picture["messages"] == 3
    assert {(one["id"], one["count"], one["source"]) for one in picture["identifiers"]} == {
        ("test:run", 2, "speaker"),
        ("other:run", 1, "speaker"),
    }
    assert node_of(picture, "speaker")["sent_rate"] > 0
    assert node_of(picture, "listener")["received_rate"] > 0
    assert picture["rate"] > 0


def test_rooms_are_distinguished(nodes, look, join):
    for room in (None, "lab"):
        join(f"listener-{room}", "test:*", room=room)
        join(f"speaker-{room}", room=room).bus.twitter("test:run")
    nodes.settle()
    assert {(one["id"], one["room"]) for one in look()["identifiers"]} == {
        ("test:run", None),
        ("test:run", "lab"),
    }


def test_a_node_that_is_cut_off_stays_with_its_backlog(nodes, look, join):
    speaker, listener = join("speaker"), join("listener", "test:*")
    hub = nodes.hubs[0]
    nodes.connectors[-1].closed = True  # it does not come back
    nodes.call(nodes.peer(listener, hub).channel.abort)
    wait(lambda: not nodes.peer(hub, listener).connected, "the cut")
    for _ in range(13):
        speaker.bus.twitter("test:run")
    wait(lambda: look()["messages"] == 13, "what was sent")
    node = node_of(look(), "listener")
    assert (node["state"], node["waiting"], node["dropped"]) == ("cut", 13, 0)
    assert abs(node["since"] - look()["now"]) < 10


def test_messages_in_flight_are_backlog_of_cut_nodes_alone(nodes, look, join):
    """It is no sign of somebody who is slow."""
    speaker, listener = join("speaker"), join("listener", "test:*")
    nodes.peer(nodes.hubs[0], listener).stream.acknowledged = lambda *_: None
    for _ in range(5):
        speaker.bus.twitter("test:run")
    wait(lambda: look()["messages"] == 5, "what was sent")
    assert node_of(look(), "listener")["waiting"] == 0


def test_one_that_was_cut_off_long_ago_is_gone(said):
    """As a kernel that was killed: its link may wait for much longer."""
    cut = [peer("lately", connected=False, for_seconds=15.0), peer("once", connected=False, for_seconds=15.1)]
    shown = picture(said(nodes=[peer("one", for_seconds=999.0), *cut]), Rates(), 0.0)
    assert [(node.name, node.state, node.since) for node in shown.nodes] == [
        ("hub", "linked", 900.0),
        ("one", "linked", 1.0),
        ("lately", "cut", 985.0),
    ]


def test_one_that_left_is_gone(nodes, look, join):
    join("one")
    nodes.connectors[-1].close(flush=0)
    wait(lambda: names(look()) == ["the hub"], "that it is gone")


def test_clients_without_a_link_are_shown_and_their_tokens_are_not(nodes, look):
    hub = nodes.hubs[0]
    server = nodes.servers[hub]

    def connect():
        tokens = [
            server.sessions.open("curl", None, 10.0),
            server.sessions.open("ruby", None, 10.0, Identifier.parse("task:*")),
        ]
        server.publish(server.sessions.find(tokens[0]), "task:add", b'[1.0,["milk"],{}]')
        return tokens

    tokens = nodes.call(connect)
    picture = look()
    assert picture["clients"] == [
        {"name": "curl", "follows": None, "waiting": 0, "dropped": 0},
        {"name": "ruby", "follows": "task:*", "waiting": 1, "dropped": 0},
    ]
    for token in tokens:
        assert token not in json.dumps(picture)
    assert [one["id"] for one in picture["identifiers"]] == ["task:add"]


def test_the_state_holds_no_payload_and_no_secret(nodes, look, join):
    speaker, _ = join("speaker"), join("listener", "test:*")
    speaker.bus.twitter("test:run", "needle-in-args", x="needle-in-kwargs")
    nodes.settle()
    answer = json.dumps(look())
    assert "test:run" in answer
    for secret in ("needle", speaker.key, nodes.servers[nodes.hubs[0]].access_token):
        assert secret not in answer


def test_a_question_is_no_message(nodes, look, join):
    speaker, listener = join("speaker"), join("listener")
    listener.bus.follow("test:sum", lambda message: sum(message.args))
    nodes.settle()
    assert speaker.bus.ask("test:sum", 1, 2, timeout=10) == [3]
    assert look()["identifiers"] == []


def test_texts_are_bounded(said):
    status = said(
        name=TEXT,
        nodes=[peer(TEXT, room=TEXT, follows=[f"{TEXT}:*"])],
        clients=[{"name": TEXT, "follows": TEXT, "waiting": 0, "dropped": 0}],
        identifiers=[passed(f"{TEXT}:x", room=TEXT, source=TEXT)],
    )
    shown = json.loads(msgspec.json.encode(picture(status, Rates(), 0.0)))
    node, client, identifier = shown["nodes"][1], shown["clients"][0], shown["identifiers"][0]
    texts = [shown["name"], node["name"], node["room"], node["follows"][0], client["name"], client["follows"]]
    texts += [identifier["id"], identifier["room"], identifier["source"]]
    assert {len(text) for text in texts} == {200}
    assert all(text.endswith("…") for text in texts)


def test_the_state_is_bounded_with_many_nodes(nodes, look):
    hub = nodes.hubs[0]
    server = nodes.servers[hub]

    def crowd():
        for number in range(210):
            hub.add_peer(
                f"id{number}", f"{number:03}{TEXT}", None, "member", key="", ttl=10.0
            ).since = hub.loop.time()
        for _ in range(150):
            server.sessions.open("c" * 255, None, 10.0)

    nodes.call(crowd)
    picture = look()
    assert len(json.dumps(picture)) < 250_000
    assert (len(picture["nodes"]), picture["nodes_more"]) == (201, 10)
    assert (len(picture["clients"]), picture["clients_more"]) == (100, 50)


def test_the_state_is_bounded_with_many_identifiers(nodes, look, join):
    speaker, _ = join("speaker"), join("listener", "*:*")
    for number in range(6000):
        speaker.bus.twitter(f"job{number}:{'y' * 250}")
    nodes.settle()
    picture = look()
    assert picture["messages"] == 6000
    assert len(picture["identifiers"]) == 500
    assert picture["identifiers_more"] == 1500  # the hub has forgotten the others
    assert all(len(one["id"]) == 200 for one in picture["identifiers"])


def test_an_identifier_that_comes_back_into_view_is_not_taken_for_a_burst(said):
    rates = Rates()
    picture(said(identifiers=[passed("a:x")], identifiers_more=3), rates, 0.0)
    shown = picture(
        said(identifiers=[passed("b:x", 1_000_000), passed("a:x")], identifiers_more=3), rates, 1.0
    )
    assert [one.rate for one in shown.identifiers] == [0.0, 0.0]
    shown = picture(
        said(identifiers=[passed("b:x", 1_000_010), passed("a:x")], identifiers_more=3), rates, 2.0
    )
    assert 0 < shown.identifiers[0].rate < 10


async def test_many_pages_cost_as_much_as_one(said, monkeypatch):
    asked = 0
    go_on = asyncio.Event()

    async def ask(method, params):
        nonlocal asked
        asked += 1
        await go_on.wait()
        return msgspec.json.encode(said())

    state = HubState(ask)
    looks = [asyncio.ensure_future(state.answer()) for _ in range(10)]
    await asyncio.sleep(0)
    go_on.set()
    assert len(set(await asyncio.gather(*looks))) == 1
    await state.answer()
    assert asked == 1
    monkeypatch.setattr(state_module, "FRESH_SECONDS", 0.0)
    await state.answer()
    assert asked == 2


async def test_one_page_that_is_closed_meanwhile_takes_nothing_from_the_others(said):
    go_on = asyncio.Event()

    async def ask(method, params):
        await go_on.wait()
        return msgspec.json.encode(said())

    state = HubState(ask)
    one, other = (asyncio.ensure_future(state.answer()) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    go_on.set()
    assert b'"here":true' in await other


async def test_a_hub_that_does_not_answer_is_asked_again(said):
    outcomes = [OSError("no"), msgspec.json.encode(said())]

    async def ask(method, params):
        outcome = outcomes.pop(0)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    state = HubState(ask)
    with pytest.raises(OSError, match="no"):
        await state.answer()
    assert b'"here":true' in await state.answer()


async def test_the_newest_payloads_are_requested_by_room_for_the_rows_asked_for(said):
    identifiers = [passed("a:x"), passed("b:x", room="lab"), passed("y" * 250 + ":x")]
    calls = []

    async def ask(method, params):
        if method == "status":
            return msgspec.json.encode(said(identifiers=identifiers))
        calls.append((params["room"], params["identifiers"]))
        return msgspec.json.encode([{"args": [one[0]], "kwargs": {"n": 1}} for one in params["identifiers"]])

    state = HubState(ask)
    rows = [one["row"] for one in json.loads(await state.answer())["identifiers"]]
    assert len(set(rows)) == 3
    assert json.loads(await state.newest([*rows, 999])) == {
        str(row): f"'{letter}', n=1" for row, letter in zip(rows, "aby", strict=True)
    }
    assert calls == [(None, ["a:x", "y" * 250 + ":x"]), ("lab", ["b:x"])]
