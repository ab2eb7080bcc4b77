"""One connection as the node sees it, without a socket."""

import asyncio
import json

import pytest

from berrymq.bridge.node import Node
from berrymq.bridge.payload import decode
from berrymq.bridge.protocol.frames import HEARTBEAT, WireMessage, ack_frame, decode_frame, messages_frame
from berrymq.bridge.server.conversation import Conversation
from berrymq.bridge.server.methods import methods
from tests.support.nodes import until

PAYLOAD = [[1], {}]


class Transport:
    """Takes down what a conversation says."""

    def __init__(self):
        self.said = asyncio.Queue()
        self.closed = asyncio.Event()

    def write(self, data):
        self.said.put_nowait(data)

    def close(self, reason="", code=1000):
        self.closed.set()

    async def heard(self):
        return json.loads(await asyncio.wait_for(self.said.get(), 10))

    async def answer(self):
        """The next thing that is not a frame."""
        while "method" in (heard := await self.heard()):
            pass
        return heard


@pytest.fixture
async def node():
    node = Node(name="node", access_token="x" * 20)
    yield node
    await node.close()


@pytest.fixture
def transport():
    return Transport()


@pytest.fixture
def conversation(node, transport):
    return Conversation(node, transport, authenticated=True)


def call(method, /, number=1, **params):
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": number})


async def link(conversation, **params):
    conversation.receive(call("interconnect", **{"node": "other", "id": "other", **params}))
    return await conversation.transport.answer()


class TestCalls:
    async def test_answers_come_as_they_are_ready_and_carry_their_ids(self, conversation, transport):
        conversation.receive(call("connect_via_queue", identifier="a:b"))
        token = (await transport.heard())["result"]
        conversation.receive(call("get", number="slow", token=token, timeout=5))
        conversation.receive(call("ping", number="fast"))
        assert (await transport.heard())["id"] == "fast"
        conversation.node.bus.twitter("a:b", 7)
        slow = await transport.heard()
        assert (slow["id"], slow["result"]["args"]) == ("slow", [7])

    async def test_what_is_not_json_is_answered(self, conversation, transport):
        conversation.receive("{")
        assert (await transport.heard())["error"]["code"] == -32700

    async def test_the_end_of_the_connection_leaves_the_message_to_the_next_one(
        self, node, conversation, transport
    ):
        conversation.receive(call("connect_via_queue", identifier="a:b"))
        token = (await transport.heard())["result"]
        conversation.receive(call("get", token=token, timeout=5))
        await asyncio.sleep(0)
        conversation.closed()
        await asyncio.wait(conversation._tasks, timeout=10)
        node.bus.twitter("a:b", 7)
        next_one = Conversation(node, Transport(), authenticated=True)
        next_one.receive(call("get", token=token, timeout=5))
        assert (await next_one.transport.heard())["result"]["args"] == [7]

    async def test_a_call_that_was_given_up_takes_nothing_from_the_next_one(
        self, node, conversation, transport
    ):
        conversation.receive(call("connect_via_queue", identifier="a:b"))
        token = (await transport.heard())["result"]
        conversation.receive(call("get", number="given up", token=token, timeout=25))
        conversation.receive(call("get", number="next", token=token, timeout=25))
        given_up = await transport.heard()
        assert (given_up["id"], given_up["error"]["code"]) == ("given up", -32003)
        node.bus.twitter("a:b", 7)
        answer = await transport.heard()
        assert (answer["id"], answer["result"]["args"]) == ("next", [7])

    async def test_a_call_that_waits_is_told_when_its_token_is_closed(self, conversation, transport):
        conversation.receive(call("connect_via_queue", identifier="a:b"))
        token = (await transport.heard())["result"]
        conversation.receive(call("get", number="waits", token=token, timeout=25))
        conversation.receive(call("close_connection", number="closes", token=token))
        answers = {answer["id"]: answer for answer in [await transport.heard() for _ in range(2)]}
        assert answers["closes"]["result"] == "ok"
        assert answers["waits"]["error"]["code"] == -32002

    async def test_a_token_does_not_expire_while_a_call_waits(self, node, conversation, transport):
        conversation.receive(call("connect_via_queue", identifier="a:b", ttl=0.05))
        token = (await transport.heard())["result"]
        conversation.receive(call("get", token=token, timeout=0.3))
        assert (await transport.heard())["error"]["code"] == -32003
        assert len(node.tokens) == 1
        await until(lambda: len(node.tokens) == 0, "its end")

    async def test_a_mistake_inside_is_logged_and_not_told(
        self, conversation, transport, monkeypatch, caplog
    ):
        def fail(conversation):
            raise RuntimeError("a detail")

        monkeypatch.setitem(methods._methods, "fail", type(methods._methods["ping"])(fail))
        conversation.receive(call("fail"))
        assert (await transport.heard())["error"] == {"code": -32603, "message": "internal error"}
        assert "a detail" in caplog.text
        conversation.receive('{"jsonrpc":"2.0","method":"fail"}')
        conversation.receive(call("ping", number="next"))
        assert (await transport.heard())["id"] == "next"


def batch(*calls):
    return "[" + ",".join(calls) + "]"


class TestBatches:
    async def test_their_answers_are_bounded(self, node, conversation, transport):
        conversation.receive(call("connect_via_queue", identifier="a:b"))
        token = (await transport.heard())["result"]
        node.bus.twitter("a:b", "x" * 1_000_000)
        again = [call("get_nowait", number=number, token=token, received=0) for number in range(100)]
        conversation.receive(batch(*again))
        answers = await transport.heard()
        assert [answer["id"] for answer in answers] == list(range(100))
        given = [answer for answer in answers if "result" in answer]
        assert len(given) == 5
        assert all(answer["error"]["code"] == -32005 for answer in answers[5:])

    async def test_no_link_is_made_in_one(self, node, conversation, transport):
        links = [call("interconnect", node=name, id=name) for name in ("one", "two")]
        unanswered = json.dumps({"jsonrpc": "2.0", "method": "interconnect", "params": ["three"]})
        conversation.receive(batch(*links, unanswered, call("ping", number="last")))
        *refused, last = await transport.heard()
        assert [answer["error"]["code"] for answer in refused] == [-32600, -32600]
        assert (last["id"], last["result"]) == ("last", "pong")
        assert node.peers == 0
        assert "result" in await link(conversation)

    @pytest.mark.parametrize("over_http", [False, True])
    async def test_several_links_may_be_ended_in_one(self, node, conversation, transport, over_http):
        sessions = []
        for name in ("one", "two"):
            other = Conversation(node, Transport(), authenticated=True)
            sessions.append((await link(other, id=name))["result"]["session"])
        ends = batch(*[call("close_connection", token=session) for session in sessions])
        if over_http:
            answers = json.loads(await Conversation(node, authenticated=True).answer(ends.encode()))
        else:
            conversation.receive(ends)
            answers = await transport.heard()
        assert [answer["result"] for answer in answers] == ["ok", "ok"]
        assert node.peers == 0


class TestInterconnect:
    async def test_the_links_that_others_make_are_bounded(self, node, monkeypatch):
        monkeypatch.setattr("berrymq.bridge.server.methods.MAX_PEERS", 2)
        one, two, three = (Conversation(node, Transport(), authenticated=True) for _ in range(3))
        session = (await link(one, id="one"))["result"]["session"]
        await link(two, id="two")
        assert (await link(three, id="three"))["error"]["code"] == -32004
        one.closed()
        two.closed()
        again, new = (Conversation(node, Transport(), authenticated=True) for _ in range(2))
        assert (await link(again, id="one", session=session))["result"]["resumed"]
        assert "result" in await link(new, id="two")  # another incarnation of it
        assert node.peers == 2

    async def test_a_session_or_token_that_none_can_be(self, conversation, transport):
        await link(conversation)
        for text in ("é", "\x00"):
            conversation.receive(call("close_connection", token=text))
            assert (await transport.answer())["error"]["code"] == -32602
            other = Conversation(conversation.node, Transport(), authenticated=True)
            other.receive(call("interconnect", node="other", session=text))
            assert (await other.transport.answer())["error"]["code"] == -32602

    async def test_the_answer_says_who_is_here(self, node, conversation):
        answer = await link(conversation)
        result = answer["result"]
        assert result["resumed"] is False
        assert result["received"] == 0
        assert result["node"]["id"] == node.id
        assert node.peer("other").session.id == result["session"]

    async def test_frames_follow_the_answer(self, conversation, transport):
        conversation.receive(call("interconnect", node="other"))
        assert "result" in await transport.heard()
        assert (await transport.heard())["method"] == "announce"

    async def test_what_the_other_side_follows_is_known_from_the_start(self, node, conversation):
        await link(conversation, follows=["a", "b:y"])
        assert node.record_of("other").follows == ("a:*", "b:y")

    @pytest.mark.parametrize(
        ("params", "code"),
        [
            ({"follows": ["a:b:c"]}, -32006),
            ({"follows": [""]}, -32602),
            ({"follows": "a:b"}, -32602),
            ({"node": "x" * 256}, -32602),
            ({"id": ""}, -32602),
            ({"id": "x" * 65}, -32602),
            ({"ttl": 0}, -32602),
            ({"received": -1}, -32602),
            ({"version": -1}, -32602),
            ({"version": 2**53}, -32602),
            ({"process": {"machine": "", "pid": 1}}, -32602),
            ({"url": "http://127.0.0.1:1/"}, -32602),
        ],
    )
    async def test_wrong_parameters_make_no_link(self, node, conversation, params, code):
        assert (await link(conversation, **params))["error"]["code"] == code
        assert node.peers == 0

    async def test_one_connection_is_one_link(self, conversation):
        await link(conversation)
        assert (await link(conversation, id="another"))["error"]["code"] == -32600

    async def test_a_node_is_not_linked_to_itself(self, node, conversation):
        assert (await link(conversation, id=node.id))["error"]["code"] == -32602

    async def test_an_unknown_session_is_a_new_link(self, node, conversation):
        answer = await link(conversation, session="nobody knows", received=5)
        assert answer["result"]["resumed"] is False
        assert node.peer("other").session.received == 0

    async def test_a_session_goes_on_over_another_connection(self, node, conversation, transport):
        node.bus.follow("a:*", lambda message: None)
        session = (await link(conversation))["result"]["session"]
        message = WireMessage("a:b", PAYLOAD, "other", 0.0, "other", 1)
        conversation.receive(messages_frame(1, [message]))
        conversation.closed()
        assert not node.peer("other").connected
        again = Conversation(node, Transport(), authenticated=True)
        answer = await link(again, session=session, received=0)
        assert answer["result"]["resumed"] is True
        assert answer["result"]["received"] == 1
        assert node.peer("other").transport is again.transport

    async def test_of_two_connections_of_a_session_the_later_one_counts(self, node, conversation, transport):
        session = (await link(conversation))["result"]["session"]
        later = Conversation(node, Transport(), authenticated=True)
        await link(later, session=session)
        await asyncio.wait_for(transport.closed.wait(), 10)
        conversation.receive(messages_frame(1, []))
        assert node.peer("other").session.received == 0
        conversation.closed()
        assert node.peer("other").connected

    @pytest.mark.parametrize("is_new", [True, False])
    async def test_a_connection_that_ended_meanwhile_carries_nothing(self, node, conversation, is_new):
        session = None
        if not is_new:
            session = (await link(conversation))["result"]["session"]
            conversation.closed()
        gone = Conversation(node, Transport(), authenticated=True)
        gone.receive(call("interconnect", node="other", id="other", session=session))
        gone.closed()
        await gone.transport.answer()
        peer = node.peer("other")
        assert peer is None or not peer.connected

    async def test_a_resumption_that_claims_too_much_ends_the_connection(self, conversation):
        session = (await link(conversation))["result"]["session"]
        later = Conversation(conversation.node, Transport(), authenticated=True)
        later.receive(call("interconnect", node="other", id="other", session=session, received=1000))
        await asyncio.wait_for(later.transport.closed.wait(), 10)


class TestFrames:
    @pytest.mark.parametrize(
        "data",
        [
            messages_frame(2, []),
            ack_frame(1000),
            '{"jsonrpc":"2.0","method":"ack","params":{}}',
            '{"jsonrpc":"2.0","method":"send_messages","params":{"n":1,"batch":[[]]}}',
            '[{"jsonrpc":"2.0","method":"heartbeat"}]',
            '{"jsonrpc":"2.0","method":"ack","params":{"n":1},"id":1}'.replace('"n":1', '"n":"1"'),
        ],
        ids=["a gap", "too much", "no number", "no message", "in a batch", "as a call"],
    )
    async def test_a_wrong_one_ends_the_connection_and_not_the_session(
        self, node, conversation, transport, data
    ):
        await link(conversation)
        conversation.receive(data)
        await asyncio.wait_for(transport.closed.wait(), 10)
        assert node.peer("other") is not None
        assert not node.peer("other").connected

    async def test_one_that_no_connection_ever_carries_expires(self, node, conversation):
        conversation.receive(call("interconnect", node="other", id="other", ttl=0.05))
        conversation.closed()
        await conversation.transport.answer()
        assert node.peers == 1
        await until(lambda: node.peers == 0, "its end")

    async def test_calls_go_on_beside_them(self, conversation, transport):
        await link(conversation)
        conversation.receive(HEARTBEAT)
        conversation.receive(call("ping", number="beside"))
        assert (await transport.answer())["result"] == "pong"

    async def test_what_is_no_json_is_answered_on_a_link_too(self, conversation, transport):
        await link(conversation)
        conversation.receive("{")
        assert (await transport.answer())["error"]["code"] == -32700
        assert conversation.peer.connected

    async def test_follow_and_unfollow_speak_for_one_who_does_not_announce(
        self, node, conversation, transport
    ):
        await link(conversation)
        conversation.receive(call("follow", identifier="a:x"))
        assert (await transport.answer())["result"] == "ok"
        node.bus.twitter("a:x", 5)
        while "send_messages" not in (heard := await transport.heard()).get("method", ""):
            pass
        message = decode_frame(json.dumps(heard)).params.batch[0]
        assert (message.identifier, json.loads(bytes(message.payload))) == ("a:x", [[5], {}])
        conversation.receive(call("unfollow", identifier="a"))
        conversation.receive(call("unfollow", identifier="a:x"))
        assert [(await transport.answer())["result"] for _ in range(2)] == ["ok", "ok"]
        assert node.record_of("other").follows == ()

    async def test_follows_are_bounded(self, node, conversation, transport, monkeypatch):
        monkeypatch.setattr("berrymq.bridge.server.methods.MAX_FOLLOWS", 2)
        await link(conversation)
        for identifier in ("a:x", "a:y", "a:z"):
            conversation.receive(call("follow", identifier=identifier))
        conversation.receive(call("unfollow", identifier="a:x"))
        conversation.receive(call("follow", identifier="a:z"))
        answers = [await transport.answer() for _ in range(5)]
        assert [answer.get("result") for answer in answers] == ["ok", "ok", None, "ok", "ok"]
        assert answers[2]["error"]["code"] == -32004
        assert node.record_of("other").follows == ("a:y", "a:z")

    async def test_closing_ends_the_session(self, node, conversation, transport):
        session = (await link(conversation))["result"]["session"]
        conversation.receive(call("close_connection", token=session))
        assert (await transport.answer())["result"] == "ok"
        await asyncio.wait_for(transport.closed.wait(), 10)
        assert node.peers == 0


class TestLocalNames:
    """What begins with ``_`` is this process's own, whatever comes from outside."""

    @pytest.fixture
    async def heard(self, node):
        heard = []
        for identifier in ("_own:run", "public:run"):
            node.bus.follow(identifier, lambda message: heard.append(message.id), direct=True)
        return heard

    async def put(self, conversation, *messages):
        await link(conversation)
        last = WireMessage("public:run", PAYLOAD, "other", 0.0, "other", 100)
        conversation.receive(messages_frame(1, [*messages, last]))

    @pytest.mark.parametrize("question", [None, 1])
    @pytest.mark.parametrize("identifier", ["_own:run", "_own:*"])
    async def test_messages_and_questions_do_not_reach_them(self, conversation, heard, identifier, question):
        message = WireMessage(identifier, PAYLOAD, "other", 0.0, "other", 1, question=question)
        await self.put(conversation, message)
        assert heard == ["public:run"]

    async def test_a_wildcard_does_not_reach_them(self, conversation, heard):
        await self.put(conversation, WireMessage("*:run", PAYLOAD, "other", 0.0, "other", 1))
        assert heard == ["*:run", "public:run"]  # one follower each time, and the same

    async def test_answers_are_not_sent_to_them(self, conversation, heard, caplog):
        message = WireMessage("public:run", PAYLOAD, "other", 0.0, "other", 1, callback="_own:run")
        await self.put(conversation, message)
        assert heard == ["public:run"]
        assert "its answers were to go to _own:run, which is local" in caplog.text

    async def test_a_wildcard_question_does_not_reach_them(self, node, conversation, transport):
        for identifier in ("_own:run", "public:run"):
            node.bus.follow(identifier, lambda message, identifier=identifier: identifier)
        await self.put(conversation, WireMessage("*:run", PAYLOAD, "other", 0.0, "other", 1, question=1))
        while "send_messages" not in (said := await transport.heard()).get("method", ""):
            pass
        (answer,) = decode_frame(json.dumps(said)).params.batch
        assert (answer.to, answer.question) == ("other", 1)
        assert decode(answer.payload)[0][0] == ["public:run"]
