"""Real nodes with real sockets: what arrives where, how often, and in which order."""

import itertools
import json
import tracemalloc

import pytest

from berrymq.bridge.errors import PayloadError
from berrymq.bridge.node.router import Router
from berrymq.bridge.protocol import frames
from tests.support.nodes import Nodes, wait
from tests.support.recorder import Recorder

SHAPES = {
    "chain": lambda size: list(itertools.pairwise(range(size))),
    "ring": lambda size: [(one, (one + 1) % size) for one in range(size if size > 2 else 1)],
    "star": lambda size: [(one, 0) for one in range(1, size)],
    "clique": lambda size: list(itertools.combinations(range(size), 2)),
}
MESSAGES = 25


@pytest.fixture
def nodes():
    with Nodes() as nodes:
        yield nodes


@pytest.fixture
def pair(nodes):
    """Two nodes that are linked directly."""
    one, two = nodes.add(), nodes.add()
    nodes.link(one, two)
    nodes.settle()
    return one, two


class TestShapes:
    @pytest.mark.parametrize("size", range(2, 9))
    @pytest.mark.parametrize("shape", SHAPES)
    def test_each_message_arrives_once_in_its_senders_order_and_then_all_is_silent(self, shape, size):
        with Nodes(size) as nodes:
            recorders = [Recorder(node.bus) for node in nodes.all]
            for one, other in SHAPES[shape](size):
                nodes.link(nodes[one], nodes[other])
            nodes.settle()
            for number in range(MESSAGES):
                for node in nodes.all:
                    node.bus.twitter("test:run", number)
            for recorder in recorders:
                recorder.wait_for(size * MESSAGES)
            nodes.settle()
            for recorder, node in zip(recorders, nodes.all, strict=True):
                assert len(recorder.messages) == size * MESSAGES
                for other in nodes.all:
                    assert recorder.of(other.name if other is not node else None) == list(range(MESSAGES))

    @pytest.mark.parametrize("size", [2, 5, 20])
    def test_all_members_of_a_hub_reach_each_other_once(self, nodes, size):
        hub = nodes.hub()
        members = [nodes.add(f"m{number}", listening=False) for number in range(size)]
        recorders = [Recorder(node.bus) for node in members]
        for node in members:
            nodes.link(node, hub)
        nodes.settle()
        for number in range(MESSAGES):
            for node in members:
                node.bus.twitter("test:run", number)
        for recorder in recorders:
            recorder.wait_for(size * MESSAGES)
        nodes.settle()
        for recorder, node in zip(recorders, members, strict=True):
            for other in members:
                assert recorder.of(other.name if other is not node else None) == list(range(MESSAGES))

    def test_a_node_does_not_pass_on_between_a_direct_link_and_a_hub(self, nodes):
        hub, middle, direct, member = nodes.hub(), nodes.add(), nodes.add(), nodes.add("member")
        recorders = [Recorder(node.bus) for node in (middle, direct, member)]
        nodes.link(middle, hub)
        nodes.link(middle, direct)
        nodes.link(member, hub)
        nodes.settle()
        direct.bus.twitter("test:run", "direct")
        member.bus.twitter("test:run", "member")
        middle.bus.twitter("test:run", "middle")
        recorders[0].wait_for(3)
        nodes.settle()
        values = [sorted(recorder.values) for recorder in recorders]
        assert values == [["direct", "member", "middle"], ["direct", "middle"], ["member", "middle"]]

    def test_where_a_link_of_a_ring_ends_the_rest_is_a_chain(self, nodes):
        size = 5
        members = [nodes.add() for _ in range(size)]
        recorders = [Recorder(node.bus) for node in members]
        links = [nodes.link(members[index - 1], members[index]) for index in range(size)]
        nodes.settle()
        members[0].bus.twitter("test:run", 0)
        for recorder in recorders:
            recorder.wait_for(1)
        links[2].close(2.0)
        nodes.settle()
        members[0].bus.twitter("test:run", 1)
        for recorder in recorders:
            recorder.wait_for(2)
        nodes.settle()
        assert [recorder.values for recorder in recorders] == [[0, 1]] * size

    def test_what_nobody_follows_crosses_no_link(self, nodes):
        one, middle, far = (nodes.add() for _ in range(3))
        hub = nodes.hub()
        far_recorder, near = Recorder(far.bus, "test:run"), Recorder(middle.bus, "else:run")
        for node in (one, middle, far):
            nodes.link(node, hub)
        nodes.settle()
        for _ in range(10):
            one.bus.twitter("nobody:follows", 0)
        one.bus.twitter("test:run", 1)
        one.bus.twitter("else:run", 2)
        far_recorder.wait_for(1)
        near.wait_for(1)
        nodes.settle()
        assert nodes.peer(one, hub).stream.stats.sent == 2
        assert nodes.peer(hub, far).stream.stats.sent == 1
        assert nodes.peer(hub, middle).stream.stats.sent == 1
        assert hub.messages == 2

    def test_a_hub_does_not_read_the_payload(self, nodes):
        hub = nodes.hub()
        one, two = nodes.add(), nodes.add()
        recorder = Recorder(two.bus)
        for node in (one, two):
            nodes.link(node, hub)
        nodes.settle()
        one.bus.twitter("test:run", {"$type": "no such type", "value": 1}, float("nan"))
        assert recorder.wait_for(1) == [{"$type": "no such type", "value": 1}]


class TestWhatIsFollowed:
    def test_a_follower_that_comes_and_goes(self, nodes, pair):
        one, two = pair
        one.bus.twitter("test:run", "before")
        recorder = Recorder(two.bus)
        nodes.settle()
        one.bus.twitter("test:run", "while")
        assert recorder.wait_for(1) == ["while"]
        recorder.subscription.cancel()
        nodes.settle()
        one.bus.twitter("test:run", "after")
        nodes.settle()
        assert nodes.peer(one, two).stream.stats.sent == 1

    @pytest.mark.parametrize(
        ("followed", "published"),
        [
            ("test:run", "*:run"),
            ("test:run", "test:*"),
            ("*:*", "*:*"),
            ("test:*", "*:stop"),
            ("*:stop", "test:*"),
        ],
    )
    @pytest.mark.parametrize("by_hub", [False, True])
    def test_a_wildcard_may_stand_on_either_side(self, nodes, followed, published, by_hub):
        one, two = nodes.add(), nodes.add()
        recorder = Recorder(two.bus, followed)
        if by_hub:
            hub = nodes.hub()
            nodes.link(one, hub)
            nodes.link(two, hub)
        else:
            nodes.link(one, two)
        nodes.settle()
        one.bus.twitter(published, 1)
        recorder.wait_for(1)
        assert recorder.messages[0].id == published

    @pytest.mark.parametrize("by_hub", [False, True])
    def test_namespaces_are_apart(self, nodes, by_hub):
        one, two = nodes.add(), nodes.add()
        plain, spaced = Recorder(two.bus, "test:*"), Recorder(two.bus, "test@space:*")
        if by_hub:
            hub = nodes.hub()
            nodes.link(one, hub)
            nodes.link(two, hub)
        else:
            nodes.link(one, two)
        nodes.settle()
        for identifier in ("test@space:run", "test:run", "test@other:run"):
            one.bus.twitter(identifier, identifier)
        plain.wait_for(1)
        spaced.wait_for(1)
        nodes.settle()
        assert (plain.values, spaced.values) == (["test:run"], ["test@space:run"])

    def test_local_names_never_leave(self, nodes):
        one, two = nodes.add(), nodes.add()
        here, there = Recorder(one.bus, "_local:*"), Recorder(two.bus, "_local:*")
        every = Recorder(two.bus, "*:*")
        nodes.link(one, two)
        nodes.settle()
        one.bus.twitter("_local:run", 1)
        one.bus.twitter("end:run", 2)
        every.wait_for(1)
        assert (here.values, there.values, every.values) == ([1], [], [2])
        followed = nodes.peer(one, two).follows
        assert not any(identifier.is_local for identifier in followed)

    def test_a_wildcard_from_elsewhere_does_not_reach_local_followers(self, nodes, pair):
        one, two = pair
        own, public = Recorder(two.bus, "_own:run"), Recorder(two.bus, "public:run")
        nodes.settle()
        one.bus.twitter("*:run", 1)
        public.wait_for(1)
        nodes.settle()
        assert own.values == []

    def test_a_question_from_elsewhere_does_not_reach_local_followers(self, nodes, pair):
        one, two = pair
        for identifier in ("_own:run", "public:run"):
            two.bus.follow(identifier, lambda message, identifier=identifier: identifier)
        nodes.settle()
        assert one.bus.ask("*:run", timeout=10) == ["public:run"]

    def test_rooms_do_not_reach_or_see_each_other_through_a_hub(self, nodes):
        hub = nodes.hub()
        rooms = [None, None, "blue", "blue"]
        members = [nodes.add(f"m{index}", room=room) for index, room in enumerate(rooms)]
        recorders = [Recorder(member.bus) for member in members]
        links = [nodes.link(member, hub) for member in members]
        nodes.settle()
        for member in members:
            member.bus.twitter("test:run", member.name)
        for recorder in recorders:
            recorder.wait_for(2)
        nodes.settle()
        values = [sorted(recorder.values) for recorder in recorders]
        assert values == [["m0", "m1"]] * 2 + [["m2", "m3"]] * 2
        for link, others in zip(links, [{"m0", "m1"}] * 2 + [{"m2", "m3"}] * 2, strict=True):
            seen = json.loads(bytes(link.call("nodes", {}, 10.0)))
            assert {node["name"] for node in seen} == {"hub", *others}

    def test_a_member_can_t_look_into_another_room(self, nodes):
        hub = nodes.hub()
        nodes.link(nodes.add("inside", room="blue"), hub)
        link = nodes.link(nodes.add("outside"), hub)
        seen = json.loads(bytes(link.call("nodes", {"room": "blue"}, 10.0)))
        assert [node["name"] for node in seen] == ["hub", "outside"]

    def test_a_message_tells_who_published_it_and_when(self, nodes):
        one, two = nodes.add("one"), nodes.add("two")
        sent, received = Recorder(one.bus), Recorder(two.bus)
        nodes.link(one, two)
        nodes.settle()
        one.bus.twitter("test:run", 1, [2], x={"y": (3,)})
        received.wait_for(1)
        message = received.messages[0]
        assert (message.args, dict(message.kwargs)) == ((1, [2]), {"x": {"y": (3,)}})
        assert message.source == "one"
        assert message.origin == one.id
        assert message.sent_at == sent.messages[0].sent_at
        assert sent.messages[0].source is None


class TestWhatGoesWrong:
    def test_what_cannot_cross_arrives_opaque_and_is_warned_of_once(self, nodes, caplog):
        one, two = nodes.add(), nodes.add()
        here, there = Recorder(one.bus), Recorder(two.bus)
        nodes.link(one, two)
        nodes.settle()
        for number in range(3):
            one.bus.twitter("test:run", number, {"f": object()})
        assert here.values == there.wait_for(3) == [0, 1, 2]
        assert there.messages[0].args[1]["f"].type == "object"
        warnings = [record.getMessage() for record in caplog.records if "Opaque" in record.getMessage()]
        assert len(warnings) == 1
        assert warnings[0].startswith("object in test:run arrives elsewhere as an Opaque: ")

    def test_an_answer_that_cannot_cross_arrives_opaque(self, nodes):
        one, two = nodes.add(), nodes.add()
        two.bus.follow("calc:lock", lambda message: [message.args[0].type, object()])
        nodes.link(one, two)
        nodes.settle()
        ((asked, answered),) = one.bus.ask("calc:lock", print)
        assert asked == "builtin_function_or_method"
        assert answered.type == "object"

    def test_what_cannot_cross_is_an_error_at_a_strict_sender_after_delivery_here(self, nodes):
        one, two = nodes.add(), nodes.add()
        here, there = Recorder(one.bus), Recorder(two.bus)
        nodes.link(one, two)
        nodes.settle()
        one.strict = True
        with pytest.raises(PayloadError, match=r"args\[1\]\['f'\] can't cross"):
            one.bus.twitter("test:run", 1, {"f": object()})
        assert here.values == [1]
        one.bus.twitter("test:run", 2)
        assert there.wait_for(1) == [2]

    def test_a_failing_follower_elsewhere_does_not_concern_the_sender(self, nodes, caplog):
        one, two = nodes.add(), nodes.add()

        def fail(message):
            raise RuntimeError("over there")

        two.bus.follow("test:*", fail, direct=True)
        recorder = Recorder(two.bus)
        nodes.link(one, two)
        nodes.settle()
        one.bus.twitter("test:run", 1)
        assert recorder.wait_for(1) == [1]
        wait(lambda: "over there" in caplog.text, "the failure is logged")

    @pytest.mark.parametrize(
        "messages",
        [[b'[0,{"no":"args"},{}]'], [b'[0,[{"$type":"UUID","value":1}],{}]'], [b'[0,[],{},"a:b:c"]']],
        ids=["no message", "no value of its type", "a callback that is no identifier"],
    )
    def test_what_cannot_be_read_is_left_out_and_the_link_goes_on(self, nodes, caplog, messages):
        one, two = nodes.add(), nodes.add()
        recorder = Recorder(two.bus, "*:*")
        nodes.link(one, two)
        nodes.settle()
        self.publish(one, "test:run", messages)
        one.bus.twitter("test:run", 1)
        assert recorder.wait_for(1) == [1]
        assert "1 messages of 'n0' can't be read and are left out" in caplog.text
        assert nodes.peer(two, one).stream.stats.cuts == 0

    def test_only_the_message_is_left_out_that_can_not_be_read(self, nodes, caplog):
        one, two = nodes.add(), nodes.add()
        nodes.link(one, two)
        recorder = Recorder(two.bus, "*:*")
        nodes.settle()
        bad = b'[0,[{"$type":"UUID","value":1}],{}]'
        self.publish(one, "test:run", [bad, b"[0,[1],{}]", b"[0,[2],{}]", bad, b"[0,[3],{}]", bad])
        assert recorder.wait_for(3) == [1, 2, 3]
        assert "3 messages of 'n0' can't be read and are left out" in caplog.text

    def test_a_flood_of_what_cannot_be_read_is_a_few_lines(self, nodes, caplog):
        one, two = nodes.add(), nodes.add()
        recorder = Recorder(two.bus, "*:*")
        nodes.link(one, two)
        nodes.settle()
        for _ in range(300):
            self.publish(one, "test:run", [b'[0,{"no":"args"},{}]'])
        one.bus.twitter("test:run", 1)
        assert recorder.wait_for(1) == [1]
        assert 1 <= len([record for record in caplog.records if "can't be read" in record.msg]) <= 5

    def publish(self, node, identifier, messages):
        """Publish what the node itself would not."""
        with node.lock:
            Router.publish(node, node.home, identifier, node.name, messages)
            node.flush_all()


def test_a_message_that_waits_does_not_hold_the_frame_that_it_came_in(nodes):
    """Of a large frame, one small message goes on to one who is away for a while."""
    hub = nodes.hub()
    sender, receiver, away = nodes.add(), nodes.add(), nodes.add()
    receiver.bus.follow("large:*", lambda message: None, direct=True)
    away.bus.follow("small:*", lambda message: None, direct=True)
    for node in (sender, receiver, away):
        link = nodes.link(node, hub)
    nodes.settle()
    link._find = list  # it finds nothing, so it does not come back
    link.peer.channel.abort()
    wait(lambda: not nodes.peer(hub, away).connected, "the cut is seen")
    tracemalloc.start()
    for number in range(20):
        sender.bus.twitter("large:run", "x" * 200_000)
        sender.bus.twitter("small:run", number)
        nodes.settle()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert nodes.peer(hub, away).stream.snapshot().buffered == 20
    assert kept < 1_000_000


def test_a_frame_is_what_the_page_on_the_wire_says(nodes, pair, monkeypatch):
    one, two = pair
    recorder = Recorder(two.bus)
    nodes.settle()
    written = []
    channel = nodes.peer(one, two).channel
    send_texts = channel.send_texts
    monkeypatch.setattr(channel, "send_texts", lambda texts: (written.extend(texts), send_texts(texts)))
    one.bus.twitter("test:run", 1)
    recorder.wait_for(1)
    frame = json.loads(written[0])
    assert (frame["jsonrpc"], frame["method"]) == ("2.0", "messages")
    ((identifier, origin, source, first, count, messages),) = frame["params"]["batches"]
    assert (identifier, origin, source, count) == ("test:run", one.id, "n0", 1)
    assert first == one._sequence
    assert messages[0][1:] == [[1], {}]
    assert frames.parse(written[0]).method == "messages"
