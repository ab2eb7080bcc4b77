"""`NetworkView`, over links that are made up; `tests/browser` has it over real ones."""

from types import SimpleNamespace

import pytest

from berrymq import LinkError
from berrymq_jupyter.widgets import NetworkView
from berrymq_jupyter.widgets import network_state as module
from berrymq_jupyter.widgets.network_state import NetworkState

from .conftest import FakePage


class FakeNode:
    """A node that is linked to a hub, to which others are linked."""

    def __init__(self, bus, names):
        self.bus = bus
        self.id = names[0]
        self.names = names
        self.stats = SimpleNamespace(sent=0, received=0, dropped=1, lost=2, buffered=3, cuts=0)
        self.away = ()
        self.passed = {}
        self.answers = True
        self.held = {}
        self.follows = None

    def nodes(self):
        return [
            SimpleNamespace(
                id=name,
                name=name,
                room=None,
                hub=name == "hub",
                here=name == self.id,
                follows=self.follows or (f"{name}:*",),
            )
            for name in self.names
        ]

    def status(self):
        if not self.answers:
            raise LinkError("no answer")
        others = [name for name in self.names if name != "hub"]
        return {"id": "hub", "nodes": [self.told(name) for name in others], **self.held}

    def told(self, name):
        sent, received = self.passed.get(name, (0, 0))
        return {"id": name, "connected": name not in self.away, "sent": sent, "received": received}


class FakeLink:
    url, found_by, state, room = "http://hub/", "connection file", "linked", None

    def __init__(self, node):
        self.node = node

    def nodes(self):
        return self.node.nodes()

    def stats(self):
        return self.node.stats

    def status(self):
        return self.node.status()

    def newest(self, identifiers):
        if not self.node.answers:
            raise LinkError("no answer")
        return [{"args": [identifier], "kwargs": {"x": 0.5}} for identifier in identifiers]


@pytest.fixture
def node(bus, monkeypatch):
    node = FakeNode(bus, ["me", "hub", "b", "a"])
    link = FakeLink(node)
    monkeypatch.setattr(module, "open_links", lambda asked: [link] if asked is bus else [])
    return node


def test_without_a_link_there_is_nothing(bus):
    page = FakePage(NetworkView(bus=bus))
    body = page.update()
    assert (body["links"], body["nodes"], body["edges"]) == ([], [], [])
    assert page.view._repr_mimebundle_()[0]["text/plain"] == "NetworkView: not linked"
    assert page.ask("problem", t="nonsense")["text"]


def test_nodes_and_links_are_shown(node, bus):
    state = NetworkState(bus)
    assert state.look(1.0)
    assert not state.look(2.0)
    picture = state.picture
    assert [one["name"] for one in picture["nodes"]] == ["me", "hub", "a", "b"]
    assert picture["nodes"][2]["follows"] == ["a:*"]
    assert [edge["between"] for edge in picture["edges"]] == [["hub", "me"], ["b", "hub"], ["a", "hub"]]
    assert picture["links"][0] == {
        "url": "http://hub/",
        "foundBy": "the hub of this machine, by its connection file",
        "state": "linked",
        "room": None,
        "dropped": 3,
        "waiting": 3,
        "cuts": 0,
    }


def test_traffic_is_measured_on_links_of_this_process(node, bus):
    state = NetworkState(bus)
    state.look(0.0)
    for second in range(1, 60):
        node.stats.sent += 10
        node.stats.received += 30
        state.look(float(second))
    assert state.picture["edges"][0]["between"] == ["hub", "me"]
    (received, into), (sent, out) = state.picture["edges"][0]["flow"]
    assert (sent, received) == (590, 1770)
    assert out == pytest.approx(10, rel=0.05)
    assert into == pytest.approx(30, rel=0.05)
    assert [edge["flow"] for edge in state.picture["edges"][1:]] == [[[0, 0.0], [0, 0.0]]] * 2


def test_traffic_of_others_comes_from_the_hub(node, bus):
    state = NetworkState(bus)
    node.passed = {"a": (100, 5), "me": (999, 999)}
    state.look(0.0)
    for second in range(1, 60):
        node.passed["a"] = (100 + 20 * second, 5)
        state.look(float(second))
    own, _, other = state.picture["edges"]
    assert own["flow"][0][0] == 0
    assert other["between"] == ["a", "hub"]
    assert other["flow"] == [[1280, pytest.approx(20, rel=0.05)], [5, 0.0]]


def test_a_hub_that_does_not_answer_is_left_alone_for_a_while(node, bus):
    state = NetworkState(bus)
    node.answers = False
    state.look(0.0)
    assert [one["name"] for one in state.picture["nodes"]] == ["me", "hub", "a", "b"]
    assert state.picture["edges"] == []
    node.answers = True
    state.look(1.0)
    assert state.picture["edges"] == []
    state.look(module.SILENCE)
    assert len(state.picture["edges"]) == 3


def test_a_cut_and_a_node_that_left_are_shown(node, bus):
    state = NetworkState(bus)
    state.look(0.0)
    node.away = ("b",)
    assert state.look(1.0)
    assert [edge["cut"] for edge in state.picture["edges"]] == [False, True, False]
    node.names.remove("b")
    state.look(2.0)
    assert len(state.picture["nodes"]) == 3
    assert len(state.flows) == 4


def test_few_nodes_list_more_of_what_they_follow_than_many(node, bus, monkeypatch):
    node.follows = tuple(f"n{number}:run" for number in range(60))
    state = NetworkState(bus)
    state.look(0.0)
    here = state.picture["nodes"][0]
    assert (len(here["follows"]), here["followsMore"]) == (60, 0)
    monkeypatch.setattr(module, "MOST_FOLLOWED", 100)
    state.look(1.0)
    here = state.picture["nodes"][0]
    assert (len(here["follows"]), here["followsMore"]) == (50, 10)


def test_very_many_nodes_are_bounded(node, bus, monkeypatch):
    monkeypatch.setattr(module, "MOST_NODES", 10)
    node.names.extend(f"node {number}\u202e" for number in range(50))
    state = NetworkState(bus)
    state.look(0.0)
    assert len(state.picture["nodes"]) == 10
    assert state.picture["more"] == 44
    assert len(state.picture["edges"]) == 9
    assert "\\u202e" in state.picture["nodes"][-1]["name"]


def test_what_passes_and_is_held_is_that_of_the_room(node, bus):
    def passed(identifier, room=None, count=1):
        return {"id": identifier, "room": room, "count": count, "at": 1.5, "source": "a\u202e"}

    members = [{"name": name, "taken": len(name), "held": 0} for name in ("a", "bb")]
    group = {"id": "job:*", "depth": 2, "taken": 3, "members": members, "members_more": 1, "dropped": 0}
    keep = {
        "identifier": "t:*",
        "count": 5,
        "last": 9,
        "identifiers": 2,
        "bytes": 99,
        "by": "a",
        "dropped": 0,
    }
    node.held = {
        "identifiers": [passed("b:x"), passed("c:x", "lab")],
        "identifiers_more": 4,
        "groups": [group | {"room": None}, group | {"room": "lab"}],
        "kept": [keep | {"room": None}, keep | {"room": "lab"}],
    }
    page = FakePage(NetworkView(bus=bus))
    body = page.update(lambda body: body["identifiers"])
    assert body["identifiers"] == [[0, "b:x", 1, 0.0, 1500, "a\\u202e"]]
    assert body["identifiersMore"] == 4
    assert body["queues"] == [["job:*", 2, 3, [["bb", 2], ["a", 1]], 1, 0]]
    assert body["kept"] == [["t:*", 5, 9, 2, 99, "a", 0]]
    node.held["identifiers"][0] = passed("b:x", count=11)
    body = page.update(lambda body: body["identifiers"] and body["identifiers"][0][2] == 11)
    assert body["identifiers"][0][3] > 0
    assert page.ask("newest", t="newest", rows=[[0, "b:x"], [1, "b:x"]]) == {
        "t": "newest",
        "rows": [[0, "b:x", "'b:x', x=0.5"]],
    }
    node.answers = False
    assert page.view.state.newest([[0, "b:x"]]) == []
    assert page.ask("problem", t="newest", rows="x")["text"]


def test_a_page_gets_changes_alone(node, bus):
    page = FakePage(NetworkView(bus=bus))
    first = page.update(lambda body: len(body["nodes"]) == 4)
    node.names.append("c")
    body = page.update(lambda body: len(body["nodes"]) == 5)
    assert body["n"] - first["n"] <= 2
    data, _ = page.view._repr_mimebundle_()
    assert "me (here)" in data["text/plain"]
    assert repr(page.view) == "<NetworkView, 5 nodes>"
