import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from berrymq import Bus, Identifier, IdentifierError, Message
from berrymq import routes as module
from berrymq.routes import Observer, Registry, crosses
from berrymq.subscribers import Attachment
from berrymq.subscriptions import Subscription
from berrymq.targets import make_target


def subscribe(registry, *identifiers):
    made = Subscription(tuple(map(Identifier.parse, identifiers)), make_target(lambda message: None))
    made._start(registry.discard)
    registry.add(made)
    return made


def attach(registry, matches=lambda identifier: True, name="attach"):
    made = Attachment(matches, lambda message: None, registry.refresh, name)
    made._start(registry.discard)
    registry.add(made)
    return made


def route(registry, text):
    return registry.find(text)[1]


def test_a_route_is_cached_until_a_change():
    registry = Registry()
    one = subscribe(registry, "a:b")
    assert registry.find("a:b") == (Identifier.parse("a:b"), (one,))
    assert registry.table["a:b"] == (Identifier.parse("a:b"), (one,))
    other = subscribe(registry, "a:b")
    assert registry.table == {}
    assert route(registry, "a:b") == (one, other)
    one.cancel()
    assert registry.table == {}
    assert route(registry, "a:b") == (other,)


def test_keys_of_the_table():
    class Text(str):
        __slots__ = ()

    registry = Registry()
    registry.find("a")
    registry.find(Identifier.parse("a:c"))
    registry.find(Text("a:d"))
    assert set(registry.table) == {"a", Identifier.parse("a:c"), "a:d"}
    assert [type(key) for key in registry.table] == [str, Identifier, str]


def test_what_is_no_identifier_is_not_cached():
    registry = Registry()
    with pytest.raises(IdentifierError):
        registry.find("a:b:c")
    assert registry.table == {}


def test_the_table_is_bounded():
    registry = Registry()
    for number in range(module.TABLE_SIZE + 10):
        registry.find(f"a:{number}")
    assert len(registry.table) == 10


def test_subscribers_in_order_of_registration():
    registry = Registry()
    made = [subscribe(registry, text) for text in ("*:*", "a:b", "a:*", "*:b", "a:b", "*:*")]
    assert route(registry, "a:b") == tuple(made)
    assert route(registry, "a:c") == (made[0], made[2], made[5])
    assert registry.subscriptions() == made
    assert registry.following(Identifier.parse("a:b")) == [made[1], made[4]]
    assert registry.following(Identifier.parse("a:z")) == []


def test_a_wildcard_of_the_sender():
    registry = Registry()
    made = [subscribe(registry, text) for text in ("a:stop", "b:stop", "b:go", "*:go", "a@n:stop")]
    assert route(registry, "*:stop") == (made[0], made[1])
    assert route(registry, "b:*") == (made[1], made[2], made[3])
    assert route(registry, "*:*") == tuple(made[:4])
    assert route(registry, "*@n:*") == (made[4],)


def test_several_identifiers_of_one_follower_count_once():
    registry = Registry()
    both = subscribe(registry, "a:*", "a:b")
    assert route(registry, "a:b") == (both,)
    both.cancel()
    assert route(registry, "a:b") == ()
    assert registry.interests() == frozenset()


def test_attachments_come_last_and_are_asked():
    registry = Registry()
    asked = []

    def matches(identifier):
        asked.append(str(identifier))
        return identifier.action == "b"

    link = attach(registry, matches)
    one = subscribe(registry, "a:b")
    assert route(registry, "a:b") == (one, link)
    assert route(registry, "a:c") == ()
    assert route(registry, "_a:b") == ()
    assert route(registry, "berrymq:send_message") == ()
    assert asked == ["a:b", "a:c"]
    assert registry.table["a:b"][1] == (one, link)
    assert registry.attachments() == [link]
    link.refresh()
    assert registry.table == {}
    link.cancel()
    assert route(registry, "a:b") == (one,)
    assert registry.attachments() == []


def test_what_an_attachment_is():
    registry = Registry()
    link = attach(registry, name="link to nb2")
    seen = []
    assert link.describe() == "link to nb2"
    link.deliver_to(seen.append)
    message = Message.make("a:b")
    link._deliver(message)
    link.cancel()
    link.deliver_to(seen.append)
    link._deliver(message)
    assert seen == [message]


def test_a_change_while_an_attachment_is_asked_is_not_overlooked():
    registry = Registry()
    late = []

    def matches(identifier):
        if not late:
            late.append(subscribe(registry, "a:b"))  # as another thread would, just then
        return True

    link = attach(registry, matches)
    assert route(registry, "a:b") == (link,)
    assert registry.table == {}
    assert route(registry, "a:b") == (late[0], link)


def test_muted_identifiers_reach_no_subscriber():
    registry = Registry()
    one = subscribe(registry, "a:b")
    link = attach(registry)
    registry.shift_mute(Identifier.parse("a:*"), +1)
    registry.shift_mute(Identifier.parse("a:*"), +1)
    assert route(registry, "a:b") == ()
    assert route(registry, "c:b") == (link,)
    registry.shift_mute(Identifier.parse("a:*"), -1)
    assert route(registry, "a:b") == ()
    registry.shift_mute(Identifier.parse("a:*"), -1)
    assert route(registry, "a:b") == (one, link)


def test_an_observer_is_the_first_subscriber():
    registry = Registry()
    one = subscribe(registry, "*:*")
    watcher = Observer(print)
    assert watcher._deliver is print
    registry.set_observer(watcher)
    assert route(registry, "_a:b") == (watcher, one)
    assert route(registry, "berrymq:send_message") == (one,)
    registry.shift_mute(Identifier.parse("*:*"), +1)
    assert route(registry, "a:b") == (watcher,)
    registry.set_observer(None)
    assert route(registry, "a:b") == ()


def test_interests():
    registry = Registry()
    subscribe(registry, "a:b")
    subscribe(registry, "a:b")
    subscribe(registry, "_private:b")
    subscribe(registry, "berrymq:send_message")
    subscribe(registry, "*:c", "x@n:y")
    assert registry.interests() == frozenset(map(Identifier.parse, ["a:b", "*:c", "x@n:y"]))
    assert not crosses(Identifier.parse("_a:b"))


def test_watchers_are_called_for_changes_of_interest():
    registry = Registry()
    calls = []
    stop = registry.watch(lambda: calls.append(sorted(map(str, registry.interests()))))
    one = subscribe(registry, "a:b")
    other = subscribe(registry, "a:b")
    subscribe(registry, "_private:b")
    attach(registry)
    one.cancel()
    assert calls == [["a:b"]]
    other.cancel()
    assert calls == [["a:b"], []]
    stop()
    subscribe(registry, "a:b")
    assert len(calls) == 2


def test_a_watcher_that_fails_troubles_only_the_log(caplog):
    registry = Registry()
    calls = []
    registry.watch(lambda: 1 / 0)
    registry.watch(lambda: calls.append(1))
    subscribe(registry, "a:b")
    assert calls == [1]
    assert "a watcher of interests failed: ZeroDivisionError" in caplog.text


def test_cancelling_twice_and_what_never_was_added():
    registry = Registry()
    one = subscribe(registry, "a:b")
    registry.discard(one)
    registry.discard(one)
    registry.discard(attach(registry))
    assert registry.subscriptions() == []
    assert registry.attachments() == []


def test_a_discard_never_waits_and_is_made_up_for():
    registry = Registry()
    one = subscribe(registry, "a:b")
    link = attach(registry)
    held, release = threading.Event(), threading.Event()

    def hold():
        with registry.lock:
            held.set()
            release.wait(10)
        registry._settle(wait=False)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    one.cancel()  # returns although the lock is taken
    link.cancel()
    assert registry._index
    release.set()
    holder.join()
    assert registry._index == {}
    assert registry.attachments() == []


def test_what_a_destructor_does_in_the_middle_of_a_change_is_put_in_the_row():
    registry = Registry()
    done = []

    class Index(dict):
        """An index in which, as by garbage collection, others come and go at the worst moment."""

        def __setitem__(self, key, value):
            if not done:
                done.append(1)
                victim.cancel()
                done.append(subscribe(registry, "a:late"))
                assert route(registry, "a:victim") == (victim,)  # between two steps
                assert registry.table == {}
                assert registry.subscriptions() == [victim]
            super().__setitem__(key, value)

    victim = subscribe(registry, "a:victim")
    registry._index = Index(registry._index)
    new = subscribe(registry, "a:new")
    assert registry.subscriptions() == [new, done[1]]
    assert route(registry, "a:new") == (new,)


def test_what_a_destructor_does_in_the_middle_of_a_look_up():
    registry = Registry()
    one = subscribe(registry, "a:b")
    other = subscribe(registry, "a:c")

    class Index(dict):
        def get(self, key, default=None):
            if one.active:
                one.cancel()
            return super().get(key, default)

    registry._index = Index(registry._index)
    assert route(registry, "a:c") == (other,)
    assert registry.table == {}  # it was computed in the middle of a change
    assert route(registry, "a:b") == ()
    assert "a:b" in registry.table


def test_what_is_left_in_the_row_is_done_after_a_look_up():
    registry = Registry()
    one = subscribe(registry, "a:b")

    class Index(dict):
        def get(self, key, default=None):
            if one.active:
                one.active = False
                registry._pending.append((one, False))  # by a thread that could not have the lock
            return super().get(key, default)

    registry._index = Index(registry._index)
    registry.find("a:c")
    assert len(registry._index) == 0


def test_after_a_fork_the_lock_is_free():
    registry = Registry()
    registry.lock.acquire()
    registry._busy = True
    registry.after_fork()
    worker = threading.Thread(target=registry.find, args=("a:b",))
    worker.start()
    worker.join(10)
    assert "a:b" in registry.table


names = st.sampled_from(["a", "b", "*"])
some = st.builds(Identifier, names, st.sampled_from(["x", "y", "*"]), st.sampled_from([None, "n"]))


@given(st.lists(some, max_size=8), some)
def test_routes_as_in_the_model(followed, sent):
    registry = Registry()
    made = [subscribe(registry, identifier) for identifier in followed]
    expected = tuple(one for one in made if one.identifier.matches(sent))
    assert registry.find(sent)[1] == expected
    assert registry.find(str(sent))[1] == expected


class RegistryMachine(RuleBasedStateMachine):
    """A registry against a plain list."""

    def __init__(self):
        super().__init__()
        self.registry = Registry()
        self.known = []
        self.muted = []

    active = Bundle("active")
    mutes = Bundle("mutes")

    @rule(target=active, identifiers=st.lists(some, min_size=1, max_size=2))
    def add(self, identifiers):
        made = subscribe(self.registry, *identifiers)
        self.known.append(made)
        return made

    @rule(one=consumes(active))
    def cancel(self, one):
        one.cancel()
        self.known.remove(one)

    @rule(target=mutes, identifier=some)
    def mute(self, identifier):
        self.registry.shift_mute(identifier, +1)
        self.muted.append(identifier)
        return identifier

    @rule(identifier=consumes(mutes))
    def unmute(self, identifier):
        self.registry.shift_mute(identifier, -1)
        self.muted.remove(identifier)

    @rule(sent=some)
    def send(self, sent):
        expected = [one for one in self.known if any(known.matches(sent) for known in one.identifiers)]
        if any(mute.matches(sent) for mute in self.muted):
            expected = []
        assert list(self.registry.find(sent)[1]) == expected

    @invariant()
    def kept_routes_are_current(self):
        for raw, (identifier, kept) in list(self.registry.table.items()):
            del self.registry.table[raw]
            assert self.registry.find(identifier)[1] == kept

    @invariant()
    def everyone_is_known(self):
        assert self.registry.subscriptions() == self.known
        assert self.registry.interests() == {known for one in self.known for known in one.identifiers}


TestRegistryMachine = RegistryMachine.TestCase


def test_a_switch_is_one_step_for_every_message():
    """Each message goes to the follower or to the link, never to both or none, whatever threads publish."""
    bus = Bus()
    here, there = [], []
    crosses = False
    follower = bus.follow("a:b", lambda message: here.append(message.args[0]))
    bus.gateway.attach(lambda _: crosses, lambda message: there.append(message.args[0]))
    over = threading.Event()
    sent = [0, 0, 0]

    def publish(thread):
        while not over.is_set():
            bus.twitter("a:b", (thread, sent[thread]))
            sent[thread] += 1

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()

    def switch(to):
        nonlocal crosses
        crosses = to
        return [(follower, not to)]

    for turn in range(300):
        bus._registry.switch(lambda turn=turn: switch(turn % 2 == 0))
        bus._registry.refresh()
    over.set()
    for thread in threads:
        thread.join()
    assert len(here) + len(there) == sum(sent)
    assert len({*here, *there}) == sum(sent)
    assert bus.subscriptions() == [follower]


def test_what_a_switch_takes_out_of_the_routes_is_still_known():
    bus = Bus()
    follower = bus.follow("a:b", lambda message: None)
    bus._registry.switch(lambda: [(follower, False)])
    assert bus.subscriptions() == [follower]
    assert bus.gateway.interests() == frozenset()
    assert bus.unfollow("a:b") == 1
    assert bus.subscriptions() == []
