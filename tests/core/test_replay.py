"""The seam between past and live, in every order in which its parts can come."""

import threading
from collections import deque
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import berrymq
from berrymq import Bus, Identifier, Queue

ME = "me"
STEPS = st.lists(
    st.sampled_from(["publish", "publish other", "other", "third", "up", "up", "down", "down", "follow"]),
    max_size=80,
)


class Setting:
    """A bus, a hub that retains, and what is on its way between the two."""

    def __init__(self, retained, is_followed):
        self.bus = Bus()
        self.up, self.down, self.log, self.sent = deque(), deque(), [], []
        self.numbers = {ME: 0, "other": 0, "third": 0}
        self.retained = retained
        self.is_interested = is_followed
        if is_followed:
            self.bus.follow("a:*", lambda message: None)
        self.bus.gateway.attach(lambda identifier: True, self.up.append, replay=self.query)
        self.followers = []

    def query(self, replay):
        self.up.append(replay)
        return True

    def publish(self, text):
        self.bus.twitter(text, ME, len(self.sent))
        self.sent.append(text)

    def arrive(self, origin, content, text):
        """Have the hub take a message."""
        self.numbers[origin] += 1
        entry = (origin, self.numbers[origin], Identifier(text), content)
        self.log.append(entry)
        if origin != ME and self.is_interested:
            self.down.append(entry)

    def other(self, origin):
        number = self.numbers[origin] + 1
        content = SimpleNamespace(args=(origin, number), kwargs={}, sent_at=7.0, callback=None)
        self.arrive(origin, content, "a:x" if number % 3 else "a:y")

    def step_up(self):
        if not self.up:
            return
        first = self.up.popleft()
        if hasattr(first, "sent_at"):
            content = SimpleNamespace(args=first.args, kwargs={}, sent_at=first.sent_at, callback=None)
            self.arrive(ME, content, first.id)
            return
        self.is_interested = True
        past = []
        for text in ("a:x", "a:y"):
            past += [entry for entry in self.log if entry[2].text == text][-self.retained :]
        past.sort(key=self.log.index)
        last = len(past) if first.last is None else first.last
        self.down.append((first, past[max(0, len(past) - last) :]))

    def step_down(self):
        if not self.down:
            return
        first = self.down.popleft()
        if len(first) == 2:
            replay, past = first
            for origin, number, identifier, content in past:
                replay.deliver(identifier, [content], origin, origin, number, origin == ME)
            replay.end()
        else:
            origin, number, identifier, content = first
            self.bus.gateway.deliver(identifier, [content], origin, origin, number)

    def follow(self, direct, past):
        found = []
        self.followers.append((found, len(self.sent), past))
        self.bus.follow("a:*", found.append, direct=direct, past=past)

    def finish(self):
        while self.up or self.down:
            self.step_up()
            self.step_down()
        assert self.bus.drain(10)
        self.bus.close()


@given(STEPS, st.sampled_from([1, 3, 1000]), st.booleans(), st.booleans(), st.sampled_from([True, 2]))
def test_nothing_is_missing_and_nothing_comes_twice(steps, retained, is_followed, direct, past):
    it = Setting(retained, is_followed)
    for step in steps:
        if step == "publish":
            it.publish("a:x")
        elif step == "publish other":
            it.publish("a:y")
        elif step == "up":
            it.step_up()
        elif step == "down":
            it.step_down()
        elif step == "follow":
            if len(it.followers) < 3:
                it.follow(direct, past)
        else:
            it.other(step)
    it.finish()
    for found, published_before, _ in it.followers:
        for identifier in ("a:x", "a:y"):
            mine = [one.args[1] for one in found if one.args[0] == ME and one.id == identifier]
            wanted = [number for number, text in enumerate(it.sent) if text == identifier]
            assert mine == wanted[len(wanted) - len(mine) :] if mine else True
            assert set(mine) >= {number for number in wanted if number >= published_before}
            for origin in ("other", "third"):
                theirs = [one.args[1] for one in found if one.args[0] == origin and one.id == identifier]
                all_ = [entry[1] for entry in it.log if entry[0] == origin and entry[2].text == identifier]
                assert theirs == all_[len(all_) - len(theirs) :] if theirs else True
        if retained == 1000 and past is True:
            assert len(found) == len(it.log)
        flags = [one.past for one in found if one.args[0] == ME]
        assert flags == sorted(flags, reverse=True)


def test_threads_whose_messages_were_retained_in_another_order():
    """One holds first what another one sends first."""
    bus = Bus()
    asked = attached(bus)
    found = []
    bus.follow("a:*", found.append, past=True)
    for text in ("a:x", "a:y", "a:z"):
        bus.twitter(text)
    sent_at = {message.id: message.sent_at for _, _, message in asked[0]._held}
    for number, text in enumerate(("a:old", "a:y", "a:x"), 1):
        one = SimpleNamespace(args=(), kwargs={}, sent_at=sent_at.get(text, 1.0), callback=None)
        asked[0].deliver(Identifier(text), [one], "me", ME, number, True)
    asked[0].end()
    assert bus.drain(10)
    assert [(one.id, one.past) for one in found] == [
        ("a:old", True),
        ("a:x", False),
        ("a:y", False),
        ("a:z", False),
    ]


def attached(bus):
    """What is asked for on a link to a hub."""
    asked = []
    bus.gateway.attach(lambda identifier: False, print, replay=lambda replay: asked.append(replay) or True)
    return asked


def content(*args):
    return SimpleNamespace(args=args, kwargs={}, sent_at=7.0, callback=None)


A = Identifier("a:b")


def test_the_first_link_that_leads_to_a_hub_is_asked():
    bus = Bus()
    bus.gateway.attach(lambda identifier: False, print, replay=lambda replay: False)
    first, second = attached(bus), attached(bus)
    found = []
    bus.follow("a:*", found.append, past=4)
    assert [one.last for one in first] == [4]
    assert second == []
    bus.twitter("a:b")
    assert found == []
    first[0].end()
    assert bus.drain(10)
    assert len(found) == 1


def test_where_no_link_leads_to_a_hub_it_is_an_ordinary_follower():
    bus = Bus()
    bus.gateway.attach(lambda identifier: False, print, replay=lambda replay: False)
    found = []
    bus.follow("a:*", found.append, past=True, direct=True)
    bus.follow("_a:*", found.append, past=True, direct=True)
    bus.twitter("a:b")
    bus.twitter("_a:b")
    assert len(found) == 2


def test_a_follower_that_fails_at_a_past_message_gets_the_others_and_is_reported():
    bus = Bus()
    errors = []
    bus.on_background_error = lambda subscription, message, error: errors.append(error)
    asked = attached(bus)
    found = []

    def follower(message):
        found.append(message.args[0])
        raise KeyError(message.args[0])

    bus.follow("a:*", follower, past=True)
    asked[0].deliver(A, [content(1), content(2)], "x", "x", 1, False)
    bus.twitter("a:b", 3)
    asked[0].end()
    assert bus.drain(10)
    assert found == [1, 2, 3]
    assert [error.args[0] for error in errors] == [1, 2, 3]


def test_what_a_follower_publishes_while_it_gets_its_past_comes_behind():
    bus = Bus()
    asked = attached(bus)
    found = []

    def follower(message):
        found.append(message.args[0])
        if message.args[0] < 3:
            bus.twitter("a:b", message.args[0] + 10)

    bus.follow("a:*", follower, past=True)
    asked[0].deliver(A, [content(1), content(2), content(3)], "x", "x", 1, False)
    asked[0].end()
    assert bus.drain(10)
    assert found == [1, 2, 3, 11, 12]
    bus.twitter("a:b", 20)
    assert found[-1] == 20


@pytest.mark.parametrize("has_ended", [False, True])
def test_a_thread_that_looked_its_route_up_before_is_not_missed(has_ended):
    """It sends after the question: neither the past nor the route has its message."""
    bus = Bus()
    asked = attached(bus)
    found = []
    bus.follow("a:*", found.append, past=True)
    (replay,) = asked
    bus.twitter("a:b", 1)
    if has_ended:
        replay.end()
        assert bus.drain(10)
    late = berrymq.Message("a:b", 2)
    replay.sent(late)
    bus.twitter("a:b", 3)
    bus.twitter("c:d", 4)
    replay.end()
    assert bus.drain(10)
    assert sorted(one.args[0] for one in found) == [1, 2, 3]
    message = berrymq.Message("a:b", 5)
    bus.publish(message)
    replay.sent(message)
    assert bus.drain(10)
    assert [one.args[0] for one in found if one.args[0] == 5] == [5]
    replay.end_watch()
    bus.twitter("a:b", 6)
    assert found[-1].args == (6,)
    assert bus.subscriptions()[0]._replay is None


def test_a_question_is_answered_while_the_past_is_on_its_way():
    bus = Bus()
    attached(bus)
    bus.follow("a:b", lambda message: message.args[0] * 2, past=True)
    assert bus.ask("a:b", 4) == [8]


def test_a_publisher_waits_a_moment_for_a_follower_that_is_far_behind(monkeypatch):
    monkeypatch.setattr("berrymq.replay.MAX_HELD", 10)
    bus = Bus()
    asked = attached(bus)
    began, released, found = threading.Event(), threading.Event(), []

    def follower(message):
        began.set()
        released.wait(20)
        found.append(message.args[0])

    bus.follow("a:*", follower, past=True)
    asked[0].deliver(A, [content(0)], "x", "x", 1, False)
    asked[0].end()
    assert began.wait(20)
    publisher = threading.Thread(target=lambda: [bus.twitter("a:b", n) for n in range(1, 13)])
    publisher.start()
    publisher.join(0.2)
    assert publisher.is_alive()
    released.set()
    publisher.join(20)
    assert bus.drain(10)
    assert found == list(range(13))


def test_ending_twice_does_nothing_and_a_cancelled_follower_gets_nothing():
    bus = Bus()
    asked = attached(bus)
    found = []
    follower = bus.follow("a:*", found.append, past=True)
    follower.cancel()
    asked[0].deliver(A, [content(1)], "x", "x", 1, False)
    asked[0].end()
    asked[0].end()
    assert bus.drain(10)
    assert found == []
    assert bus.gateway._replays == ()


@pytest.mark.parametrize("multiplicity", [0, 3])
def test_with_worker_threads_too(multiplicity):
    bus = Bus()
    bus.set_multiplicity(multiplicity)
    asked = attached(bus)
    found = []
    bus.follow("a:*", lambda message: found.append(message.args[0]), past=True)
    for n in range(0, 1000, 100):
        asked[0].deliver(A, [content(m) for m in range(n, n + 100)], "x", "x", n + 1, False)
    bus.twitter("a:b", 1000)
    asked[0].end()
    for n in range(1001, 1100):
        bus.gateway.deliver(A, [content(n)], "x", "x", n)
    assert bus.drain(10)
    assert sorted(found) == list(range(1100))
    assert [n for n in found if n != 1000] == [n for n in range(1100) if n != 1000]
    bus.close()


def test_a_queue_that_is_dropped_leaves_nothing_behind():
    bus = Bus()
    asked = attached(bus)
    queue = Queue("a:*", past=True, bus=bus)
    del queue
    assert bus.subscriptions() == []
    asked.pop().end()
    assert bus.gateway._replays == ()
