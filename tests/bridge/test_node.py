"""Real nodes with real sockets: what arrives where, how often, and in which order."""

import asyncio
import itertools
import tracemalloc

import pytest
from msgspec import Raw

from berrymq.bridge.errors import PayloadError
from berrymq.bridge.protocol.frames import SendMessages, WireMessage, decode_frame
from tests.support.network import Network
from tests.support.nodes import Ears, Nodes

SHAPES = {
    "chain": lambda size: list(itertools.pairwise(range(size))),
    "ring": lambda size: [(one, (one + 1) % size) for one in range(size if size > 2 else 1)],
    "star": lambda size: [(one, 0) for one in range(1, size)],
    "clique": lambda size: list(itertools.combinations(range(size), 2)),
}
MESSAGES = 25


class TestShapes:
    @pytest.mark.parametrize("size", range(2, 9))
    @pytest.mark.parametrize("shape", SHAPES)
    async def test_each_message_arrives_once_in_its_senders_order_and_then_all_is_silent(self, shape, size):
        async with Nodes(size) as nodes:
            ears = [Ears(node) for node in nodes.all]
            for one, other in SHAPES[shape](size):
                await nodes.link(nodes[one], nodes[other])
            await nodes.know_all()
            for number in range(MESSAGES):
                for node in nodes.all:
                    node.bus.twitter("test:run", number)
            for ear in ears:
                await ear.have(size * MESSAGES)
            async with asyncio.timeout(15):
                await nodes.are_silent()
            for ear, node in zip(ears, nodes.all, strict=True):
                assert len(ear.messages) == size * MESSAGES
                for other in nodes.all:
                    assert ear.of(other.name if other is not node else None) == list(range(MESSAGES))

    async def test_where_nobody_follows_nothing_is_said(self):
        async with Nodes(3) as nodes:
            far, near = Ears(nodes[2], "test:run"), Ears(nodes[1], "else:run")
            await nodes.link(nodes[0], nodes[1])
            await nodes.link(nodes[1], nodes[2])
            await nodes.know_all()
            await nodes.are_silent()
            for _ in range(10):
                nodes[0].bus.twitter("nobody:follows", 0)
            nodes[0].bus.twitter("test:run", 1)
            nodes[0].bus.twitter("else:run", 2)
            await asyncio.gather(far.have(1), near.have(1))
            await nodes.are_silent()
            assert nodes[0].peer(nodes[1].id).session.stats.sent == 2
            assert nodes[1].peer(nodes[2].id).session.stats.sent == 1
            assert nodes[1].traffic.forwarded == 1

    async def test_one_who_passes_on_does_not_read_the_payload(self):
        async with Nodes(2) as nodes:
            hub = await nodes.add("hub", hub=True)
            ears = Ears(nodes[1])
            for node in nodes.all[:2]:
                await nodes.link(node, hub)
            await nodes.know_all()
            nodes[0].bus.twitter("test:run", {"$type": "no such type", "value": 1}, float("nan"))
            await ears.have(1)
            assert ears.values == [{"$type": "no such type", "value": 1}]
            assert len(nodes.all[2].bus.gateway.interests()) == 0


class TestWhatIsFollowed:
    async def test_a_follower_that_comes_and_goes(self):
        async with Nodes(2) as nodes:
            await nodes.link(nodes[0], nodes[1])
            await nodes.know_all()
            nodes[0].bus.twitter("test:run", "before")
            ears = Ears(nodes[1])
            await nodes.know_all()
            nodes[0].bus.twitter("test:run", "while")
            assert await ears.have(1) == ["while"]
            ears._subscription.cancel()
            await nodes.know_all()
            nodes[0].bus.twitter("test:run", "after")
            await nodes[0].flush()
            assert nodes[0].peer(nodes[1].id).session.stats.sent == 1

    @pytest.mark.parametrize(
        ("followed", "said"),
        [
            ("test:run", "*:run"),
            ("test:run", "test:*"),
            ("*:*", "*:*"),
            ("test:*", "*:stop"),
            ("*:stop", "test:*"),
        ],
    )
    async def test_a_wildcard_may_stand_on_either_side(self, followed, said):
        async with Nodes(2) as nodes:
            ears = Ears(nodes[1], followed)
            await nodes.link(nodes[0], nodes[1])
            await nodes.know_all()
            nodes[0].bus.twitter(said, 1)
            await ears.have(1)
            assert ears.messages[0].id == said

    async def test_namespaces_are_apart(self):
        async with Nodes(2) as nodes:
            plain, spaced = Ears(nodes[1], "test:*"), Ears(nodes[1], "test@space:*")
            await nodes.link(nodes[0], nodes[1])
            await nodes.know_all()
            for identifier in ("test@space:run", "test:run", "test@other:run"):
                nodes[0].bus.twitter(identifier, identifier)
            await asyncio.gather(plain.have(1), spaced.have(1))
            await nodes.are_silent()
            assert (plain.values, spaced.values) == (["test:run"], ["test@space:run"])

    async def test_local_names_never_leave(self):
        async with Nodes(2) as nodes:
            here, there = Ears(nodes[0], "_local:*"), Ears(nodes[1], "_local:*")
            every = Ears(nodes[1], "*:*")
            await nodes.link(nodes[0], nodes[1])
            await nodes.know_all()
            nodes[0].bus.twitter("_local:run", 1)
            nodes[0].bus.twitter("end:run", 2)
            await every.have(1)
            assert (here.values, there.values, every.values) == ([1], [], [2])
            assert all(not followed.startswith("_") for followed in nodes[1].record.follows)

    async def test_rooms_do_not_hear_or_see_each_other_through_a_hub(self):
        async with Nodes() as nodes:
            hub = await nodes.add("hub", hub=True)
            rooms = [None, None, "blue", "blue"]
            members = [await nodes.add(f"m{index}", room=room) for index, room in enumerate(rooms)]
            ears = [Ears(member) for member in members]
            for member in members:
                await nodes.link(member, hub)
            await nodes.know_all(*members[:2], hub)
            await nodes.know_all(*members[2:], hub)
            for member in members:
                member.bus.twitter("test:run", member.name)
            for ear in ears:
                await ear.have(2)
            await nodes.are_silent()
            assert [sorted(ear.values) for ear in ears] == [["m0", "m1"]] * 2 + [["m2", "m3"]] * 2
            assert {node.name for node in members[0].nodes()} == {"m0", "m1", "hub"}
            assert {node.name for node in members[3].nodes()} == {"m2", "m3", "hub"}
            assert len(hub.nodes()) == 5

    async def test_a_message_tells_where_and_when_it_was_said(self):
        async with Nodes(2) as nodes:
            sent, got = Ears(nodes[0]), Ears(nodes[1])
            await nodes.link(nodes[0], nodes[1])
            await nodes.know_all()
            nodes[0].bus.twitter("test:run", 1, [2], x={"y": (3,)})
            await got.have(1)
            message = got.messages[0]
            assert (message.args, dict(message.kwargs)) == ((1, [2]), {"x": {"y": (3,)}})
            assert message.source == "n0"
            assert message.origin == nodes[0].id
            assert message.sent_at == sent.messages[0].sent_at
            assert sent.messages[0].source is None


class TestWhatGoesWrong:
    async def test_what_cannot_cross_is_an_error_at_the_sender_after_delivery_here(self):
        async with Nodes(2) as nodes:
            here, there = Ears(nodes[0]), Ears(nodes[1])
            await nodes.link(nodes[0], nodes[1])
            await nodes.know_all()
            with pytest.raises(PayloadError, match=r"args\[1\]\['f'\] can't cross"):
                nodes[0].bus.twitter("test:run", 1, {"f": object()})
            assert here.values == [1]
            nodes[0].bus.twitter("test:run", 2)
            assert await there.have(1) == [2]

    async def test_a_failing_follower_elsewhere_is_not_the_senders_business(self, caplog):
        async with Nodes(2) as nodes:

            def fail(message):
                raise RuntimeError("over there")

            nodes[1].bus.follow("test:*", fail, direct=True)
            ears = Ears(nodes[1])
            await nodes.link(nodes[0], nodes[1])
            await nodes.know_all()
            nodes[0].bus.twitter("test:run", 1)
            assert await ears.have(1) == [1]
            assert "over there" in caplog.text

    async def test_what_cannot_be_read_is_left_out_and_the_link_goes_on(self, caplog):
        async with Nodes(2) as nodes:
            ears = Ears(nodes[1], "*:*")
            await nodes.link(nodes[0], nodes[1])
            await nodes.know_all()
            self.say_raw(nodes[0], nodes[1], "test:run", b'{"no":"payload"}')
            self.say_raw(nodes[0], nodes[1], "test:run", b'[[{"$type":"UUID","value":1}],{}]')
            self.say_raw(nodes[0], nodes[1], "a:b:c", b"[[0],{}]")
            self.say_raw(nodes[0], nodes[1], "_local:run", b"[[0],{}]")
            nodes[0].bus.twitter("test:run", 1)
            assert await ears.have(1) == [1]
            assert caplog.text.count("can't be read and is left out") == 2
            assert caplog.text.count("is left out: ") == 3
            assert nodes[0].connected_peers == 1

    def say_raw(self, node, other, identifier, payload):
        """Send a message that the node itself would not."""
        node.traffic._sequence += 1
        message = WireMessage(identifier, Raw(payload), node.name, 0.0, node.id, node.traffic._sequence)
        peer = node.peer(other.id)
        peer.session.send(message)
        peer.pump()

    async def test_what_has_hopped_often_enough_goes_no_further(self):
        async with Nodes(11) as nodes:
            ears = [Ears(node) for node in nodes.all]
            for one, other in SHAPES["chain"](11):
                await nodes.link(nodes[one], nodes[other])
            await nodes.know_all()
            nodes[0].bus.twitter("test:run", 1)
            await ears[9].have(1)
            await nodes.are_silent()
            assert [len(ear.messages) for ear in ears] == [1] * 10 + [0]


def test_a_message_that_waits_does_not_hold_the_frame_that_it_came_in():
    """Of a large frame, one small message goes on to one who is away for a while."""
    network = Network(3)
    sender, middle, away = network.nodes
    middle.bus.follow("large:*", lambda message: None, direct=True)
    away.bus.follow("small:*", lambda message: None, direct=True)
    network.link(sender, middle)
    network.link(away, middle)
    network.settle()
    network.cut(away, middle)
    tracemalloc.start()
    for number in range(20):
        sender.bus.twitter("large:run", "x" * 200_000)
        sender.bus.twitter("small:run", number)
        network.settle()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert middle.peer(away.id).session.stats.queued == 20
    assert kept < 500_000


async def test_a_frame_is_what_the_page_on_the_wire_says():
    async with Nodes(2) as nodes:
        ears = Ears(nodes[1])
        await nodes.link(nodes[0], nodes[1])
        await nodes.know_all()
        written = []
        transport = nodes[0].peer(nodes[1].id).transport
        write = transport.write
        transport.write = lambda data: (written.append(data), write(data))
        nodes[0].bus.twitter("test:run", 1)
        await ears.have(1)
        frames = [frame for frame in map(decode_frame, written) if isinstance(frame, SendMessages)]
        (message,) = frames[0].params.batch
        assert (message.identifier, message.origin, message.hops) == ("test:run", nodes[0].id, 0)
