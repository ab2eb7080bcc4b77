"""What one who speaks the wire to a hub may do, and what it may not."""

import json
import tracemalloc

import pytest
from msgspec import Raw

from berrymq import Message
from berrymq.bridge.node import questions as questions_module
from berrymq.bridge.node.mailbox import Mailbox
from berrymq.bridge.node.peer import MAX_LISTED, interest_body
from berrymq.bridge.node.validation import MAX_BATCH_BYTES
from berrymq.bridge.protocol import batches, frames, json_checks
from berrymq.bridge.protocol.events import CloseCode
from berrymq.bridge.protocol.limits import MAX_DEPTH, MAX_FOLLOWS, MAX_TEXT_BYTES, Limits
from berrymq.bridge.transport.budget import Budget
from berrymq.identifiers import Identifier
from tests.support.network import Member, Network

MIB = 1024 * 1024


@pytest.fixture
def network():
    network = Network()
    yield network
    network.close()


@pytest.fixture
def hub(network):
    return network.hub()


@pytest.fixture
def victim(network, hub):
    """A member that follows everything."""
    member = Member(network, hub, "victim")
    member.frame("interest", add=["*:*"], reset=True)
    network.settle()
    return member


@pytest.fixture
def mallory(network, hub, victim):
    """A member that means no good."""
    member = Member(network, hub)
    member.frame("interest", reset=True)
    network.settle()
    return member


def is_cut(network, member):
    network.settle()
    assert member.closed is not None
    assert member.closed.code == CloseCode.PROTOCOL_ERROR
    assert member.closed.reason
    return True


class TestWhoSaysIt:
    def test_what_a_member_publishes_in_its_own_name_is_passed_on(self, network, victim, mallory):
        mallory.publish("a:b", 1, 2)
        mallory.publish("a:b", 3, first=3, source="a shell via mallory")
        network.settle()
        assert victim.values == [1, 2, 3]
        assert mallory.closed is None

    @pytest.mark.parametrize(
        "forged",
        [
            {"origin": "the victim's"},
            {"source": "victim"},
            {"source": "victim via mallory via victim"},
            {"source": "mallory via victim"},
            {"source": "xmallory"},
            {"source": ""},
        ],
    )
    def test_what_it_publishes_in_the_name_of_another_is_not_and_it_is_cut(
        self, network, victim, mallory, forged
    ):
        if "origin" in forged:
            forged = {"origin": victim.id}
        good = mallory.batch("a:b", [1.0, ["good"], {}])
        bad = mallory.batch("a:b", [1.0, ["bad"], {}], **forged)
        mallory.frame("messages", batches=[good, bad])
        assert is_cut(network, mallory)
        assert victim.values == []

    @pytest.mark.parametrize("forged", ["origin", "source"])
    def test_nor_are_its_questions(self, network, victim, mallory, forged):
        fields = {forged: victim.id if forged == "origin" else victim.name}
        mallory.frame("ask", question=1, batch=mallory.batch("a:b", [1.0, [], {}], **fields))
        assert is_cut(network, mallory)
        assert victim.of("ask") == []

    def test_a_sequence_number_is_the_senders_own(self, network, hub):
        """Whatever numbers one uses, those of another are not taken for duplicates."""
        node = network.node()
        came = []
        node.bus.follow("a:b", lambda message: came.append((message.source, message.args[0])), direct=True)
        network.link(node, hub)
        honest, mallory = Member(network, hub, "honest"), Member(network, hub)
        network.settle()
        mallory.publish("a:b", *range(20))
        mallory.publish("a:b", 99, first=2**53 - 1)
        honest.publish("a:b", 1, 2)
        network.settle()
        assert [value for source, value in came if source == "honest"] == [1, 2]


class TestAnswers:
    @pytest.fixture
    def asked(self, network, victim, mallory):
        """A question of the victim's to mallory and to another."""
        mallory.frame("interest", add=["q:*"])
        other = Member(network, mallory.router, "other")
        other.frame("interest", add=["q:*"], reset=True)
        network.settle()
        victim.frame("ask", question=7, batch=victim.batch("q:it", [1.0, [], {}]))
        network.settle()
        assert len(mallory.of("ask")) == len(other.of("ask")) == 1
        return other

    def answer(self, member, number, source=None):
        member.frame("answer", question=number, answers=[[source or member.name, [member.name], []]])

    def test_all_who_were_asked_answer_once(self, network, victim, mallory, asked):
        for member in (mallory, asked, mallory):
            self.answer(member, member.of("ask")[0]["question"])
        network.settle()
        assert victim.of("answer") == [
            {
                "n": victim.of("answer")[0]["n"],
                "ack": victim.n,
                "question": 7,
                "answers": [["mallory", ["mallory"], []], ["other", ["other"], []]],
            }
        ]

    def test_an_answer_in_the_name_of_another_is_none_and_its_sender_cut(
        self, network, victim, mallory, asked
    ):
        self.answer(mallory, mallory.of("ask")[0]["question"], "other")
        assert is_cut(network, mallory)
        assert victim.of("answer") == []

    @pytest.mark.parametrize("answer", [1, [], ["mallory"], ["mallory", []], {"source": "mallory"}])
    def test_what_is_no_answer_cuts(self, network, victim, mallory, asked, answer):
        number = mallory.of("ask")[0]["question"]
        mallory.frame("answer", question=number, answers=[answer])
        assert is_cut(network, mallory)
        assert victim.of("answer") == []

    def test_a_member_answers_once_for_all_its_followers(self, network, victim, mallory, asked):
        answer = ["mallory", [1], []]
        mallory.frame("answer", question=mallory.of("ask")[0]["question"], answers=[answer, answer])
        assert is_cut(network, mallory)
        assert victim.of("answer") == []

    def test_who_was_not_asked_can_not_answer(self, network, victim, mallory, asked):
        stranger = Member(network, mallory.router, "stranger")
        network.settle()
        for number in range(1, 20):
            self.answer(stranger, number)
        network.settle()
        for member in (mallory, asked):
            self.answer(member, member.of("ask")[0]["question"])
        network.settle()
        (answer,) = victim.of("answer")
        assert [source for source, _, _ in answer["answers"]] == ["mallory", "other"]

    def test_one_can_not_answer_in_the_place_of_another_by_its_number(self, network, victim, mallory, asked):
        """The numbers of the hub's questions are the same for all, and can be guessed."""
        number = mallory.of("ask")[0]["question"]
        victim.frame("ask", question=8, batch=victim.batch("other:it", [1.0, [], {}], first=2))
        network.settle()
        for guess in range(number, number + 5):
            self.answer(mallory, guess)
        network.settle()
        by_number = {params["question"]: params["answers"] for params in victim.of("answer")}
        assert by_number.get(8, []) == []
        assert 7 not in by_number

    def test_answers_that_are_too_large_together_do_not_cut_the_asker(self, network, victim, mallory, asked):
        for member in (mallory, asked):
            number = member.of("ask")[0]["question"]
            member.frame("answer", question=number, answers=[[member.name, ["x" * (9 * MIB)], []]])
        network.settle()
        (answer,) = victim.of("answer")
        assert len(json.dumps(answer)) < 1000
        assert answer["answers"][0][2][0]["value"][0] == "LinkError"
        assert victim.closed is None

    def test_a_question_that_is_concluded_is_answered_with_what_has_come(
        self, network, victim, mallory, asked
    ):
        self.answer(asked, asked.of("ask")[0]["question"])
        network.settle()
        victim.frame("conclude", question=7)
        network.settle()
        (answer,) = victim.of("answer")
        assert answer["answers"] == [["other", ["other"], []]]
        assert answer["unanswered"] == ["mallory"]
        self.answer(mallory, mallory.of("ask")[0]["question"])
        victim.frame("conclude", question=7)
        network.settle()
        assert len(victim.of("answer")) == 1

    def test_only_the_asker_concludes_a_question(self, network, victim, mallory, asked):
        for number in (7, mallory.of("ask")[0]["question"]):
            asked.frame("conclude", question=number)
        network.settle()
        assert victim.of("answer") == asked.of("answer") == []
        assert asked.closed is None

    def test_who_leaves_is_answered_for(self, network, victim, mallory, asked):
        self.answer(asked, asked.of("ask")[0]["question"])
        mallory.wire.close()
        network.settle()
        (answer,) = victim.of("answer")
        assert sorted(source for source, _, _ in answer["answers"]) == ["mallory", "other"]
        (error,) = next(errors for source, _, errors in answer["answers"] if source == "mallory")
        assert error["value"][:2] == ["LinkError", "mallory left before it answered"]

    def test_who_asks_and_takes_no_answers_is_cut(self, network, hub):
        mallory = Member(network, hub)
        network.settle()
        mallory.acknowledges = False
        mallory.peer.stream.limits = Limits(buffer_bytes=10_000)
        for number in range(1, 1000):
            if mallory.closed is not None:
                break
            mallory.frame("ask", question=number, batch=mallory.batch("no:body", [1.0, [], {}], first=number))
            network.step()
        assert is_cut(network, mallory)


class TestLossesThatAreSaid:
    def test_no_sum_of_them_is_more_than_every_reader_of_json_can_take(self, network, hub, mallory):
        for _ in range(3):
            mallory.frame("dropped", count=2**53)
        network.settle()
        (node,) = [one for one in hub.status()["nodes"] if one["name"] == "mallory"]
        assert node["dropped"] == 2**53


class TestWhoOneIs:
    def test_the_id_comes_from_the_key_so_nobody_takes_that_of_another(self, network, hub, victim):
        other = Member(network, hub, "victim", key="another key that is secret")
        assert other.id != victim.id
        assert hub.peers[victim.id] is not hub.peers[other.id]
        network.settle()
        assert victim.closed is None

    def test_a_link_is_resumed_by_who_has_the_key_alone(self, network, hub, victim, mallory):
        received = hub.peers[victim.id].stream.received
        victim.wire.abort()
        network.settle()
        mallory.publish("a:b", "secret")
        network.settle()
        claims = {"id": hub.id, "received": victim.of("interest")[-1]["n"]}
        forged = Member(network, hub, "victim", key="a key that was guessed wrongly", resume=claims)
        network.settle()
        assert not forged.answer["resumed"]
        assert forged.values == []
        again = Member(network, hub, "victim", resume=claims)
        network.settle()
        assert again.answer == {**again.answer, "resumed": True, "received": received, "id": hub.id}
        assert again.values == ["secret"]

    def test_a_claim_to_have_what_was_never_sent_is_refused(self, network, hub, victim):
        with pytest.raises(Exception, match="frame 99 was not the last that came"):
            Member(network, hub, "victim", resume={"id": hub.id, "received": 99})
        network.settle()
        assert victim.closed is None

    def test_who_can_not_resume_begins_anew(self, network, hub, victim, mallory):
        victim.wire.abort()
        network.settle()
        mallory.publish("a:b", "meanwhile")
        with pytest.raises(Exception, match="frame 99 was not the last that came"):
            Member(network, hub, "victim", resume={"id": hub.id, "received": 99})
        again = Member(network, hub, "victim")
        assert (again.answer["resumed"], again.answer["received"]) == (False, 0)
        again.frame("interest", add=["*:*"], reset=True)
        network.settle()
        mallory.publish("a:b", "after", first=2)
        network.settle()
        assert again.values == ["after"]
        assert again.closed is None

    def test_rooms_keep_apart(self, network, hub, victim):
        elsewhere = Member(network, hub, "elsewhere", room="blue")
        elsewhere.frame("interest", add=["*:*"], reset=True)
        network.settle()
        victim.publish("a:b", 1)
        elsewhere.publish("a:b", 2)
        elsewhere.frame("ask", question=1, batch=elsewhere.batch("a:b", [1.0, [], {}], first=2))
        network.settle()
        assert (victim.values, elsewhere.values) == ([], [])
        assert victim.of("ask") == []
        assert elsewhere.of("answer")[0]["answers"] == []


def nested(depth):
    return Raw(b"[" * depth + b"]" * depth)


class TestWhatIsNotPassedOn:
    def test_a_batch_that_is_too_large_to_be_passed_on_is_refused_at_entry(self, network, victim, mallory):
        assert MAX_BATCH_BYTES + 1000 < MAX_TEXT_BYTES
        mallory.publish("a:b", "x" * MAX_BATCH_BYTES)
        assert is_cut(network, mallory)
        assert victim.values == []

    def test_the_largest_that_is_let_in_reaches_everybody(self, network, victim, mallory):
        mallory.publish("a:b", "x" * (MAX_BATCH_BYTES - 200))
        network.settle()
        assert [len(value) for value in victim.values] == [MAX_BATCH_BYTES - 200]
        assert max(map(len, victim.wire.other.said)) < MAX_TEXT_BYTES

    def test_a_large_question_to_many_is_in_memory_once(self, network, hub, mallory):
        others = [Member(network, hub, f"other {number}") for number in range(5)]
        for other in others:
            other.acknowledges = False
            other.frame("interest", add=["q:*"], reset=True)
        network.settle()
        mallory.frame("ask", question=1, batch=mallory.batch("q:x", [1.0, ["x" * MIB], {}]))
        network.settle()
        assert all(len(other.of("ask")) == 1 for other in others)
        assert MIB < hub.budget.held < 2 * MIB

    @pytest.mark.parametrize("count", [2, 4, 1000])
    def test_a_lie_about_the_number_of_messages_is_refused_at_entry(self, network, victim, mallory, count):
        mallory.publish("a:b", 1, 2, 3, count=count)
        assert is_cut(network, mallory)
        assert victim.values == []

    @pytest.mark.parametrize("lie", [1, 1000])
    def test_what_nests_too_deep_is_refused_at_entry(self, network, victim, mallory, lie):
        mallory.publish("a:b", "]" * lie, nested(MAX_DEPTH + 1))
        assert is_cut(network, mallory)
        assert victim.values == []

    def test_so_are_questions_and_answers_that_do(self, network, hub, victim):
        for method in ("ask", "answer"):
            member = Member(network, hub, f"deep {method}")
            if method == "ask":
                member.frame("ask", question=1, batch=member.batch("a:b", [1.0, [nested(200)], {}]))
            else:
                member.frame("answer", question=1, answers=[[member.name, [nested(200)], []]])
            assert is_cut(network, member)
        assert victim.of("ask") == []

    @pytest.mark.parametrize("identifier", ["_local:x", "berrymq:x", "a:b:c", ":", " a:b", "a\n:b"])
    def test_what_is_no_identifier_or_a_local_one_cuts(self, network, victim, mallory, identifier):
        mallory.publish(identifier, 1)
        assert is_cut(network, mallory)
        assert victim.values == []

    @pytest.mark.parametrize("method", ["messages", "ask"])
    def test_also_while_the_hub_gathers_and_what_others_sent_then_arrives(self, network, hub, method):
        """It is found out before it is put among what all have sent."""
        returned = {"id": "a hub of before", "received": 1}
        victim = Member(network, hub, "victim", resume=returned)
        victim.frame("interest", add=["*:*"], reset=True)
        honest, mallory = Member(network, hub, "honest"), Member(network, hub)
        assert hub.takeover.active
        if method == "ask":
            mallory.frame("ask", question=1, batch=mallory.batch("_local:x", [1.0, [], {}]))
        else:
            mallory.publish("_local:x", 1)
        honest.publish("a:b", 2)
        assert is_cut(network, mallory)
        assert victim.values == [2]
        assert not hub.takeover.active

    def test_a_message_that_can_not_be_read_does_no_harm_to_others(self, network, hub, victim, mallory):
        """A hub reads no messages; those who do leave out what they can't read."""
        node = network.node()
        came = []
        node.bus.follow("a:*", lambda message: came.append(message.args[0]), direct=True)
        network.link(node, hub)
        mailbox = Mailbox("a:*", hub.budget)
        room = hub.room(None)
        room.follow(mailbox, node.bus.gateway.interests())
        network.settle()
        for message in ([1], [1.0, 5, {}], ["now", [], {}], [1.0, [{"$type": "tuple", "value": 3}], {}], 7):
            mallory.frame("messages", batches=[mallory.batch("a:b", message, first=mallory.n + 1)])
        victim.publish("a:b", "fine")
        network.settle()
        assert came == ["fine"]
        assert mailbox.take() is not None
        assert all(peer.connected for peer in node.peers.values())
        assert next(iter(node.peers.values())).stream.stats.cuts == 0
        mailbox.close()

    def test_what_came_in_part_before_and_can_not_be_read_does_not_cut_the_hub_off(
        self, network, hub, mallory
    ):
        """Only who takes messages apart finds out, which is not the hub that has passed them on."""
        node = network.node()
        came = []
        node.bus.follow("a:*", lambda message: came.append(message.args[0]), direct=True)
        connector = network.link(node, hub)
        network.settle()
        mallory.publish("a:b", 1)
        network.settle()
        lie = batches.encode_batch(batches.batch_head("a:b", mallory.id, "mallory"), 1, [b"[1,[2],{}]"], 3)
        hub.pass_to(hub.peers[node.id], lie, 3)  # as a hub of another make might
        hub.flush_all()
        mallory.publish("a:b", 4, first=4)
        network.settle()
        assert came == [1, 4]
        assert connector.stats.cuts == 0


class TestInterest:
    def test_more_follows_than_can_be_remembered_are_everything(self, network, hub, victim, mallory):
        mallory.frame("interest", add=[f"n:{number}" for number in range(MAX_FOLLOWS + 1)], reset=True)
        network.settle()
        assert mallory.peer.everything
        assert mallory.peer.follows == set()
        assert len(hub.room(None).interests) == 1
        victim.publish("what:ever", 1)
        network.settle()
        assert mallory.values == [1]

    def test_also_if_they_come_bit_by_bit(self, network, hub, mallory):
        for first in range(0, MAX_FOLLOWS + 1, 1000):
            mallory.frame("interest", add=[f"n:{number}" for number in range(first, first + 1000)])
        network.settle()
        assert mallory.peer.everything
        mallory.frame("interest", add=["one:more"])
        network.settle()
        assert mallory.peer.everything, "what it followed before is forgotten, so it must not be left out"
        mallory.frame("interest", add=["one:more"], reset=True)
        network.settle()
        assert not mallory.peer.everything
        assert {one.text for one in mallory.peer.follows} == {"one:more"}

    def test_a_list_of_very_many_is_not_looked_at_one_by_one(self, network, hub, mallory):
        data = json_checks.encode_json([f"n{number}:a{number}" for number in range(300_000)])
        params = b'{"n":%d,"ack":0,"add":%b,"reset":true}' % (mallory.n + 1, data)
        tracemalloc.start()
        try:
            mallory.send_bytes(b'{"jsonrpc":"2.0","method":"interest","params":%b}' % params)
            network.step()
            kept, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert mallory.peer.everything
        assert peak < 8 * len(params)
        assert kept < 3 * len(params)  # the wire's own copies

    def test_nor_is_a_list_of_very_many_that_are_followed_no_more(self, network, hub, mallory):
        mallory.frame("interest", remove=[f"n:{number}" for number in range(MAX_FOLLOWS + 1)])
        network.settle()
        assert mallory.peer.everything

    def test_it_is_taken_whole_or_not_at_all(self, network, hub, victim):
        victim.frame("interest", add=["a:b", "no:identifier:"], reset=True)
        assert is_cut(network, victim)
        assert {one.text for one in victim.peer.follows} == {"*:*"}

    def test_peers_are_told_what_is_wanted_of_them_and_what_no_longer(self, network, hub, victim, mallory):
        (told,) = mallory.of("interest")
        assert (told["add"], told["reset"], told["everything"]) == (["*:*"], True, False)
        victim.frame("interest", add=["a:b"], remove=["*:*"])
        network.settle()
        assert mallory.of("interest")[-1]["add"] == ["a:b"]
        assert mallory.of("interest")[-1]["remove"] == ["*:*"]
        victim.wire.close()
        network.settle()
        assert mallory.of("interest")[-1]["remove"] == ["a:b"]

    def test_many_changes_in_a_row_are_announced_together(self, network, hub, victim):
        victim.frame("interest", remove=["*:*"])
        members = [Member(network, hub, f"m{number}") for number in range(10)]
        for member in members:
            member.frame("interest", reset=True)
        network.settle()
        network.loop.advance(1)
        before = [len(member.of("interest")) for member in members]
        sets = [[f"{name}{number}:run" for number in range(300)] for name in ("a", "b")]
        for turn in range(40):
            victim.frame("interest", add=sets[turn % 2], reset=True)
            while network.step():
                pass
        network.loop.advance(1)
        network.settle()
        for member, count in zip(members, before, strict=True):
            told = member.of("interest")[count:]
            assert len(told) <= 2
            known = set()
            for frame in told:
                known = (known - set(frame.get("remove", ()))) | set(frame.get("add", ()))
            assert known == set(sets[1])

    def test_all_peers_are_told_in_the_same_bytes(self, network, hub, victim):
        members = [Member(network, hub, f"m{number}") for number in range(10)]
        for member in members:
            member.frame("interest", reset=True)
        network.settle()
        interest_body.cache_clear()
        victim.frame("interest", add=["a:b"])
        announcements, made = hub.announcements, []
        send = announcements.send

        def counting():
            send()
            made.append(interest_body.cache_info())

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("berrymq.bridge.node.announcements.interest_body.cache_clear", lambda: None)
            patch.setattr(announcements, "send", counting)
            network.settle()
        assert [info.misses for info in made if info.hits or info.misses] == [1]
        interest_body.cache_clear()

    def test_a_change_after_a_silence_is_announced_at_once(self, network, hub, victim, mallory):
        """So is the first announcement of a link, whatever others do."""
        network.loop.advance(1)
        now = network.loop.time()
        victim.frame("interest", add=["a:b"])
        while network.step():
            pass
        assert mallory.of("interest")[-1]["add"] == ["a:b"]
        many = [f"n{number}:run" for number in range(1_500)]
        victim.frame("interest", add=many)
        while network.step():
            pass
        newcomer = Member(network, hub, "newcomer")
        while network.step():
            pass
        assert set(newcomer.of("interest")[0]["add"]) == {*many, "a:b", "*:*"}
        assert network.loop.time() == now

    def test_where_very_much_is_followed_peers_are_told_so_in_one_word(self, network, hub, victim, mallory):
        victim.frame("interest", add=[f"n:{number}" for number in range(MAX_LISTED + 1)])
        network.settle()
        assert mallory.of("interest")[-1]["everything"]
        assert "add" not in mallory.of("interest")[-1]

    def test_small_frames_among_300_000_follows_cost_little(self, network, hub, victim, mallory):
        """What is looked at grows with who follows, not with what all others do."""
        hub.budget.limit *= 4
        members = []
        for number in range(30):
            member = Member(network, hub, f"m{number}")
            names = [f"n{number}x{place}:run" for place in range(MAX_FOLLOWS)]
            member.frame("interest", add=names, reset=True)
            members.append(member)
            network.step()
        network.settle(0.05)
        assert len(hub.room(None).interests) == 30 * MAX_FOLLOWS + 1
        looked = 0
        interests = hub.room(None).interests
        find = interests.find

        def counting(identifier):
            nonlocal looked
            found = find(identifier)
            looked += len(found)
            return found

        interests.find = counting
        for number in range(100):
            mallory.publish("*:run" if number % 2 else f"*:other{number}", number, first=number + 1)
        network.settle(0.05)
        assert looked <= 100 * 31
        assert len(victim.values) == 100
        assert all(len(member.values) == 50 for member in members)


class TestManyQuestions:
    def test_one_too_many_is_answered_with_an_error(self, network, hub, victim, mallory, monkeypatch):
        monkeypatch.setattr("berrymq.bridge.node.questions.MAX_OPEN_OF_ONE", 2)
        for number in (1, 2, 3):
            batch = mallory.batch("a:b", [1.0, [], {}], first=number)
            mallory.frame("ask", question=number, batch=batch)
        network.settle()
        (answer,) = mallory.of("answer")
        assert answer["question"] == 3
        assert answer["answers"][0][2][0]["value"][1] == "hub has too many open questions already"


class TestWhoIsThere:
    def test_a_node_is_there_once_it_has_said_what_it_follows(self, network, hub):
        member = Member(network, hub, "member")
        network.settle()
        assert [info.name for info in hub.nodes(None)] == ["hub"]
        member.frame("interest", reset=True)
        network.settle()
        assert [info.name for info in hub.nodes(None)] == ["hub", "member"]

    def test_who_sees_a_node_has_been_told_what_it_follows(self, network, hub):
        """So what is published to a node that was seen reaches it."""
        seeing = Member(network, hub, "seeing")
        seeing.frame("interest", reset=True)
        network.settle()
        seen = Member(network, hub, "seen").peer
        interest = frames.InterestParams(1, 0, add=["a:b"], reset=True)
        hub.handle_frame(seen, seen.channel, interest)  # and the loop has not come to tell others
        assert "seen" in [info.name for info in hub.nodes(None)]
        assert seeing.peer.announced == {Identifier.parse("a:b")}

    def test_while_the_hub_gathers_nobody_is_there_yet(self, network, hub):
        member = Member(network, hub, "member", resume={"id": "a hub of before", "received": 1})
        member.frame("interest", reset=True)
        assert hub.takeover.active
        assert [info.name for info in hub.nodes(None)] == ["hub"]
        network.settle()
        assert not hub.takeover.active
        assert [info.name for info in hub.nodes(None)] == ["hub", "member"]


class TestMemory:
    def test_one_who_takes_nothing_holds_no_more_than_the_budget_with_all_others(self, network):
        hub = network.hub(Budget(4 * MIB))
        slow = [Member(network, hub, f"slow {number}") for number in range(5)]
        for number, member in enumerate(slow):
            member.acknowledges = False
            member.frame("interest", add=[f"a{number}:*"], reset=True)
        talker = Member(network, hub, "talker")
        small = Member(network, hub, "small")
        small.acknowledges = False
        small.frame("interest", add=["rare:*"], reset=True)
        network.settle()
        talker.publish("rare:x", "kept")
        size = 100_000
        for number in range(1_000):
            talker.publish(f"a{number % 5}:b", "x" * size, first=number + 2)
            while network.step():
                pass
            assert hub.budget.held <= hub.budget.limit
            assert hub.budget.held == sum(account.held for account in hub.budget.accounts)
        assert hub.peers[small.id].stream.stats.dropped == 0, "small backlogs are left alone"
        for member in slow:
            stats = hub.peers[member.id].stream.snapshot()
            assert 0 < stats.dropped < 200
            assert member.peer.held_bytes <= hub.budget.limit // 5

    def test_what_many_do_not_take_is_in_memory_once(self, network):
        hub = network.hub(Budget(64 * MIB))
        slow = [Member(network, hub, f"slow {number}") for number in range(40)]
        for member in slow:
            member.acknowledges = False
            member.frame("interest", add=["a:*"], reset=True)
        talker = Member(network, hub, "talker")
        network.settle()
        tracemalloc.start()
        for number in range(2):
            talker.publish("a:b", "x" * (4 * MIB), first=number + 1)
            hub_end = talker.wire.other
            while hub_end.arriving:
                hub_end.take_one()
            network.loop.run_due()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 80 * MIB
        assert 8 * MIB < hub.budget.held < 10 * MIB
        assert not any(member.peer.stream.stats.dropped for member in slow)

    def test_questions_do_not_pile_up_for_one_who_takes_nothing(self, network, hub, victim, mallory):
        victim.acknowledges = False
        victim.peer.stream.limits = Limits(buffer_bytes=200_000, window_bytes=100_000)
        for number in range(1, 100):
            batch = mallory.batch("a:b", [1.0, ["x" * 10_000], {}], first=number)
            mallory.frame("ask", question=number, batch=batch)
        network.settle()
        assert victim.peer.stream.held_bytes < 320_000
        answers = mallory.of("answer")
        assert answers
        assert answers[0]["answers"][0][2][0]["value"] == [
            "LinkError",
            "victim is too far behind to be asked",
            [],
        ]

    def test_one_for_whom_too_much_waits_that_can_not_be_dropped_is_given_up(self, network, caplog):
        hub = network.hub(Budget(6 * MIB))
        victim = Member(network, hub, "victim")
        victim.acknowledges = False
        victim.frame("interest", add=["*:*"], reset=True)
        honest, asker = Member(network, hub, "honest"), Member(network, hub, "asker")
        honest.frame("interest", add=["b:*"], reset=True)
        network.settle()
        for number in range(1, 200):
            batch = asker.batch("a:b", [1.0, ["x" * 100_000], {}], first=number)
            asker.frame("ask", question=number, batch=batch)
            while network.step():
                pass
            assert hub.budget.held <= hub.budget.limit + MIB
        assert victim.id not in hub.peers
        assert honest.id in hub.peers
        assert "the link to 'victim' is ended" in caplog.text

    def test_a_link_that_was_made_here_is_not_given_up(self, network):
        """Nobody would make it again."""
        hub = network.hub(Budget(6 * MIB))
        other, asker = Member(network, hub, "other"), Member(network, hub, "asker")
        other.acknowledges = False
        other.frame("interest", add=["*:*"], reset=True)
        network.settle()
        other.peer.expires = False  # as of one that a connector has made
        for number in range(1, 200):
            batch = asker.batch("a:b", [1.0, ["x" * 100_000], {}], first=number)
            asker.frame("ask", question=number, batch=batch)
            while network.step():
                pass
        assert other.peer.is_over_share
        assert other.id in hub.peers

    def test_what_a_hub_gathers_is_in_the_budget(self, network, hub):
        Member(network, hub, "victim", resume={"id": "a hub of before", "received": 1})
        talker = Member(network, hub, "talker")
        assert hub.takeover.active
        talker.publish("a:b", "x" * 10_000)
        while network.step():
            pass
        assert hub.budget.held > 10_000
        network.loop.advance(10)
        assert not hub.takeover.active
        assert hub.budget.held < 10_000

    def test_what_is_followed_is_in_the_budget(self, network, hub):
        member = Member(network, hub, "member")
        network.settle()
        add = [f"{number}{'n' * 200}:{'b' * 200}" for number in range(2_000)]
        before = hub.budget.held
        tracemalloc.start()
        member.frame("interest", add=add, reset=True)
        member.wire.said.clear()
        network.settle()
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert 0.7 * taken < hub.budget.held - before < 1.5 * taken
        member.frame("interest", remove=add[:1_999])
        network.settle()
        assert hub.budget.held - before < 10_000
        member.frame("interest", reset=True)
        network.settle()
        assert hub.budget.held <= before

    def test_one_who_follows_more_than_there_is_memory_for_follows_everything(self, network):
        hub = network.hub(Budget(4 * MIB))
        greedy, modest = Member(network, hub, "greedy"), Member(network, hub, "modest")
        modest.frame("interest", add=["a:*"], reset=True)
        greedy.frame("interest", add=[f"{number}:{'b' * 200}" for number in range(3_000)], reset=True)
        talker = Member(network, hub, "talker")
        network.settle()
        assert hub.budget.held <= hub.budget.limit
        assert greedy.peer.everything
        assert not greedy.peer.follows
        assert {one.text for one in modest.peer.follows} == {"a:*"}
        talker.publish("a:b", 1)
        talker.publish("0:c", 2, first=2)
        network.settle()
        assert (greedy.values, modest.values) == ([1, 2], [1])

    def test_answers_that_wait_for_those_of_others_are_in_the_budget(self, network):
        hub = network.hub(Budget(4 * MIB))
        quick, deaf = Member(network, hub, "quick"), Member(network, hub, "deaf")
        for member in (quick, deaf):
            member.frame("interest", add=["q:*"], reset=True)
        asker = Member(network, hub, "asker")
        network.settle()
        for number in range(1, 11):
            asker.frame("ask", question=number, batch=asker.batch("q:it", [1.0, [], {}], first=number))
        network.settle()
        for asked in quick.of("ask"):
            answers = [["quick", ["x" * 1_000_000], []]]
            quick.frame("answer", question=asked["question"], answers=answers)
            network.settle()
            assert hub.budget.held <= hub.budget.limit
        failed = asker.of("answer")
        assert 6 <= len(failed) <= 9
        for answer in failed:
            assert answer["answers"][0][2][0]["value"][:2] == [
                "LinkError",
                "hub has no memory for so many answers",
            ]
        deaf.wire.abort()
        network.settle()
        network.loop.advance(10)
        network.settle()
        assert len(asker.of("answer")) == 10

    def test_what_a_hub_gathers_is_bounded(self, network, monkeypatch, hub):
        monkeypatch.setattr("berrymq.bridge.hub.takeover.MAX_HELD_BYTES", 100_000)
        victim = Member(network, hub, "victim", resume={"id": "a hub of before", "received": 1})
        victim.frame("interest", add=["*:*"], reset=True)
        talker = Member(network, hub, "talker")
        assert hub.takeover.active
        for number in range(20):
            talker.publish("a:b", "x" * 10_000, first=number + 1)
            while network.step():
                pass
        assert not hub.takeover.active
        network.settle()
        assert len(victim.values) == 20


class TestTheEndOfALink:
    def test_one_that_is_cut_is_kept_for_its_ttl_and_its_messages_with_it(
        self, network, hub, victim, mallory
    ):
        victim.wire.abort()
        network.settle()
        peer = victim.peer
        mallory.publish("a:b", 1)
        network.settle()
        network.loop.advance(peer.ttl - 10)
        assert hub.peers[victim.id] is peer
        network.loop.advance(20)
        assert victim.id not in hub.peers
        assert peer.held_bytes == len(hub.room(None).interests) == 0
        assert hub.budget.held == mallory.peer.held_bytes

    def test_who_comes_back_later_is_told_what_it_missed(self, network, hub, victim, mallory):
        victim.wire.abort()
        network.settle()
        mallory.publish("a:b", 1, 2, 3)
        network.settle()
        network.loop.advance(victim.peer.ttl + 10)
        again = Member(network, hub, "victim", resume={"id": hub.id, "received": 1})
        assert (again.answer["resumed"], again.answer["lost"]) == (False, 3)
        assert Member(network, hub, "victim").answer["lost"] == 0

    def test_one_that_leaves_is_forgotten_at_once(self, network, hub, victim):
        victim.wire.close()
        network.settle()
        assert victim.id not in hub.peers

    def test_frames_of_a_former_connection_are_ignored(self, network, hub, victim, mallory):
        former = mallory.wire
        again = Member(network, hub, resume={"id": hub.id, "received": 1})
        assert again.answer["resumed"]
        former.closed = former.other.closed = False
        mallory.publish("a:b", "late")
        network.settle()
        assert victim.values == []

    @pytest.mark.parametrize("forged", [{"n": 99, "ack": 0}, {"n": 2, "ack": 99}])
    def test_numbers_that_do_not_fit_cut(self, network, mallory, forged):
        mallory.send("interest", **forged)
        assert is_cut(network, mallory)
        assert network.hubs[0].peers[mallory.id].connected is False


class TestQuestionsBetweenNodes:
    """Most are read in one go; those that are not are answered alike."""

    @pytest.fixture
    def asker(self, network):
        return network.node("asker")

    @pytest.fixture
    def answerer(self, network, asker):
        answerer = network.node("answerer")
        answerer.bus.follow("q:*", lambda message: message.args[0])
        network.link(asker, answerer)
        network.settle()
        return answerer

    def ask(self, network, asker, *values):
        futures = [asker._ask(Message("q:x", value), None) for value in values]
        network.settle()
        return [future.result(0) for future in futures]

    @pytest.mark.parametrize("value", [1, {"a": [None, 2.5]}, {3, 4}, (5,), "x" * MIB, [[[]]] * 50])
    def test_whatever_is_asked_comes_back(self, network, asker, answerer, value):
        assert self.ask(network, asker, value, 2) == [[value], [2]]

    def test_what_was_asked_over_a_cut_is_answered_once(self, network, asker, answerer):
        came = []
        answerer.bus.follow("q:*", lambda message: came.append(message.args[0]))
        (link,) = network.connectors
        future = asker._ask(Message("q:x", 1), None)
        network.cut(link)
        network.resume(link, answerer)
        network.settle()
        assert (future.result(0), came) == ([1, None], [1])

    def test_errors_come_back(self, network, asker, answerer):
        answerer.bus.follow("q:x", lambda message: 1 / 0)
        future = asker._ask(Message("q:x", 1), None)
        network.settle()
        error = future.exception(0)
        assert (error.kind, error.answers) == ("ZeroDivisionError", [1])

    def test_an_answer_that_nobody_waits_for_any_more_does_no_harm(self, network, asker, answerer):
        future = asker._ask(Message("q:x", 1), None)
        assert future.cancel()
        assert self.ask(network, asker, 2) == [[2]]
        assert not asker.questions.pending._open

    def test_several_answer(self, network, asker, answerer):
        other = network.node("other")
        other.bus.follow("q:*", lambda message: -message.args[0])
        network.link(other, answerer)
        network.settle()
        (answers,) = self.ask(network, asker, 1)
        assert sorted(answers) == [-1, 1]

    def test_one_that_asks_too_much_at_once_is_told_so(self, network, answerer, monkeypatch):
        monkeypatch.setattr(questions_module, "MAX_OPEN_OF_ONE", 2)
        mallory = Member(network, answerer)
        network.settle()
        for number in range(1, 5):
            mallory.frame("ask", question=number, batch=mallory.batch("q:x", [1.0, [1], {}], first=number))
            mallory.wire.other.take_one()
        network.settle()
        answers = {params["question"]: params["answers"] for params in mallory.of("answer")}
        assert len(answers) == 4
        assert answers[1] == [["answerer", [1], []]]
