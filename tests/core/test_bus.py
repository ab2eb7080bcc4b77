import threading

import pytest

from berrymq import Bus, Identifier, IdentifierError, Message, Queue, RegistrationError


class TestFollow:
    def test_follow_returns_a_handle(self, bus):
        got = []
        with bus.follow("a:b", got.append) as handle:
            assert handle.active
            bus.twitter("a:b", 1)
        bus.twitter("a:b", 2)
        assert [message.args for message in got] == [(1,)]

    def test_without_a_function_it_decorates(self, bus):
        got = []

        @bus.follow("a:b", guard=lambda message: message.args[0] > 1)
        def handler(message):
            got.append(message.args)

        for number in range(4):
            bus.twitter("a:b", number)
        assert got == [(2,), (3,)]
        handler(Message.make("a:b", (9,)))
        assert got[-1] == (9,)

    def test_a_decorator_complains_where_it_stands(self, bus):
        with pytest.raises(IdentifierError):
            bus.follow("a:b:c")
        with pytest.raises(IdentifierError):
            bus.once("a:b:c")
        with pytest.raises(IdentifierError):
            bus.following_function("a:b:c")

    def test_functions_are_held_and_methods_are_not(self, bus, collect):
        got = []

        class Owner:
            def follow(self, message):
                got.append("method")

        owner = Owner()
        bus.follow("a:b", lambda message: got.append("function"))
        bus.follow("a:b", owner.follow)
        collect()
        bus.twitter("a:b")
        assert got == ["function", "method"]
        del owner
        collect()
        bus.twitter("a:b")
        assert got == ["function", "method", "function"]
        assert len(bus.subscriptions()) == 1

    def test_what_cannot_follow(self, bus):
        with pytest.raises(RegistrationError):
            bus.follow("a:b", 3)
        with pytest.raises(RegistrationError):
            bus.follow("a:b")(None)
        with pytest.raises(RegistrationError, match="a guard is called with the message"):
            bus.follow("a:b", print, guard=3)
        assert bus.subscriptions() == []


def test_following_function(bus):
    got = []

    @bus.following_function("a:*", lambda message: message.action == "b")
    def handler(message):
        got.append(message.id)

    bus.twitter("a:b")
    bus.twitter("a:c")
    assert got == ["a:b"]


@pytest.mark.parametrize("name", ["register_function", "regist_function", "register_method", "regist_method"])
def test_registering_at_run_time(bus, name, collect):
    got = []

    class Owner:
        def follow(self, message):
            got.append(message.args)

    owner = Owner()
    handle = getattr(bus, name)("a:b", owner.follow, lambda message: message.args[0] > 1)
    bus.twitter("a:b", 1)
    bus.twitter("a:b", 2)
    assert got == [(2,)]
    assert handle.active


class TestOnce:
    def test_once_delivers_one_message(self, bus):
        got = []
        handle = bus.once("a:b", got.append, guard=lambda message: message.args[0] > 1)
        for number in range(5):
            bus.twitter("a:b", number)
        assert [message.args for message in got] == [(2,)]
        assert not handle.active
        assert bus.subscriptions() == []

    def test_as_a_decorator(self, bus):
        got = []

        @bus.once("a:b")
        def handler(message):
            got.append(message)

        bus.twitter("a:b")
        bus.twitter("a:b")
        assert len(got) == 1

    def test_a_follower_that_sends_what_it_follows(self, bus):
        got = []
        bus.once("a:b", lambda message: (got.append(message), bus.twitter("a:b")))
        bus.twitter("a:b")
        assert len(got) == 1

    def test_one_message_however_many_threads_send(self, bus):
        for _ in range(20):
            got = []
            barrier = threading.Barrier(4)
            bus.once("a:b", got.append)

            def send(barrier=barrier):
                barrier.wait(10)
                bus.twitter("a:b")

            threads = [threading.Thread(target=send) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(got) == 1


class TestUnfollow:
    def test_a_handle(self, bus):
        handle = bus.follow("a:b", print)
        assert bus.unfollow(handle) == 1
        assert bus.unfollow(handle) == 0
        assert bus.subscriptions() == []

    def test_a_function_and_all_that_it_follows(self, bus):
        got = []
        bus.follow("a:b", got.append)
        bus.follow("c:d", got.append)
        bus.follow("a:b", print)
        assert bus.unfollow(got.append) == 2
        assert [one.function for one in bus.subscriptions()] == [print]

    def test_a_method(self, bus):
        class Owner:
            def follow(self, message):
                pass

        one, other = Owner(), Owner()
        bus.follow("a:b", one.follow)
        bus.follow("a:b", other.follow)
        assert bus.unfollow(one.follow) == 1
        assert [known.function for known in bus.subscriptions()] == [other.follow]

    @pytest.mark.parametrize("what", ["a:b", Identifier("a", "b")])
    def test_exactly_one_identifier(self, bus, what):
        bus.follow("a:b", print)
        bus.follow("a:*", print)
        assert bus.unfollow(what) == 1
        assert [one.follows for one in bus.subscriptions()] == ["a:*"]

    def test_without_followers(self, bus):
        assert bus.unfollow(print) == 0
        assert bus.unfollow("a:b") == 0


def test_threads_and_numbers(bus):
    assert bus.multiplicity == 0
    assert bus.backlog == 0
    bus.set_multiplicity(2)
    assert bus.multiplicity == 2
    threads = []
    bus.follow("a:b", lambda message: threads.append(threading.current_thread().name))
    bus.twitter("a:b")
    assert bus.drain(10)
    assert threads[0].startswith("berrymq test worker")


def test_stats_and_reports(bus):
    bus.follow("a:b", print)
    queue = Queue("q:*", bus=bus)
    assert bus.stats().followers == 1
    assert bus.stats().queues == 1
    assert "a:b" in bus.show_followers()
    assert "a:b" in bus.show_network()
    queue.close()


def test_closing(bus):
    got = []
    bus.follow("a:b", got.append)
    queue = Queue("a:b", bus=bus)
    bus.gateway.attach(lambda identifier: True, got.append)
    bus.set_multiplicity(1)
    bus.gateway.receive([Message.make("a:b")])
    bus._background._make_thread().submit_many([(bus.subscriptions()[0], Message.make("a:b"))])
    bus.close()
    bus.close()
    assert bus.stats() == (0, 0, 0, 0, 0, 0, 0)
    bus.twitter("a:b")
    assert queue.qsize() == 1
    assert not [one for one in threading.enumerate() if one.name.startswith("berrymq test ")]


def test_how_it_shows(bus):
    bus.follow("a:b", print)
    assert repr(bus) == "<Bus test, 1 followers, 0 queues>"
    assert repr(Bus()) == "<Bus (unnamed), 0 followers, 0 queues>"


def test_two_buses_are_apart():
    one, other = Bus("one"), Bus("other")
    got = []
    one.follow("a:b", got.append)
    other.twitter("a:b")
    assert got == []
    one.twitter("a:b")
    assert len(got) == 1


def test_the_other_methods(bus):
    got = []
    bus.follow("f:*", got.append)

    @bus.auto_twitter("f")
    def work():
        return 1

    @bus.twitter_exception("f:error", reraise=False)
    def fail():
        raise ValueError

    assert work() == 1
    fail()
    assert [message.action for message in got] == ["entry", "exit", "error"]
    with bus.mute():
        bus.twitter("f:x")
    assert len(got) == 3
    assert bus.ask("f:x") == [None]
    bus.talk("f:x", "c:d")
    with bus.observe(), bus.expect("f:y") as expected:
        bus.twitter("f:y")
    assert expected.message.id == "f:y"


async def test_asking_in_a_loop(bus):
    bus.follow("a:b", lambda message: 1)
    assert await bus.aask("a:b") == [1]
